"""Processes that append two reports and end themselves with SIGKILL at a step of it.

A process of its own forks them: to fork that of the tests, which has imported everything, takes five times as long.
"""

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from storage.reports import files as store
from storage.reports import keys

API = Path(__file__).parents[2]
CALLS = ("open", "read", "pread", "write", "pwrite", "ftruncate", "fdatasync", "fsync", "fstat", "close")
KEY, OTHER_KEY = keys.Key(b"k" * 16, b"c" * 16), keys.Key(b"o" * 16, b"c" * 16)


class KilledWriters:
    """Starts the processes, one after another."""

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.reports.killed_writer"]
        self._process = subprocess.Popen(command, cwd=API, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()
        assert self._process.returncode == 0

    def kill(self, files: tuple[Path, Path], moment: str, at: int) -> bool:
        """Let a process append two reports together and end itself with SIGKILL at a step; return whether it did.

        That is before a call of the system, after it, or when half of what it writes is written.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{moment} {at} {files[0]} {files[1]}\n")
        self._process.stdin.flush()
        return {"killed": True, "done": False}[self._process.stdout.readline().strip()]


def main() -> None:
    for line in sys.stdin:
        moment, at, *files = line.split()
        pid = os.fork()
        if pid == 0:
            append(Path(files[0]), Path(files[1]), moment, int(at))
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert status in {0, -signal.SIGKILL}, status
        sys.stdout.write("killed\n" if status else "done\n")
        sys.stdout.flush()


def append(lines: Path, rows: Path, moment: str, at: int) -> None:
    """Append two reports, and end the process."""
    steps = itertools.count(1)
    for name in CALLS:
        setattr(os, name, killed_at(at, steps, moment, getattr(os, name)))
    texts = ("second " * 20, "with it " * 20)
    together = [
        store.Addition(text, {"report_id": str(number), "comment": text}, store.Once(key, lambda: False))
        for number, (text, key) in enumerate(zip(texts, (KEY, OTHER_KEY), strict=True), 2)
    ]
    store.append_due(lines, rows, lambda: together)
    os._exit(0)


def killed_at(at: int, steps: Iterator[int], moment: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def step(*arguments: Any, **named: Any) -> Any:
        if next(steps) == at:
            if moment == "half" and "write" in call.__name__:
                call(arguments[0], arguments[1][: len(arguments[1]) // 2], *arguments[2:])
            elif moment == "after":
                with suppress(OSError):
                    call(*arguments, **named)
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **named)

    return step


if __name__ == "__main__":
    main()
