"""The routes of other systems, so that their clients work here: KServe, Triton and others."""

from dataclasses import replace
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from flask import Blueprint, Response, request

import problems
import settings
import views
from auth import access
from images import uploads
from observability import health
from openapi.operation import JSON, OF_AN_IMAGE, OF_THE_QUEUE, Answer, Body, Operation
from openapi.response_headers import OF_A_PREDICTION
from openapi.schemas import Score
from predict import batch, job_queue
from predict.prediction import TIMEOUT_MS, TOP_K, USUAL_TOP_K, PredictOptions, json_response
from problems import Problem
from protocols import hugging_face, open_inference, tf_serving, triton
from protocols.served import ANY_MODEL, OF_A_MODEL, route, served, serving
from wire import __version__
from wire.process.limits import MAX_CLASSES

router = Blueprint("protocols", __name__)

LENGTH_HEADER = "Inference-Header-Content-Length"
# What clients of TorchServe call the image in a form.
FIELDS = ("data", "body", "file")

Parameters = dict[str, str | int | float | bool]


class TensorIn(TypedDict):
    """Images as a tensor of BYTES; with `binary_data_size` in its parameters the data follow the JSON."""

    name: str
    datatype: Literal["BYTES"]
    shape: list[Annotated[int, {"minimum": 1, "maximum": 16}]]
    data: NotRequired[list[Annotated[str, {"description": "base64", "contentEncoding": "base64"}]]]
    parameters: NotRequired[Parameters]


class OutputRequest(TypedDict):
    """A requested output; with the parameter `classification`, this number of best classes."""

    name: Literal["label", "score", "probabilities"]
    parameters: NotRequired[Parameters]


class InferenceRequest(TypedDict):
    """A request of the Open Inference Protocol, version 2."""

    id: NotRequired[str]
    inputs: Annotated[list[TensorIn], {"minItems": 1, "maxItems": 1}]
    outputs: NotRequired[Annotated[list[OutputRequest], {"maxItems": 3}]]
    parameters: NotRequired[Parameters]


class TensorOut(TypedDict):
    """An output; with `binary_data_size` in its parameters the data follow the JSON."""

    name: str
    datatype: Literal["BYTES", "FP32"]
    shape: list[int]
    data: NotRequired[list[Any]]
    parameters: NotRequired[dict[str, int]]


class InferenceResponse(TypedDict):
    """An answer of the Open Inference Protocol, version 2."""

    model_name: str
    model_version: str
    id: NotRequired[str]
    outputs: list[TensorOut]


class TensorMetadata(TypedDict):
    """An input or output of a model; -1 is any size."""

    name: str
    datatype: Literal["BYTES", "FP32"]
    shape: list[int]


class ModelMetadata(TypedDict):
    """The inputs and outputs of a model."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ServerMetadata(TypedDict):
    """The server and its extensions."""

    name: str
    version: str
    extensions: list[str]


class IsLive(TypedDict):
    """The server is live."""

    live: Literal[True]


class IsReady(TypedDict):
    """The server is ready."""

    ready: Literal[True]


class ModelIsReady(TypedDict):
    """This model is ready."""

    name: str
    ready: Literal[True]


class Healthy(TypedDict):
    """TorchServe's response for a healthy server."""

    status: Literal["Healthy"]


@router.route("/v2/health/live")
@access.open_to_all
@Operation("GET", "Open Inference Protocol: check liveness", {200: Answer("yes", IsLive)})
def live() -> dict[str, Any]:
    """Answer as long as this process serves."""
    return {"live": True}


@router.route("/v2/health/ready")
@access.open_to_all
@Operation("GET", "Open Inference Protocol: check readiness", {200: Answer("yes", IsReady)}, problems=OF_THE_QUEUE)
def ready() -> dict[str, Any]:
    """Answer 200 where an image would be answered now."""
    health.readyz()
    return {"ready": True}


@router.route("/ping")
@access.open_to_all
@Operation("GET", "TorchServe, SageMaker: check readiness", {200: Answer("yes", Healthy)}, problems=OF_THE_QUEUE)
def ping() -> dict[str, Any]:
    """Answer TorchServe's and SageMaker's question for health."""
    health.readyz()
    return {"status": "Healthy"}


@router.route("/v2")
@Operation("GET", "Open Inference Protocol: get server metadata", {200: Answer("name and version", ServerMetadata)})
def server() -> dict[str, Any]:
    """Answer the name and version of the server."""
    return {"name": "sightline", "version": __version__, "extensions": list(open_inference.EXTENSIONS)}


@Operation("GET", "Open Inference Protocol: check a model", {200: Answer("yes", ModelIsReady)}, problems=OF_A_MODEL)
def model_ready(model: str, version: str = "") -> dict[str, Any]:
    """Answer 200 where this model answers now."""
    state = serving(model, version)
    return {"name": state.model, "ready": True}


