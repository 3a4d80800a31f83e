"""KServe's protocol of version 1, which is TensorFlow Serving's: `instances` of base64 to `predictions`."""

from dataclasses import replace
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from flask import Blueprint, Response, request
from werkzeug.routing import BaseConverter

import views
from images import uploads
from images.multipart import MAX_IMAGES
from openapi.operation import OF_AN_IMAGE, OF_THE_QUEUE, Answer, Body, Operation
from openapi.response_headers import OF_A_PREDICTION
from openapi.schemas import ClassScore, Label, Score
from predict import batch, job_queue
from predict.prediction import TIMEOUT_MS, TOP_K, USUAL_TOP_K, PredictOptions, json_response
from problems import UnusableFile
from protocols.served import ANY_MODEL, OF_A_MODEL, route, served, serving

# A number for clients that expect one of a version.
VERSION_NUMBER = "1"
# Around base64, by what exported models call their input.
NAMES = ("image_bytes", "image", "bytes", "input", "data")
EXPECTED = f'Send {{"instances": [{{"b64": "<base64>"}}, ...]}} with 1 to {MAX_IMAGES} images.'


class NameWithoutVerb(BaseConverter):
    """A part of a path up to the colon of a verb, so that `model:predict` is no model's name."""

    regex = "[^/:]+"


class EncodedImage(TypedDict):
    """An image in base64."""

    b64: Annotated[str, {"contentEncoding": "base64"}]


class InstancesRequest(TypedDict):
    """Images to classify; each may be in a member such as `image_bytes`."""

    instances: Annotated[list[EncodedImage], {"minItems": 1, "maxItems": MAX_IMAGES}]
    signature_name: NotRequired[str]


class InstancePrediction(TypedDict):
    """The best class of an image, and the five best or `top_k` classes."""

    label: Label
    score: Score
    predictions: list[ClassScore]


class PredictionsResponse(TypedDict):
    """The result for each image, in the order of the request."""

    predictions: list[InstancePrediction]


class VersionStatus(TypedDict):
    """TensorFlow Serving's status of a version."""

    version: str
    state: Literal["AVAILABLE"]
    status: dict[str, str]


class ModelStatus(TypedDict):
    """The model is ready: fields of KServe and TensorFlow Serving."""

    name: str
    ready: Literal[True]
    model_version_status: list[VersionStatus]


class ModelNames(TypedDict):
    """The models that are served."""

    models: list[str]


@Operation("GET", "KServe v1: list models", {200: Answer("the active model", ModelNames)}, problems=OF_THE_QUEUE)
def models() -> ModelNames:
    """Return the name of the model that is served."""
    return {"models": [serving(ANY_MODEL).model]}


@Operation(
    "GET", "KServe v1, TensorFlow Serving: check a model", {200: Answer("yes", ModelStatus)},
    problems=OF_A_MODEL,
)  # fmt: skip
def status(model: str, version: str = "") -> dict[str, Any]:
    """Answer 200 where this model answers now."""
    state = serving(model, version if version != VERSION_NUMBER else "")
    fine = {"error_code": "OK", "error_message": ""}
    available = {"version": VERSION_NUMBER, "state": "AVAILABLE", "status": fine}
    return {"name": state.model, "ready": True, "model_version_status": [available]}


@Operation(
    "POST",
    "KServe v1, TensorFlow Serving: classify images",
    {200: Answer("one prediction for each image", PredictionsResponse, headers=OF_A_PREDICTION)},
    parameters=(TOP_K, TIMEOUT_MS),
    body=Body(document=InstancesRequest),
    problems=(*OF_AN_IMAGE, 404),
)
def predict(model: str, version: str = "") -> Response:
    """Answer for the images of `instances`; one that cannot be answered fails them all."""
    job_queue.check_room_early(request)
    options = PredictOptions.of(request)
    top_k = options.top_k or USUAL_TOP_K
    options = replace(options, top_k=top_k, explain=0)
    files = uploads.as_files(_images())
    served(model, version if version != VERSION_NUMBER else "")
    items = batch.predict(request, files, uploads.image_store(), options, views.classify)
    results = [item.result() for item in items]
    found = [
        {
            "label": result.label,
            "score": result.score,
            "predictions": [{"label": label, "score": score} for label, score in result.top(top_k)],
        }
        for result in results
    ]
    return json_response({"predictions": found}, headers=batch.headers_of(results))


def _images() -> list[bytes]:
    document = uploads.read_json(request)
    instances = document.get("instances") if isinstance(document, dict) else None
    if not isinstance(instances, list) or not 1 <= len(instances) <= MAX_IMAGES:
        raise UnusableFile(f"The body has no list of instances that can be used. {EXPECTED}")
    return [uploads.decode_base64(_encoded(instance)) for instance in instances]


def _encoded(instance: Any) -> Any:
    """Return the base64 of an instance: itself, or below "b64", and that below a name of the input."""
    if isinstance(instance, dict) and len(instance) == 1:
        [(name, value)] = instance.items()
        if name == "b64":
            return value
        if name in NAMES:
            return _encoded(value) if isinstance(value, dict) else value
    if isinstance(instance, dict):
        named = ", ".join(repr(str(name)[:40]) for name in list(instance)[:5])
        raise UnusableFile(f"An instance has the members {named}. {EXPECTED}")
    return instance


def add_to(router: Blueprint) -> None:
    """Add these routes to the blueprint of protocols."""
    router.record_once(lambda state: state.app.url_map.converters.update(name=NameWithoutVerb))
    router.add_url_rule("/v1/models", "models_v1", models)
    version = "/versions/<name:version>"
    route(router, "/v1/models/<name:model>{}", "status_v1", status, version=version)
    route(router, "/v1/models/<name:model>{}:predict", "predict_v1", predict, "POST", version=version)
