"""A worker's look at what it is to serve: another version is loaded beside the one at work, and then handed over."""

import fcntl
import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from inference import bundle, cpu
from inference.bundle import DESCRIPTION_FILE
from inference.errors import InferenceError, ModelError
from inference.model import Model
from registry.activation import Trial
from wire.redis.loop import Loop

log = logging.getLogger("ml_service")

LOOK_EVERY_S = 0.25
# A version that cannot be loaded is tried again so often: its files may have been mended.
AGAIN_AFTER_S = 30.0
# Workers of one machine load one after the other, so that most of it goes on answering; but none waits longer.
TURN_PATIENCE_S = 1.5
ASK_AGAIN_S = 0.02
# How far the loading of another version stands back behind the lanes that go on answering.
NICENESS = 5

SERVED, TRIED = "served", "tried"

Load = Callable[[Path], Model]


class _Refusal(NamedTuple):
    """A version that could not be loaded, with the content that it had then, and until when it is not tried again."""

    folder: Path
    description: str
    until: float
    reason: str


class Watch:
    """A thread that loads and hands over whatever `wanted` names; what cannot be loaded changes nothing."""

    def __init__(
        self,
        wanted: Callable[[], tuple[Path, Trial | None]],
        serving: Path,
        load: tuple[Load, Load],
        hand_over: tuple[Callable[[Model], None], Callable[[Model | None, float], None]],
        *,
        report: Callable[[str], bool] = lambda _: True,
    ) -> None:
        """`load` and `hand_over` are each for the version to serve, then for the one to try beside it.

        `report` is called with the reason as soon as a wanted version cannot be loaded, and with "" once it can; it
        returns whether that was published, else it is called again.
        """
        self._wanted = wanted
        self._serving = serving
        self._description = bundle.fingerprint(serving)
        self._trying: Trial | None = None
        self._load = dict(zip((SERVED, TRIED), load, strict=True))
        self._hand_over, self._hand_over_trial = hand_over
        self._refused: dict[str, _Refusal] = {}
        self._report, self._reported, self._logged = report, "", ""
        self._loop = Loop("watch", self.look, LOOK_EVERY_S)

    def start(self) -> None:
        """Begin to look."""
        self._loop.start()

    def stop(self) -> None:
        """Look no more; waits a while for a version that is being loaded, which the engine does not break off."""
        self._loop.stop()

    def look(self) -> None:
        """See what is wanted, and do what is new of it."""
        try:
            self._follow(*self._wanted())
            faults = [refused.reason for refused in self._refused.values()]
        except (ModelError, OSError) as fault:
            faults = [str(fault)]
        self._tell("; ".join(faults))

    def _follow(self, folder: Path, trial: Trial | None) -> None:
        description = bundle.fingerprint(folder)
        is_other = folder != self._serving or (description and description != self._description)
        if not is_other:
            self._refused.pop(SERVED, None)
        elif (model := self._loaded(folder, SERVED)) is not None:
            self._hand_over(model)
            self._serving, self._description = folder, description
        self._try(folder, trial)

    def _try(self, folder: Path, trial: Trial | None) -> None:
        bundles = folder.parents[1]
        if trial is not None and bundles / trial.version == self._serving:
            trial = None  # it has been promoted
        if trial == self._trying:
            self._refused.pop(TRIED, None)
            return
        if trial is None:
            self._hand_over_trial(None, 0)
        elif (model := self._loaded(bundles / trial.version, TRIED)) is not None:
            self._hand_over_trial(model, trial.share)
        else:
            return
        self._trying = trial

    def _loaded(self, folder: Path, what: str) -> Model | None:
        description, refused = bundle.fingerprint(folder), self._refused.get(what)
        is_same = refused is not None and (refused.folder, refused.description) == (folder, description)
        if refused is not None and is_same and time.monotonic() < refused.until:
            return None
        try:
            model = _in_turn(folder, lambda path: _aside(path, self._load[what]))
        except (InferenceError, OSError) as fault:
            reason = f"{folder} cannot be loaded: {fault}"
            self._refused[what] = _Refusal(folder, description, time.monotonic() + AGAIN_AFTER_S, reason)
            return None
        self._refused.pop(what, None)
        return model

    def _tell(self, fault: str) -> None:
        """Log and report a reason once, not at each look; empty where there is none any more."""
        if fault and fault != self._logged:
            log.error("%s stays: %s", self._serving.name, fault)
        self._logged = fault
        if fault != self._reported and self._report(fault):
            self._reported = fault


def _aside(folder: Path, load: Load) -> Model:
    """Load in a thread that stands back behind the lanes; one that has stood back cannot come forward again."""
    with ThreadPoolExecutor(1, "loader", cpu.lower_thread_priority, (NICENESS,)) as thread:
        return thread.submit(load, folder).result()


def _in_turn(folder: Path, load: Load) -> Model:
    """Load while no other worker of this machine does, by a lock on the bundle's description."""
    try:
        # Opening a pipe must not wait for somebody to write into it.
        file = os.open(folder / DESCRIPTION_FILE, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return load(folder)  # which says what is wrong with it
    try:
        until = time.monotonic() + TURN_PATIENCE_S
        while not _has_turn(file) and time.monotonic() < until:
            time.sleep(ASK_AGAIN_S)
        return load(folder)
    finally:
        os.close(file)


def _has_turn(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # nothing can be locked here
    return True
