"""Jobs that their client does not wait for: handed in with `Prefer: respond-async`, asked for at /jobs/{id}."""

import hashlib
import json
from typing import Any

from flask import Blueprint, Response, request, url_for

import error_handlers
import middleware
import problems
from auth import access
from openapi.operation import Answer, Operation
from openapi.schemas import JobState
from predict import options
from wire.messages import Failure, JobFailed

router = Blueprint("jobs", __name__)

PREFERENCE = options.PREFER.word
# How long a client does well to wait before it asks again.
ASK_AGAIN_S = 1


def are_wanted() -> bool:
    """Say whether the client would rather not wait (RFC 7240)."""
    told = ",".join(request.headers.getlist("Prefer"))
    return any(each.partition(";")[0].strip().lower() == PREFERENCE for each in told.split(","))


def accept(name: str, ask: middleware.Ask) -> Response:
    """Hand in a job for a stored picture, and say where to ask for it."""
    handle = middleware.hand_in(name, ask, access.caller())
    place = url_for("jobs.look", job=handle)
    headers = {"Location": place, "Preference-Applied": PREFERENCE, "Retry-After": str(ASK_AGAIN_S)}
    return _response({"id": handle, "status": "pending"}, 202, headers)


@router.route("/jobs/<job>", methods=["GET"])
@access.costs_a_job
@Operation(
    "GET",
    "What came of a job",
    {200: Answer("its state, with the answer or the failure once it is there", JobState)},
    problems=(404, 503),
)
def look(job: str) -> Response:
    """Say what came of a job."""
    image, reply = middleware.look(job, _owner())
    if reply is None:
        return _response({"id": job, "status": "pending"}, 200, {"Retry-After": str(ASK_AGAIN_S)})
    if isinstance(reply, Failure):
        problem = error_handlers.problem_of(JobFailed(reply)) or problems.Problem(
            500, "internal", "The worker failed on it."
        )
        told = problem.document(instance=request.path, request_id=error_handlers.request_id())
        return _response({"id": job, "status": "failed", "problem": told}, 200, {})
    result = options.Result(_public_id(reply.id), image, middleware.Prediction(reply))
    return _response(
        {"id": job, "status": "done", "result": options.told(result, options.Wishes(len(reply.predictions)))}, 200, {}
    )


@router.route("/jobs/<job>", methods=["DELETE"])
@Operation(
    "DELETE",
    "Take a job back, or throw its answer away",
    {204: Answer("there is no such job any more")},
    problems=(404, 503),
)
def cancel(job: str) -> Response:
    """Take a job back."""
    middleware.cancel(job, _owner())
    return Response(status=204)


def _owner() -> str | None:
    """Return whose jobs the caller may look at; None for all."""
    return None if access.may_use_all() else access.caller()


def _public_id(job_id: str) -> str:
    """Return the id that a prediction begins with: whoever is shown it must not learn the secret part of the handle."""
    return hashlib.sha256(b"sightline prediction\0" + job_id.encode()).hexdigest()[:32]


def _response(state: JobState, status: int, headers: dict[str, str]) -> Response:
    document: Any = state
    body = json.dumps(document, ensure_ascii=False, allow_nan=False)
    return Response(body, status, headers, content_type="application/json")
