"""Logs: each line is a JSON object for machines, or plain text at a terminal.

Gunicorn's master loads this module, so that it must not import the application: see server/worker.py.
"""

import logging
import re
import sys
from typing import Any

from gunicorn.glogging import Logger
from pythonjsonlogger.json import JsonFormatter

import settings
from wire.process import captured_stderr

FIELDS = ("levelname", "name", "process", "message")
PLAIN = "%(asctime)s [%(process)d] [%(levelname)s] %(name)s: %(message)s"
# The access log as plain text, in gunicorn's notation.
ACCESS_LINE = (
    '%(h)s "%(m)s %(U)s" %(s)s %(B)s bytes %(M)s ms "%(a)s" '
    '%({x-request-id}o)s %({x-error-code}o)s "%({x-error-detail}o)s"'
)
LONGEST_USER_AGENT = 300

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class PlainFormatter(logging.Formatter):
    """Escapes control characters: nothing that a client sends starts a new line or controls the terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  the library's name
        """Return the line, before a traceback is added to it."""
        record.message = _CONTROL.sub(lambda found: ascii(found[0])[1:-1], record.message)
        return super().formatMessage(record)


def is_text() -> bool:
    """Return whether lines are plain text, by LOG_FORMAT; `auto` is plain text where standard error is a terminal."""
    return settings.LOG_FORMAT == "text" or (settings.LOG_FORMAT == "auto" and sys.stderr.isatty())


def formatter() -> logging.Formatter:
    """Return the formatter of LOG_FORMAT."""
    if is_text():
        return PlainFormatter(PLAIN)
    names = {"levelname": "level", "name": "logger", "process": "pid"}
    return JsonFormatter(FIELDS, style=",", rename_fields=names, timestamp="time")


def set_up() -> None:
    """Log to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(formatter())
    handler.addFilter(_add_request_id)
    logging.basicConfig(level=settings.LOG_LEVEL.upper(), handlers=[handler])
    if not is_text():
        captured_stderr.capture()


class ServerLogger(Logger):  # type: ignore[misc]  # gunicorn has no types
    """Gunicorn's logger, with the format of all other lines."""

    def setup(self, cfg: Any) -> None:
        """Set up the handlers of the configuration, with our formatters."""
        super().setup(cfg)
        for handler in (*self.error_log.handlers, *self.access_log.handlers):
            handler.setFormatter(formatter())
        for handler in self.access_log.handlers:
            handler.addFilter(_add_access)


def _add_request_id(record: logging.LogRecord) -> bool:
    from flask import has_request_context, request  # noqa: PLC0415  in a worker, after gevent

    if has_request_context():
        record.request_id = request.environ.get("sightline.request_id", "")
        if trace_id := request.environ.get("sightline.trace_id"):
            record.trace_id = trace_id
    return True


def _add_access(record: logging.LogRecord) -> bool:
    atoms: Any = record.args
    record.request_id = atoms["{x-request-id}o"]
    record.prediction_id = atoms["{x-prediction-id}o"]
    record.client, record.method, record.path = atoms["h"], atoms["m"], atoms["U"]
    if (trace_id := atoms["{sightline.trace_id}e"]) != "-":
        record.trace_id = trace_id
    if (code := atoms["{x-error-code}o"]) != "-":
        # gunicorn escapes quotation marks for its own line format.
        record.error_code, record.error_detail = code, atoms["{x-error-detail}o"].replace('\\"', '"')
    record.status, record.duration_ms, record.bytes = int(atoms["s"]), int(atoms["M"]), int(atoms["B"] or 0)
    if (user_agent := atoms["a"]) != "-":
        record.user_agent = user_agent[:LONGEST_USER_AGENT].replace('\\"', '"')
    return True
