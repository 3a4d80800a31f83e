"""Liveness and readiness, for supervisors, containers and load balancers."""

import time
from collections.abc import Callable

from flask import Blueprint, Flask, current_app

import error_handlers
from openapi.operation import OF_THE_QUEUE, Answer, Operation
from openapi.schemas import Alive, Ready
from problems import Problem
from storage.errors import StorageError
from wire import QueueFull, QueueSnapshot
from wire.errors import NoWorker

router = Blueprint("health", __name__)

# A queue that is full of work changes with every batch; one that is full and does not change refuses all requests.
STANDSTILL_S = 3.0
# The result of a check of the storage is kept this long: each check writes a file.
CHECK_STORAGE_EVERY_S = 1.0


def install(app: Flask, refresh_queue_state: Callable[[], QueueSnapshot], check_storage: Callable[[], None]) -> None:
    """Add the health routes to `app`.

    `refresh_queue_state` returns the present state of the queue or raises an error of `wire`; `check_storage` raises
    what storing an image would raise now.
    """
    app.extensions["sightline.readiness"] = _Readiness(refresh_queue_state, check_storage)
    app.register_blueprint(router)


class _Readiness:
    """Whether an image would be answered now."""

    def __init__(self, refresh_queue_state: Callable[[], QueueSnapshot], check_storage: Callable[[], None]) -> None:
        self._refresh_queue_state = refresh_queue_state
        self._check_storage = check_storage
        self._storage_checked_at = float("-inf")
        self._storage_problem: Problem | None = None
        self._has_started = False

    def check_start(self) -> None:
        """Raise an error of `wire` or Problem until Redis has answered and an image could be stored, once."""
        if not self._has_started:
            self._refresh_queue_state()
            self._check_storage_now_and_then()
            self._has_started = True

    def state(self) -> QueueSnapshot:
        """Return the state of the queue; raise Problem or an error of `wire` where an image would not be answered."""
        state = self._refresh_queue_state()
        if not state.workers:
            raise NoWorker(state.startup_error)
        if state.depth >= state.bound and state.standstill_s >= STANDSTILL_S:
            raise QueueFull(state.depth, state.bound, state.rate)
        self._check_storage_now_and_then()
        return state

    def _check_storage_now_and_then(self) -> None:
        if time.monotonic() - self._storage_checked_at >= CHECK_STORAGE_EVERY_S:
            # Before the check, which may take long: meanwhile the others get the last result.
            self._storage_checked_at = time.monotonic()
            self._storage_problem = self._problem_of_storage()
        if self._storage_problem is not None:
            raise self._storage_problem

    def _problem_of_storage(self) -> Problem | None:
        try:
            self._check_storage()
        except (OSError, StorageError, Problem) as error:
            problem = error_handlers.problem_of(error)
            if problem is None:
                raise
            detail = f"Images cannot be stored. {problem.detail}"
            # Not ready is 503, regardless of the upload's own fault.
            return Problem(503, problem.code, detail, retry_after_s=problem.retry_after_s)
        return None


@router.route("/livez")
@router.route("/healthz", endpoint="healthz")
@Operation("GET", "Check whether the process is alive", {200: Answer("yes", Alive)})
def livez() -> Alive:
    """Answer as long as this process serves, whichever other part is down."""
    return {"status": "ok"}


@router.route("/startupz")
@Operation("GET", "Check whether the process has started", {200: Answer("yes", Alive)}, problems=OF_THE_QUEUE)
def startupz() -> Alive:
    """Answer 200 once Redis has answered this process and an image could be stored; from then on as /livez does.

    It is what decides whether a proxy sends requests to this process: in an outage of what all processes share, none is
    taken out, and clients get the service's own 503 with its reason and `Retry-After` instead of the proxy's error.
    """
    readiness: _Readiness = current_app.extensions["sightline.readiness"]
    readiness.check_start()
    return {"status": "ok"}


@router.route("/readyz")
@router.route("/health", endpoint="health")
@Operation("GET", "Check whether the service can classify images", {200: Answer("yes", Ready)}, problems=OF_THE_QUEUE)
def readyz() -> Ready:
    """Answer 200 where an image would be answered now; else 503 with the reason."""
    readiness: _Readiness = current_app.extensions["sightline.readiness"]
    state = readiness.state()
    ready: Ready = {
        "status": "ready",
        "model_version": f"{state.model}/{state.version}",
        "workers": len(state.workers),
    }
    if state.startup_error:
        ready["startup_error"] = ready["trouble"] = state.startup_error
    return ready
