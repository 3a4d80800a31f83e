"""Writes what this process has counted to the history, twice a minute and at its end; requests do nothing for it."""

import logging
import os
import time
from collections import Counter
from functools import lru_cache
from pathlib import Path

from flask import Flask

import offload
import settings
from observability import metrics
from reports import record
from storage.errors import StorageError
from storage.history.folder import FolderHistory
from storage.history.port import History, Sample
from wire.redis.loop import Loop

LOG = logging.getLogger("sightline.history")
EVERY_S = 20.0


def history() -> History:
    """Return the history of this host, or that of all hosts where DATABASE_URL names a database."""
    # A child has connections of its own.
    return _opened(record.folder(), settings.DATABASE_URL, os.getpid())


@lru_cache(maxsize=8)
def _opened(folder: Path, url: str, _: int) -> History:
    if url:
        from storage.history.postgres import PostgresHistory  # noqa: PLC0415  only for those who have one

        return PostgresHistory(record.database())
    return FolderHistory(folder)


class Recorder:
    """Adds to the history by how much the counters of this process have grown since the last time."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._written = metrics.counted_here(app)  # a process of the same number may have counted in its files before
        self._is_failing = False
        self._loop = Loop("history", self.write, EVERY_S)

    def start(self) -> None:
        """Begin to write now and then."""
        self._loop.start()

    def stop(self) -> None:
        """Write what was counted last."""
        self._loop.stop()
        self.write()

    def write(self) -> None:
        """Write what has come since the last time; where that cannot be done now, it is part of the next."""
        counted = metrics.counted_here(self._app)
        grown: Counter[metrics.Counted] = counted - self._written
        if not grown:
            return
        samples = [Sample(*counter, amount) for counter, amount in grown.items()]
        try:
            offload.run(lambda: history().add(time.time(), samples))
        except (OSError, StorageError) as error:
            if not self._is_failing:
                LOG.warning("the history cannot be written now: %s", error)
            self._is_failing = True
        else:
            self._written, self._is_failing = counted, False


class _Process:
    recorder: Recorder | None = None


def start(app: Flask) -> None:
    """Begin to record what this process counts."""
    _Process.recorder = Recorder(app)
    _Process.recorder.start()


def stop() -> None:
    """Write what this process has counted last."""
    if _Process.recorder is not None:
        _Process.recorder.stop()
