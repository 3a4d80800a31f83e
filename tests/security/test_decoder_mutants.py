"""Broken images through the worker's own decoding, in processes whose memory is limited; FULL=1: 2,300,000."""

import collections
import itertools
import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sightline_testing.hostile.measured import Measured
from sightline_testing.service import REPOSITORY

IS_FULL = bool(os.environ.get("FULL"))
# Of the formats of before together, and of each of the others.
COUNTS = {"": 2_000_000, "HEIC": 100_000, "AVIF": 100_000, "TIFF": 100_000}
SHORT_COUNTS = {"": 25_000, "HEIC": 1_000, "AVIF": 1_000, "TIFF": 2_000}
# FULL=1 uses other ones than CI does.
SEED = 1 if IS_FULL else 0
PROCESSES = max(1, len(os.sched_getaffinity(0)))
PROGRAM = Path(__file__).parent / "programs" / "decode_mutants.py"
OUTCOMES = {"decoded", "image_broken", "unsupported_type"}
MAX_EXTRA_MIB = 300
SLOWEST_S = 2.0
# Not a gate on speed: one that hangs for ever has to end, too.
PATIENCE_S = 4 * 3600 if IS_FULL else 1800


@pytest.mark.parametrize("kind", COUNTS)
def test_whatever_an_image_is_broken_into_it_is_decoded_or_refused(
    tmp_path: Path, measured: Measured, kind: str
) -> None:
    count_of_all = (COUNTS if IS_FULL else SHORT_COUNTS)[kind]
    bounds = [count_of_all * number // PROCESSES for number in range(PROCESSES + 1)]
    runs = [start(first, last, tmp_path / f"at-{first}", kind) for first, last in itertools.pairwise(bounds)]
    reports = [report_of(*run) for run in runs]
    assert [line for report in reports for line in report["unexpected"]] == []
    outcomes: collections.Counter[str] = collections.Counter()
    for report in reports:
        outcomes.update(report["outcomes"])
    assert sum(outcomes.values()) == count_of_all
    # Else these would be no mutants: each outcome is met often.
    assert {name for name, count in outcomes.items() if count > count_of_all / 100} - {"image_too_large"} == OUTCOMES
    extra_mib = max(report["extra_mib"] for report in reports)
    slowest_s, slowest = max((report["slowest_s"], report["slowest"]) for report in reports)
    measured.told[f"mutants{' of ' * bool(kind)}{kind}, decoded"] = (
        f"{count_of_all}: {dict(outcomes)}, no. {slowest} took {slowest_s:.3f} s, {extra_mib} MiB more"
    )
    assert extra_mib < MAX_EXTRA_MIB
    assert not IS_FULL or slowest_s < SLOWEST_S


def start(first: int, last: int, progress: Path, kind: str) -> tuple[subprocess.Popen[bytes], Path]:
    progress.write_bytes(bytes(8))
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", PROGRAM, str(first), str(last), str(SEED), progress, kind],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY / "model"), "PYTHONFAULTHANDLER": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    return process, progress


def report_of(process: subprocess.Popen[bytes], progress: Path) -> dict[str, Any]:
    try:
        output, errors = process.communicate(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(f"mutant {at_hand(progress)} of seed {SEED} does not end") from None
    assert process.returncode == 0, f"mutant {at_hand(progress)} of seed {SEED} ended the process: {errors.decode()}"
    report: dict[str, Any] = json.loads(output)
    return report


def at_hand(progress: Path) -> int:
    (number,) = struct.unpack("<q", progress.read_bytes())
    return int(number)
