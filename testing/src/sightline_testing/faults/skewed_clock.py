"""A wrong wall clock for one Python process: copied as sitecustomize.py into the folder that the process runs in.

The seconds by which it is wrong stand in the file `clock` there, and may change at any time; the monotonic clock stays
as it is, as on a machine whose time was set. libfaketime 0.9.10 (Debian 12) cannot take this place: with it, waiting
for a lock never ends in Python 3.11.
"""

import datetime
import time
from pathlib import Path
from typing import Any

FILE = Path("clock").resolve()
_time, _time_ns, _gmtime, _localtime = time.time, time.time_ns, time.gmtime, time.localtime


def skew_s() -> float:
    """How wrong the clock is now."""
    try:
        return float(FILE.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0.0


class SkewedDatetime(datetime.datetime):
    """A datetime whose present is another."""

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Any:
        """Give the wrong time."""
        return datetime.datetime.fromtimestamp(time.time(), tz)

    @classmethod
    def utcnow(cls) -> Any:
        """Give the wrong time, in UTC."""
        return datetime.datetime.fromtimestamp(time.time(), datetime.UTC).replace(tzinfo=None)


def install() -> None:
    """Set this process' clock wrong, wherever Python code reads it."""
    time.time = lambda: _time() + skew_s()
    time.time_ns = lambda: _time_ns() + int(skew_s() * 1e9)
    time.gmtime = lambda seconds=None: _gmtime(time.time() if seconds is None else seconds)
    time.localtime = lambda seconds=None: _localtime(time.time() if seconds is None else seconds)
    datetime.datetime = SkewedDatetime  # type: ignore[misc]


if __name__ == "sitecustomize":
    install()
