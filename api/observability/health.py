"""Whether the process lives, and whether it can answer: for supervisors, containers and load balancers."""

import time
from pathlib import Path

from flask import Blueprint

import error_handlers
import middleware
import offload
import views
from auth import access
from images import store
from offload import StorageStuck
from openapi.operation import OF_THE_QUEUE, Answer, Operation
from openapi.schemas import Alive, Ready
from problems import Problem
from wire.errors import NoWorker, QueueFull
from wire.producer.admission import retry_after_s

router = Blueprint("health", __name__)

# A queue that is full of work changes with every batch; one that is full and does not change refuses everybody.
STANDSTILL_S = 3.0
# Whoever asks more often than this gets the last result: each check writes a file.
CHECK_STORAGE_EVERY_S = 1.0


class _StorageCheck:
    """Whether an upload could be stored: the result of the last check, which is made anew after a while."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._checked_at = 0.0
        self._problem: Problem | None = None

    def problem_of(self, folder: Path) -> Problem | None:
        """Return why nothing can be stored in the folder; None where it can be."""
        now = time.monotonic()
        if self._folder != folder or now - self._checked_at >= CHECK_STORAGE_EVERY_S:
            # Before the check, which may take long: meanwhile the others get the last result.
            self._folder, self._checked_at = folder, now
            self._problem = _problem_of_writing_to(folder)
        return self._problem


_storage_check = _StorageCheck()


@router.route("/livez")
@router.route("/healthz", endpoint="healthz")
@access.open_to_all
@Operation("GET", "Does the process serve?", {200: Answer("It does.", Alive)})
def livez() -> Alive:
    """Answer as long as this process serves, whatever else is down."""
    return {"status": "ok"}


@router.route("/readyz")
@router.route("/health", endpoint="health")
@access.open_to_all
@Operation("GET", "Would an image be answered now?", {200: Answer("It would.", Ready)}, problems=OF_THE_QUEUE)
def readyz() -> Ready:
    """Answer 200 where a picture would be answered now; else 503 with the reason."""
    state = middleware.refresh_queue_state()
    if not state.workers:
        raise NoWorker
    if state.depth >= state.bound and state.standstill_s >= STANDSTILL_S:
        raise QueueFull(state.depth, state.bound, retry_after_s(state.depth, state.rate))
    problem = _storage_check.problem_of(views.upload_folder())
    if problem is not None:
        raise problem
    told: Ready = {
        "status": "ready",
        "model_version": f"{state.model}/{state.version}",
        "workers": len(state.workers),
    }
    if state.startup_error:
        told["trouble"] = state.startup_error
    return told


def _problem_of_writing_to(folder: Path) -> Problem | None:
    try:
        offload.run(lambda: store.check_writable(folder))
    except (OSError, StorageStuck, Problem) as error:
        problem = error_handlers.problem_of(error)
        if problem is None:
            raise
        detail = f"Images cannot be stored. {problem.detail}"
        # Not ready is 503, whatever the upload itself would be refused with.
        return Problem(503, problem.code, detail, retry_after_s=problem.retry_after_s)
    return None
