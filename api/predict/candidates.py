"""The answer of the shadow version to an image, next to the answer that was given."""

from typing import Annotated, Literal, TypedDict

from flask import Blueprint, Flask, render_template, request
from werkzeug.exceptions import NotFound

from auth import access
from images import uploads
from openapi.negotiation import wants_page
from openapi.operation import HTML, JSON, Answer, Operation
from openapi.schemas import ClassScore
from predict import job_queue
from predict.prediction import Prediction, PredictOptions
from problems import Problem

router = Blueprint("candidates", __name__)


class CandidateResponse(TypedDict):
    """The best classes of the version that is tried, best first."""

    success: Literal[True]
    model_version: Annotated[str, {"description": "<model>/<version>"}]
    predictions: list[ClassScore]


def install(app: Flask) -> None:
    """Let the templates call `candidate_version()`."""
    app.jinja_env.globals["candidate_version"] = version


def version() -> str:
    """Return the version that workers try, as was read last; empty where they try none."""
    state = job_queue.queue_state()
    return "" if state is None else next((worker.shadow for worker in state.workers if worker.shadow), "")


@router.route("/p/<prediction_id>/candidate")
@access.costs_a_job
@Operation(
    "GET",
    "Get the answer of the version that is tried to the image of a prediction",
    {200: Answer("a page for browsers, JSON for other clients", CandidateResponse, media_types=[HTML, JSON])},
    problems=(404, 415, 422, 429, 503, 504),
)
def candidate(prediction_id: str) -> CandidateResponse | str:
    """Return what the candidate answers, to the owner of the prediction."""
    prediction, images = Prediction.of_id(prediction_id), uploads.image_store()
    if prediction is None or not access.may_use(prediction.owner) or not access.may_see(images, prediction.filename):
        raise NotFound
    image = uploads.stored_image(images, prediction.filename)
    if image is None or not version():
        raise NotFound
    found = job_queue.candidate(image, PredictOptions.of(request, reads_choices=False)).candidate
    if found is None:
        detail = "The worker that answered tries no version. Try again in a moment."
        raise Problem(503, "not_ready", detail, retry_after_s=1)
    scores: list[ClassScore] = [{"label": label, "score": round(score, 4)} for label, score in found.predictions]
    if wants_page(request):
        return render_template(
            "candidate.html", answered=prediction, candidate=found.version, predictions=scores, filename=image.name
        )
    return {"success": True, "model_version": found.version, "predictions": scores}
