"""The JSON documents of the Open Inference Protocol, version 2, and of TorchServe."""

from typing import Annotated, Any, Literal, NotRequired, TypedDict

Parameters = dict[str, str | int | float | bool]


class TensorIn(TypedDict):
    """Pictures as a tensor of BYTES; with `binary_data_size` in its parameters the data follow the JSON."""

    name: str
    datatype: Literal["BYTES"]
    shape: list[Annotated[int, {"minimum": 1, "maximum": 16}]]
    data: NotRequired[list[Annotated[str, {"description": "base64", "contentEncoding": "base64"}]]]
    parameters: NotRequired[Parameters]


class OutputWanted(TypedDict):
    """An output to be told; with `classification` in its parameters as so many best classes."""

    name: Literal["label", "score", "probabilities"]
    parameters: NotRequired[Parameters]


class InferenceAsked(TypedDict):
    """A request of the Open Inference Protocol, version 2."""

    id: NotRequired[str]
    inputs: Annotated[list[TensorIn], {"minItems": 1, "maxItems": 1}]
    outputs: NotRequired[Annotated[list[OutputWanted], {"maxItems": 3}]]
    parameters: NotRequired[Parameters]


class TensorOut(TypedDict):
    """An output; with `binary_data_size` in its parameters the data follow the JSON."""

    name: str
    datatype: Literal["BYTES", "FP32"]
    shape: list[int]
    data: NotRequired[list[Any]]
    parameters: NotRequired[dict[str, int]]


class Inferred(TypedDict):
    """An answer of the Open Inference Protocol, version 2."""

    model_name: str
    model_version: str
    id: NotRequired[str]
    outputs: list[TensorOut]


class TensorKind(TypedDict):
    """A tensor that a model takes or gives; -1 is any number."""

    name: str
    datatype: Literal["BYTES", "FP32"]
    shape: list[int]


class ModelMetadata(TypedDict):
    """What a model takes and gives."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorKind]
    outputs: list[TensorKind]


class ServerMetadata(TypedDict):
    """What serves."""

    name: str
    version: str
    extensions: list[str]


class IsLive(TypedDict):
    """The process serves."""

    live: Literal[True]


class IsReady(TypedDict):
    """A picture would be answered now."""

    ready: Literal[True]


class ModelIsReady(TypedDict):
    """This model would answer now."""

    name: str
    ready: Literal[True]


class Healthy(TypedDict):
    """What TorchServe says where all is well."""

    status: Literal["Healthy"]
