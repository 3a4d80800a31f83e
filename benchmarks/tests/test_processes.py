"""Costs are those of the whole tree, grandchildren that have ended included."""

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from benchmarks import processes

BURN = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass\n"
# A child that burns and ends, then one that holds 50 MB and stays.
PARENT = (
    "import subprocess, sys\n"
    f"subprocess.run([sys.executable, '-c', {BURN!r}])\n"
    "print('burnt', flush=True)\n"
    "hold = 'data = bytearray(50_000_000); print(\"held\", flush=True); input()'\n"
    "subprocess.run([sys.executable, '-c', hold])\n"
)


@pytest.fixture
def family() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "burnt\n"
        assert parent.stdout.readline() == "held\n"
        yield parent
        parent.communicate("\n")


def test_the_time_of_a_grandchild_that_has_ended_counts(family: subprocess.Popen[str]) -> None:
    assert processes.cpu_seconds(processes.tree(family.pid)) >= 0.3


def test_the_memory_of_every_descendant_counts(family: subprocess.Popen[str]) -> None:
    tree = processes.tree(family.pid)

    assert len(tree) == 2
    assert processes.memory_bytes(tree) >= 50_000_000


def test_a_process_that_has_ended_costs_nothing_and_raises_nothing() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()

    assert processes.cpu_seconds([ended.pid]) == 0
    assert processes.memory_bytes([ended.pid]) == 0
    assert processes.start_time(ended.pid) is None


def test_the_machine_is_at_least_as_busy_as_this_process() -> None:
    machine, own = processes.machine_cpu_seconds(), time.process_time()
    while time.process_time() < own + 0.3:
        pass

    # Both clocks tick in steps of 10 ms for each core.
    assert processes.machine_cpu_seconds() - machine >= 0.2
