"""Async jobs, which their client does not wait for: submitted with `Prefer: respond-async`, polled at /jobs/{id}."""

import hashlib

from flask import Blueprint, Response, url_for

import error_handlers
import problems
from auth import access
from images.uploads import StoredImage
from openapi.operation import Answer, Operation
from openapi.schemas import JobState
from predict import job_queue
from predict.prediction import RESPOND_ASYNC, Prediction, PredictOptions, json_response
from wire import Failure, JobFailed

router = Blueprint("jobs", __name__)

# Seconds that a client does well to wait before it polls again.
POLL_AGAIN_S = 1
POLL_AGAIN = {"Retry-After": str(POLL_AGAIN_S)}


def accept(image: StoredImage, options: PredictOptions) -> Response:
    """Submit a job for a stored image and return where to poll for it."""
    handle = job_queue.submit_job(image, options)
    headers = {"Location": url_for("jobs.look", job=handle), "Preference-Applied": RESPOND_ASYNC} | POLL_AGAIN
    return json_response({"id": handle, "status": "pending"}, 202, headers)


@router.route("/jobs/<job>", methods=["GET"])
@access.costs_a_job
@Operation(
    "GET",
    "Get the state and result of a job",
    {200: Answer("the state of the job, with its result or error", JobState, headers=["Retry-After"])},
    problems=(404, 503),
)
def look(job: str) -> Response:
    """Return the state of a job."""
    image, reply = job_queue.async_jobs().find(job, owner=_owner())
    if reply is None:
        return json_response({"id": job, "status": "pending"}, 200, POLL_AGAIN)
    if isinstance(reply, Failure):
        problem = error_handlers.problem_of(JobFailed(reply)) or problems.Problem(
            500, "internal", "The worker failed on it."
        )
        document = problem.document(instance=error_handlers.instance(), request_id=error_handlers.request_id())
        return json_response({"id": job, "status": "failed", "problem": document})
    best, count = reply.predictions[0], len(reply.predictions)
    prediction = Prediction(best, image, _public_id(reply.id), access.caller(), answer=reply)
    return json_response({"id": job, "status": "done", "result": prediction.to_json(count)})


@router.route("/jobs/<job>", methods=["DELETE"])
@Operation(
    "DELETE",
    "Cancel a pending job or delete a stored result",
    {204: Answer("the job is deleted")},
    problems=(404, 503),
)
def cancel(job: str) -> Response:
    """Cancel a job."""
    job_queue.async_jobs().cancel(job, owner=_owner())
    return Response(status=204)


def _owner() -> str | None:
    """Return whose jobs the caller may use; None for all."""
    return None if access.may_use_all() else access.caller()


def _public_id(job_id: str) -> str:
    """Return the id that a prediction begins with: it must not reveal the secret part of the handle."""
    return hashlib.sha256(b"sightline prediction\0" + job_id.encode()).hexdigest()[:32]
