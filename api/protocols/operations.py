"""What the routes of protocols.py are for, take and answer."""

from openapi.operation import JSON, OF_A_PICTURE, OF_THE_QUEUE, Answer, Body, Operation
from openapi.schemas import (
    Healthy,
    InferenceAsked,
    Inferred,
    IsLive,
    IsReady,
    ModelIsReady,
    ModelMetadata,
    ServerMetadata,
)
from predict import options

OF_A_MODEL = (404, *OF_THE_QUEUE)

LIVE = Operation("Open Inference Protocol: does the process serve?", {200: Answer("It does.", IsLive)})
READY = Operation(
    "Open Inference Protocol: would a picture be answered now?",
    {200: Answer("It would.", IsReady)},
    problems=OF_THE_QUEUE,
)
PING = Operation(
    "TorchServe, SageMaker: would a picture be answered now?",
    {200: Answer("It would.", Healthy)},
    problems=OF_THE_QUEUE,
)
SERVER = Operation("Open Inference Protocol: what serves", {200: Answer("its name", ServerMetadata)})
MODEL_READY = Operation(
    "Open Inference Protocol: would this model answer now?",
    {200: Answer("It would.", ModelIsReady)},
    problems=OF_A_MODEL,
)
MODEL = Operation(
    "Open Inference Protocol: what a model takes and gives",
    {200: Answer("its tensors", ModelMetadata)},
    problems=OF_A_MODEL,
)
INFER = Operation(
    "Open Inference Protocol: name what is in pictures",
    {
        200: Answer(
            "an answer for each; binary tensors follow the JSON", Inferred, media_types=["application/octet-stream"]
        )
    },
    parameters=(options.TIMEOUT_MS,),
    body=Body(documents=[InferenceAsked]),
    problems=(*OF_A_PICTURE, 404),
)
PREDICTIONS = Operation(
    "TorchServe: name what is in a picture",
    {200: Answer("the best classes with their probabilities", media_types=[JSON])},
    parameters=(options.TOP_K, options.TIMEOUT_MS),
    body=Body(required=["data"], picture_field="data", is_picture=True),
    problems=(*OF_A_PICTURE, 404),
)
