"""A worker's thread that keeps the folder of bundles as the shared store has it."""

import logging
import time
from collections.abc import Callable

from inference.errors import ModelError
from registry.model_store import ModelStore
from storage.errors import StorageError
from wire.redis.loop import Loop

log = logging.getLogger("ml_service")

POLL_EVERY_S = 5.0
AGAIN_AFTER_S = 2.0


class ModelMirror:
    """Mirrors again and again; `fault` is why that does not work now, empty where it does."""

    def __init__(self, store: ModelStore, *wanted: str) -> None:
        self._store, self._wanted = store, tuple(filter(None, wanted))
        self.fault = ""
        self._loop = Loop("model-mirror", self.poll, POLL_EVERY_S)

    def first(self, can_go_on: Callable[[], bool], report: Callable[[str], object]) -> None:
        """Mirror once; wait for the store, and for a version in it, only where nothing can be served without."""
        self.poll()
        while not can_go_on():
            report(self.fault or "MODEL_STORE does not have the version to serve: `models push` stores it")
            time.sleep(AGAIN_AFTER_S)
            self.poll()

    def start(self) -> None:
        """Begin to poll."""
        self._loop.start()

    def stop(self) -> None:
        """End the thread."""
        self._loop.stop()

    def poll(self) -> None:
        """Mirror what is to be served; what cannot be fetched changes nothing."""
        try:
            self._store.mirror(*self._wanted)
            fault = ""
        except (StorageError, ModelError, OSError) as error:
            fault = f"models cannot be fetched: {error}"
        if fault and fault != self.fault:
            log.error("%s; what is here is served on", fault)
        self.fault = fault
