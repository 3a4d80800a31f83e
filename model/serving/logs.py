"""How a worker's log lines look: a JSON object each for machines, a plain line for a person at a terminal."""

import logging
import sys

from pythonjsonlogger.json import JsonFormatter

import settings

FIELDS = ("levelname", "name", "process", "message")
PLAIN = "%(asctime)s [%(process)d] [%(levelname)s] %(name)s: %(message)s"


def set_up() -> None:
    """Log to standard error, as LOG_FORMAT asks; by itself it goes by whether somebody watches."""
    is_plain = settings.LOG_FORMAT == "text" or (settings.LOG_FORMAT == "auto" and sys.stderr.isatty())
    names = {"levelname": "level", "name": "logger", "process": "pid"}
    handler = logging.StreamHandler()
    handler.setFormatter(
        logging.Formatter(PLAIN)
        if is_plain
        else JsonFormatter(FIELDS, style=",", rename_fields=names, timestamp="time")
    )
    logging.basicConfig(level=settings.LOG_LEVEL.upper(), handlers=[handler])