@Operation(
    "GET",
    "Open Inference Protocol: get model metadata",
    {200: Answer("inputs and outputs", ModelMetadata)},
    problems=OF_A_MODEL,
)
def metadata(model: str, version: str = "") -> dict[str, Any]:
    """Answer the inputs and outputs of a model."""
    state = serving(model, version)
    tensors = (("label", "BYTES", [-1]), ("score", "FP32", [-1]), ("probabilities", "FP32", [-1, len(state.labels)]))
    return {
        "name": state.model,
        "versions": [state.version],
        "platform": "onnx",
        "inputs": [{"name": open_inference.INPUT, "datatype": "BYTES", "shape": [-1]}],
        "outputs": [{"name": name, "datatype": kind, "shape": shape} for name, kind, shape in tensors],
    }


@Operation(
    "POST",
    "Open Inference Protocol: classify images",
    {
        200: Answer(
            "one prediction for each image; binary tensors follow the JSON",
            InferenceResponse,
            media_types=["application/octet-stream"],
            headers=[*OF_A_PREDICTION, LENGTH_HEADER],
        )
    },
    parameters=(TIMEOUT_MS,),
    body=Body(document=InferenceRequest),
    problems=(*OF_AN_IMAGE, 404),
)
def infer(model: str, version: str = "") -> Response:
    """Answer for the images of a tensor; one that cannot be answered fails them all."""
    job_queue.check_room_early(request)
    uploads.limit_json_body(request)
    asked = open_inference.parse(request.stream, request.headers.get(LENGTH_HEADER))
    state = served(model, version)
    labels = state.labels
    if asked.needs_labels and not labels:
        detail = "The classes of the model are not known yet. Ask again."
        raise Problem(503, "not_ready", detail, retry_after_s=problems.soon())
    top_k = asked.top_k(len(labels))
    # A model's own outputs are not a choice of the client, as ranks are.
    most, its_name = (MAX_CLASSES, "") if asked.needs_every_class else (settings.MAX_TOP_K, "MAX_TOP_K=")
    if top_k > most:
        raise Problem(400, "malformed", f"{top_k} classes of each image are more than {its_name}{most}.")
    options = replace(PredictOptions.of(request), top_k=top_k, explain=0)
    if asked.timeout_s is not None and TIMEOUT_MS.name not in request.headers:
        options = replace(options, timeout_s=min(asked.timeout_s, settings.REQUEST_TIMEOUT_S))
    files = uploads.as_files(asked.images)
    items = batch.predict(request, files, uploads.image_store(), options, views.classify)
    results = [item.result() for item in items]
    name, _, answered_version = results[0].model_version.partition("/")
    classes = [[(str(label), float(score)) for label, score in result.predictions[:top_k]] for result in results]
    content, length = open_inference.answer(asked, name, answered_version, classes, labels)
    headers = batch.headers_of(results)
    if length is None:
        return Response(content, headers=headers, content_type=JSON)
    return Response(content, headers=headers | {LENGTH_HEADER: str(length)}, content_type="application/octet-stream")


@Operation(
    "POST PUT",
    "TorchServe: classify an image",
    {200: Answer("the best classes with their probabilities", dict[str, Score], headers=OF_A_PREDICTION)},
    parameters=(TOP_K, TIMEOUT_MS),
    body=Body(
        fields={TOP_K.name: f"as in the query: {TOP_K.meaning}"},
        required=["data"],
        image_field="data",
        image_types=(*views.IMAGE_TYPES, "application/octet-stream"),
    ),
    problems=(*OF_AN_IMAGE, 404),
)
def predictions(model: str, version: str = "") -> Response:
    """Answer as TorchServe's image classifier does: the best classes with their probabilities."""
    job_queue.check_room_early(request)
    if model != ANY_MODEL or version:
        served(model, version)
    options = PredictOptions.of(request)
    file, check_cost = uploads.file_of(request, FIELDS), job_queue.check_expensive
    options = options.with_form(request)
    top_k = options.top_k or USUAL_TOP_K
    image = uploads.store_file(file, uploads.image_store(), check_cost)
    uploads.forget_body(request)
    prediction = views.classify(image, replace(options, top_k=top_k))
    return json_response(dict(prediction.top(top_k)), headers=prediction.headers())


for protocol in (triton, tf_serving, hugging_face):
    protocol.add_to(router)
router.add_url_rule("/invocations", "invocations", views.predict, methods=["POST"])
route(router, "/v2/models/<model>{}", "metadata", metadata)
route(router, "/v2/models/<model>{}/ready", "model_ready", model_ready)
route(router, "/v2/models/<model>{}/infer", "infer", infer, "POST")
route(router, "/predictions/<model>{}", "predictions", predictions, "POST", "PUT", version="/<version>")
