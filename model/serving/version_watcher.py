"""Follows which versions a worker is to serve and to shadow: a new one is loaded, and then takes over."""

import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from inference import bundle, cpu
from inference.bundle import DESCRIPTION_FILE
from inference.errors import InferenceError, ModelError
from inference.model import Model
from registry.activation import Trial
from serving.model_mirror import ModelMirror
from wire.redis.loop import Loop

log = logging.getLogger("ml_service")

POLL_EVERY_S = 0.25
# A version that cannot be loaded is tried again so often: its files may have been mended.
AGAIN_AFTER_S = 30.0
# Workers of one machine load one after the other, so that most of it continues to answer; but none waits longer.
TURN_TIMEOUT_S = 1.5
TURN_POLL_S = 0.02
# By how much the priority of loading another version is below that of answering: as far as it goes, by default.
NICENESS = 14


class _Version(NamedTuple):
    """What a slot holds: a bundle with the content that it has, and the share of the jobs that it gets."""

    folder: Path
    fingerprint: str
    share: float


class _Refusal(NamedTuple):
    """Why a version could not be loaded, and until when it is not tried again."""

    reason: str
    until: float


class Slot:
    """One of a worker's two places for a version: `load` reads a bundle, `hand_over` and `release` change the worker.

    What cannot be loaded changes nothing; `fault` is the reason, empty where there is none.
    """

    def __init__(
        self,
        load: Callable[[Path], Model],
        hand_over: Callable[[Model, float], None],
        release: Callable[[], None] = lambda: None,
    ) -> None:
        self._load, self._hand_over, self._release = load, hand_over, release
        self._refused: dict[tuple[Path, str], _Refusal] = {}  # by a bundle's folder and content
        self.current: _Version | None = None
        self.fault = ""

    def follow(self, folder: Path | None, share: float = 1.0) -> None:
        """Have the worker use the version in this folder, or none."""
        wanted = None if folder is None else self._version(folder, share)
        if wanted is None and self.current is not None:
            self._release()
        elif wanted is not None and wanted != self.current and not self._has_handed_over(wanted):
            return
        self.current, self.fault = wanted, ""

    def _version(self, folder: Path, share: float) -> _Version:
        fingerprint = bundle.fingerprint(folder)
        if self.current is not None and not fingerprint:
            fingerprint = self.current.fingerprint  # what cannot be read is no other version
        return _Version(folder, fingerprint, share)

    def _has_handed_over(self, wanted: _Version) -> bool:
        """Load a version and hand it over, unless that has failed lately; return whether that worked."""
        now, content = time.monotonic(), (wanted.folder, wanted.fingerprint)
        self._refused = {each: refusal for each, refusal in self._refused.items() if now < refusal.until}
        if content not in self._refused:
            try:
                self._hand_over(_in_turn(wanted.folder, self._load), wanted.share)
                return True
            except Exception as fault:
                if not isinstance(fault, (InferenceError, OSError)):
                    log.exception("%s: unforeseen fault", wanted.folder)
                # Any error it was, at each poll it would be the same.
                reason = f"{wanted.folder} cannot be loaded: {str(fault) or type(fault).__name__}"
                self._refused[content] = _Refusal(reason, time.monotonic() + AGAIN_AFTER_S)
        self.fault = self._refused[content].reason
        return False


class VersionWatcher:
    """A thread that follows what `wanted` returns: the folder of the version to serve, and the shadow's trial.

    `report` is called with the reason once a wanted version cannot be loaded, and with "" once it can; it returns
    whether that was published, else it is called again.
    """

    def __init__(  # noqa: PLR0913  what it follows, and where it reports
        self,
        wanted: Callable[[], tuple[Path, Trial | None]],
        serving: Path,
        served: Slot,
        shadow: Slot,
        *,
        report: Callable[[str], bool] = lambda _: True,
        mirror: ModelMirror | None = None,
    ) -> None:
        self._wanted = wanted
        self._served, self._shadow = served, shadow
        served.current = _Version(serving, bundle.fingerprint(serving), 1.0)
        self._mirror = mirror
        self._report, self._reported, self._logged = report, "", ""
        self._loop = Loop("version-watcher", self.poll, POLL_EVERY_S)

    def start(self) -> None:
        """Begin to poll, and to mirror what all hosts share."""
        if self._mirror is not None:
            self._mirror.start()
        self._loop.start()

    def stop(self) -> None:
        """End the thread; waits a while for a version that is being loaded, which the engine does not break off."""
        self._loop.stop()
        if self._mirror is not None:
            self._mirror.stop()

    def poll(self) -> None:
        """Read what is wanted, and follow it."""
        try:
            folder, trial = self._wanted()
            self._served.follow(folder)
            shadowed = None if trial is None else folder.parents[1] / trial.version
            serving = self._served.current
            if trial is None or (serving is not None and shadowed == serving.folder):
                self._shadow.follow(None)  # there is none, or it has been promoted
            else:
                self._shadow.follow(shadowed, trial.share)
            mirrored = self._mirror.fault if self._mirror is not None else ""
            fault = "; ".join(filter(None, (self._served.fault, self._shadow.fault, mirrored)))
        except (ModelError, OSError) as error:
            fault = str(error)
        self._publish(fault)

    def _publish(self, fault: str) -> None:
        """Log and report a reason once, not at each poll; empty where there is none any more."""
        if fault and fault != self._logged:
            serving = self._served.current
            log.error("%s stays: %s", serving and serving.folder.name, fault)
        self._logged = fault
        if fault != self._reported and self._report(fault):
            self._reported = fault


def _in_turn(folder: Path, load: Callable[[Path], Model]) -> Model:
    """Load while no other worker of this machine does, and in a thread whose lower priority ends with it."""
    with _turn(folder), ThreadPoolExecutor(1, "loader", cpu.lower_thread_priority, (NICENESS,)) as thread:
        return thread.submit(load, folder).result()


@contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """Hold a lock on the bundle's description, or continue without it after TURN_TIMEOUT_S."""
    try:
        # Opening a pipe must not wait for a writer.
        file = os.open(folder / DESCRIPTION_FILE, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        yield  # loading raises what is wrong with it
        return
    try:
        until = time.monotonic() + TURN_TIMEOUT_S
        while not _has_lock(file) and time.monotonic() < until:
            time.sleep(TURN_POLL_S)
        yield
    finally:
        os.close(file)


def _has_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # nothing can be locked here
    return True
