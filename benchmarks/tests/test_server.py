"""A system under test is ended with every process that it started."""

import sys
import time
from pathlib import Path

import pytest
from benchmarks import processes, settings
from benchmarks.server import Server
from benchmarks.systems import Pipeline, Setting, System

# Starts a grandchild that ignores the polite signal.
STUBBORN = """
import signal, subprocess, sys, time
child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
process = subprocess.Popen([sys.executable, "-c", child])
process.wait()
"""


def test_a_grandchild_that_ignores_the_polite_signal_is_ended_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(settings, "PEER_PYTHON", Path(sys.executable))
    monkeypatch.setattr(settings, "WORKSPACE", tmp_path)
    monkeypatch.setattr("benchmarks.server.STOP_TIMEOUT_S", 1)
    system = System("stubborn", "stubborn", Pipeline.PILLOW_ONNX, "/", ("raw",), module="stubborn")

    with Server(system, Setting()) as server:
        deadline = time.monotonic() + 100
        while len(server.pids()) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        started = server.pids()

    assert len(started) == 2
    assert [pid for pid in started if processes.start_time(pid)] == []
