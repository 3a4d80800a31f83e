"""What a process prints to standard error as records of its log, so that each line has the log's format.

That is tracebacks of threads and of objects that are collected, warnings, and output of libraries. Native code
writes past it: the traceback of a process that hangs or crashes (faulthandler) is plain text.
"""

import io
import logging
import sys
import threading
from types import TracebackType

log = logging.getLogger("stderr")
_is_writing = threading.local()


class _Lines(io.TextIOBase):
    """A stream whose lines become records; where the log itself cannot be written, they are dropped."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._rest = ""

    def write(self, text: str) -> int:
        if getattr(_is_writing, "yes", False):
            return len(text)
        *lines, self._rest = (self._rest + text).split("\n")
        _is_writing.yes = True
        try:
            for line in filter(str.strip, lines):
                log.error("%s", line)
        finally:
            _is_writing.yes = False
        return len(text)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor


def capture() -> None:
    """Log what is printed from now on; the log's own handlers must have been set up, and keep the stream they have."""
    logging.captureWarnings(True)
    sys.stderr = _Lines(sys.stderr.fileno())
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda failed: _log_uncaught(
        failed.exc_type, failed.exc_value or failed.exc_type(), failed.exc_traceback
    )


def _log_uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt | SystemExit):
        log.critical("an exception was not caught", exc_info=(kind, error, traceback))
