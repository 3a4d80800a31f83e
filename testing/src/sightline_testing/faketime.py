"""A wrong wall clock for native code of a Python process, by libfaketime; `skewed_clock` is for Python code alone.

libfaketime 0.9.10 (Debian 12) breaks sleeping and timed waits for locks of Python 3.11: a process that is started with
`environment` sleeps by select(), and must not wait for a lock with a time-out.
"""

from pathlib import Path

from sightline_testing.plugin import missing

LIBRARIES = "usr/lib/*/faketime/libfaketimeMT.so.1"
SLEEP = """
import select
import time

time.sleep = lambda seconds: select.select([], [], [], seconds) and None
"""


class SkewedClock:
    """The clock of processes with its `environment`; `set` changes it within a second or so."""

    def __init__(self, folder: Path, seconds: int = 0) -> None:
        self._file, self._modules = folder / "clock", folder / "modules"
        self._modules.mkdir(parents=True)
        (self._modules / "sitecustomize.py").write_text(SLEEP)
        self.set(seconds)

    def set(self, seconds: int) -> None:
        """Have the clock be so many seconds ahead."""
        self._file.write_text(f"{seconds:+}\n")

    def environment(self, python_path: str = "") -> dict[str, str]:
        """Return what a process has to be started with; `python_path` is its PYTHONPATH."""
        libraries = sorted(Path("/").glob(LIBRARIES))
        if not libraries:
            missing("no libfaketime: install faketime")
        return {
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "LD_PRELOAD": str(libraries[0]),
            "PYTHONPATH": ":".join(filter(None, (python_path, str(self._modules)))),
        }
