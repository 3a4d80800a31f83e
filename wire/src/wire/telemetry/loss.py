"""Telemetry that a collector does not accept: logged once, and again when it accepts it."""

import logging
from collections.abc import Sequence

log = logging.getLogger(__name__)


class ExportLoss(logging.Filter):
    """Counts what is lost; `loggers` are those of the library, which repeats its reasons every few seconds."""

    def __init__(self, what: str, endpoint: str, loggers: Sequence[str]) -> None:
        super().__init__()
        self._what, self._endpoint = what, endpoint
        self._loggers = [logging.getLogger(name) for name in loggers]
        self._lost = 0
        for logger in self._loggers:
            logger.addFilter(self)

    def filter(self, _: logging.LogRecord) -> bool:
        """Let the library log its reasons until the loss is logged."""
        return not self._lost

    def note(self, count: int, *, is_sent: bool) -> None:
        """Note that so many were sent, or lost."""
        if not is_sent:
            if not self._lost:
                message = "OTEL_EXPORTER_OTLP_ENDPOINT=%r takes no %s: they are dropped until it does"
                log.warning(message, self._endpoint, self._what)
            self._lost += count
        elif self._lost:
            log.warning("%s arrive again; %d or more were dropped", self._what, self._lost)
            self._lost = 0

    def close(self) -> None:
        """Let the library log as it does."""
        for logger in self._loggers:
            logger.removeFilter(self)
