"""The launcher's own lines on standard output: JSON objects, or plain text on a terminal, depending on LOG_FORMAT."""

import contextlib
import json
import os
import sys
from datetime import UTC, datetime

# Chosen when the settings have been read; errors in them are written as with `auto`.
_format = "auto"


def choose(log_format: str) -> None:
    """Write in the form of a value of LOG_FORMAT."""
    global _format  # noqa: PLW0603  one process, one output
    _format = log_format


def is_private() -> bool:
    """Return whether standard output is a terminal, so that no file or journal keeps what is written."""
    return sys.stdout.isatty()


def say(text: str, level: str = "INFO") -> None:
    """Print a line of the launcher's own; where the log's disk is full, the service matters more."""
    is_text = _format == "text" or (_format == "auto" and is_private())
    with contextlib.suppress(OSError):
        print(f"sightline: {text}" if is_text else _as_json(text, level), flush=True)  # noqa: T201  what the user reads


def _as_json(text: str, level: str) -> str:
    time = datetime.now(UTC).isoformat()
    line = {"level": level, "logger": "launcher", "pid": os.getpid(), "message": text, "time": time}
    return json.dumps(line, ensure_ascii=False)
