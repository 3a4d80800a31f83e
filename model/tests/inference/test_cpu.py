import subprocess
import sys
from pathlib import Path

from inference import cpu

MODEL = Path(__file__).resolve().parents[2]
# Two threads, one from before and one from after, report their niceness.
PROGRAM = """
import os, threading
from queue import SimpleQueue
from inference import cpu
go, reported = SimpleQueue(), SimpleQueue()
usual = os.getpriority(os.PRIO_PROCESS, 0)
def tell():
    go.get()
    reported.put(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) - usual)
before = threading.Thread(target=tell)
before.start()
cpu.lower_priority({niceness})
after = threading.Thread(target=tell)
after.start()
go.put(None), go.put(None)
print(reported.get(), reported.get(), os.getpriority(os.PRIO_PROCESS, 0) - usual)
"""


def niceness_after(niceness: int) -> str:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(niceness=niceness)],
        cwd=MODEL,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def test_the_priority_of_every_thread_is_lowered() -> None:
    assert niceness_after(3) == "3 3 3"


def test_a_niceness_of_0_lowers_nothing() -> None:
    assert niceness_after(0) == "0 0 0"


def test_the_priority_of_another_session_is_not_lowered() -> None:
    before = cpu.AUTOGROUP.read_text() if cpu.AUTOGROUP.exists() else ""
    niceness_after(3)
    assert not before or cpu.AUTOGROUP.read_text() == before
