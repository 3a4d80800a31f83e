import subprocess
import sys
from pathlib import Path

from inference import cpu

MODEL = Path(__file__).resolve().parents[2]
# Two threads, one from before and one from after, tell their niceness.
PROGRAM = """
import os, threading
from queue import SimpleQueue
from inference import cpu
go, told = SimpleQueue(), SimpleQueue()
usual = os.getpriority(os.PRIO_PROCESS, 0)
def tell():
    go.get()
    told.put(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) - usual)
before = threading.Thread(target=tell)
before.start()
cpu.stand_back({niceness})
after = threading.Thread(target=tell)
after.start()
go.put(None), go.put(None)
print(told.get(), told.get(), os.getpriority(os.PRIO_PROCESS, 0) - usual)
"""


def niceness_after(stand_back: int) -> str:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(niceness=stand_back)],
        cwd=MODEL,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def test_every_thread_stands_back() -> None:
    assert niceness_after(3) == "3 3 3"


def test_nobody_stands_back_who_was_not_told_to() -> None:
    assert niceness_after(0) == "0 0 0"


def test_the_session_of_another_does_not_stand_back_with_it() -> None:
    before = cpu.AUTOGROUP.read_text() if cpu.AUTOGROUP.exists() else ""
    niceness_after(3)
    assert not before or cpu.AUTOGROUP.read_text() == before
