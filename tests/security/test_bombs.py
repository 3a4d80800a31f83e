"""Small files that are dear to decode: each is refused for what it is, before it costs anything."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sightline_testing.hostile import expensive
from sightline_testing.hostile.asking import Sender, memory_watched
from sightline_testing.hostile.bombs import HARMLESS, REFUSED
from sightline_testing.hostile.measured import Measured
from sightline_testing.service import REPOSITORY

PROGRAM = Path(__file__).parent / "programs" / "decode_files.py"
MAX_EXTRA_MIB = 50
MAX_SECONDS = 0.1
MEGABYTE = 1024**2


@pytest.mark.parametrize("name", REFUSED)
def test_a_bomb_is_refused_with_its_reason(
    sender: Sender, launcher_pid: int, measured: Measured, name: str, is_full: bool
) -> None:
    bomb = REFUSED[name]
    content = bomb.make()
    with memory_watched(launcher_pid, lambda command: "ml_service" in command) as growth:
        reply = sender.send(content)
    measured.most("bombs, seconds after the upload", reply.waited)
    measured.most("bombs, MiB more of a worker", growth.largest)
    assert (reply.status, reply.problem["code"]) == (bomb.status, bomb.code)
    # Where it is a matter of size, the reason names the limit.
    assert re.search(r"\d", reply.problem["detail"]) or not bomb.code.endswith("too_large")
    assert growth.largest < MAX_EXTRA_MIB, growth
    # The last byte is sent before the first is hashed and stored: a large one takes that long.
    assert not is_full or reply.waited < MAX_SECONDS + len(content) / (100 * MEGABYTE)


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_dear_where_nobody_looks_costs_nothing(sender: Sender, launcher_pid: int, name: str) -> None:
    content = HARMLESS[name].make()
    with memory_watched(launcher_pid, lambda command: "ml_service" in command) as growth:
        assert sender.send(content).status == 200
    assert growth.largest < MAX_EXTRA_MIB + len(content) / MEGABYTE, growth


@pytest.mark.parametrize("name", expensive.MAKERS)
def test_an_expensive_image_within_the_limits_is_answered(sender: Sender, name: str) -> None:
    assert sender.send(expensive.expensive(name)).status == 200


def test_there_are_enough_bombs() -> None:
    assert len(REFUSED) >= 40


def test_every_bomb_costs_the_decoder_less_than_50_megabytes(tmp_path: Path, measured: Measured) -> None:
    for name, bomb in REFUSED.items():
        (tmp_path / name).write_bytes(bomb.make())
    finished = subprocess.run(
        [sys.executable, "-W", "ignore", PROGRAM, *sorted(tmp_path.iterdir())],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY / "model")},
        capture_output=True,
        text=True,
        check=True,
    )
    found = dict(line.split() for line in finished.stdout.splitlines())
    assert found.keys() == REFUSED.keys()
    measured.most("bombs, MiB more of the decoder alone", max(map(int, found.values())))
    assert {name: cost for name, cost in found.items() if int(cost) >= MAX_EXTRA_MIB} == {}
