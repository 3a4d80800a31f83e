"""Whether the process lives, and whether it can answer: for supervisors, containers and load balancers."""

from flask import Blueprint

import access
import middleware
from describing import OF_THE_QUEUE, Answer, Operation, describe
from shapes import Alive, Ready
from wire.admission import retry_after_s
from wire.errors import NoWorker, QueueFull

router = Blueprint("health", __name__)

# A queue that is full of work changes with every batch; one that is full and does not change refuses everybody.
STANDSTILL_S = 3.0


@router.route("/livez")
@router.route("/healthz", endpoint="healthz")
@access.open_to_all
@describe("GET", Operation("Does the process serve?", {200: Answer("It does.", Alive)}))
def livez() -> Alive:
    """Answer as long as this process serves, whatever else is down."""
    return {"status": "ok"}


@router.route("/readyz")
@router.route("/health", endpoint="health")
@access.open_to_all
@describe(
    "GET",
    Operation("Would a picture be answered now?", {200: Answer("It would.", Ready)}, problems=OF_THE_QUEUE),
)
def readyz() -> Ready:
    """Answer 200 where a picture would be answered now; else 503 with the reason."""
    state = middleware.refresh_queue_state()
    if not state.workers:
        raise NoWorker
    if state.depth >= state.bound and state.standstill_s >= STANDSTILL_S:
        raise QueueFull(state.depth, state.bound, retry_after_s(state.depth, state.rate))
    return {"status": "ready", "model_version": f"{state.model}/{state.version}", "workers": len(state.workers)}
