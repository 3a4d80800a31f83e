"""Hugging Face's inference clients: an image, or base64 in JSON, to a list of labels with their scores."""

from dataclasses import replace
from typing import Annotated, NotRequired, TypedDict

from flask import Blueprint, Response, request

import views
from images import uploads
from openapi.operation import JSON, OF_AN_IMAGE, Answer, Body, Operation
from openapi.response_headers import OF_A_PREDICTION
from openapi.schemas import ClassScore
from predict import job_queue
from predict.prediction import TIMEOUT_MS, TOP_K, USUAL_TOP_K, PredictOptions, json_response
from problems import Problem, UnusableFile
from protocols.served import served

EXPECTED = 'Send an image, or {"inputs": "<base64>", "parameters": {"top_k": 5}}.'


class PipelineParameters(TypedDict):
    """How many classes to list; other parameters of a pipeline are ignored."""

    top_k: NotRequired[Annotated[int | None, {"minimum": 1}]]


class PipelineRequest(TypedDict):
    """An image with parameters."""

    inputs: Annotated[str, {"contentEncoding": "base64"}]
    parameters: NotRequired[PipelineParameters]


@Operation(
    "POST",
    "Hugging Face: classify an image",
    {200: Answer("the best classes with their scores", list[ClassScore], headers=OF_A_PREDICTION)},
    parameters=(TOP_K, TIMEOUT_MS),
    body=Body(image_types=(*views.IMAGE_TYPES, "application/octet-stream"), document=PipelineRequest),
    problems=(*OF_AN_IMAGE, 404),
)
def classify(model: str) -> Response:
    """Answer as the pipeline for image classification does: the best classes with their scores."""
    job_queue.check_room_early(request)
    served(model)
    options, top_k = PredictOptions.of(request), None
    if request.mimetype == JSON:
        content, top_k = _with_parameters()
        file = uploads.as_file(content)
    else:
        file = uploads.file_of(request)
    top_k = top_k or options.top_k or USUAL_TOP_K
    image = uploads.store_file(file, uploads.image_store(), job_queue.check_expensive)
    uploads.forget_body(request)
    prediction = views.classify(image, replace(options, top_k=top_k, explain=0))
    classes = [{"label": label, "score": score} for label, score in prediction.top(top_k)]
    return json_response(classes, headers=prediction.headers())


def _with_parameters() -> tuple[bytes, int | None]:
    document = uploads.read_json(request)
    if not isinstance(document, dict) or "inputs" not in document:
        raise UnusableFile(f"The JSON has no inputs. {EXPECTED}")
    parameters = document.get("parameters") or {}
    top_k = parameters.get("top_k") if isinstance(parameters, dict) else None
    if top_k is not None and type(top_k) is not int:
        raise Problem(400, "invalid_parameter", f"top_k={str(top_k)[:40]!r} is not a whole number.")
    return uploads.decode_base64(document["inputs"]), TOP_K.parse(str(top_k)) if top_k is not None else None


def add_to(router: Blueprint) -> None:
    """Add this route to the blueprint of protocols."""
    router.add_url_rule("/hf/<model>", "hugging_face", classify, methods=["POST"])
