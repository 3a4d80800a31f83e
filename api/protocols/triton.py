"""Triton's extensions of the Open Inference Protocol: the configuration of a model, the index, and statistics."""

from typing import Any, Literal, TypedDict

from flask import Blueprint

from observability import metrics
from openapi.operation import Answer, Operation
from protocols.served import ANY_MODEL, OF_A_MODEL, route, serving

NS = 1_000_000_000


class ConfiguredTensor(TypedDict):
    """An input or output in Triton's configuration; -1 is any size."""

    name: str
    data_type: Literal["TYPE_STRING", "TYPE_FP32"]
    dims: list[int]


class ModelConfiguration(TypedDict):
    """Triton's configuration of a model; the first dimension is the batch."""

    name: str
    platform: str
    backend: str
    max_batch_size: int
    input: list[ConfiguredTensor]
    output: list[ConfiguredTensor]


class IndexedModel(TypedDict):
    """A model of the repository."""

    name: str
    version: str
    state: Literal["READY"]
    reason: str


class Duration(TypedDict):
    """A count of events and their total duration in nanoseconds."""

    count: int
    ns: int


class InferenceStatistics(TypedDict):
    """Statistics of the images since the API started."""

    success: Duration
    fail: Duration
    cache_hit: Duration
    cache_miss: Duration


class ModelStatistics(TypedDict):
    """The statistics of a model."""

    name: str
    version: str
    inference_count: int
    execution_count: int
    inference_stats: InferenceStatistics
    batch_stats: list[Duration]


class Statistics(TypedDict):
    """The statistics of all models: of the one that is served."""

    model_stats: list[ModelStatistics]


@Operation(
    "GET",
    "Triton: get the configuration of a model",
    {200: Answer("the configuration", ModelConfiguration)},
    problems=OF_A_MODEL,
)
def configuration(model: str, version: str = "") -> dict[str, Any]:
    """Return the inputs and outputs of a model as Triton configures them."""
    state = serving(model, version)
    outputs = (("label", "TYPE_STRING", [-1]), ("score", "TYPE_FP32", [-1]))
    all_classes = ("probabilities", "TYPE_FP32", [-1, len(state.labels)])
    return {
        "name": state.model,
        "platform": "onnx",
        "backend": "sightline",
        "max_batch_size": 0,
        "input": [{"name": "image", "data_type": "TYPE_STRING", "dims": [-1]}],
        "output": [{"name": name, "data_type": kind, "dims": dims} for name, kind, dims in (*outputs, all_classes)],
    }


@Operation("POST", "Triton: list models", {200: Answer("the active model", list[IndexedModel])}, problems=(503,))
def index() -> list[IndexedModel]:
    """Return the model that is served."""
    state = serving(ANY_MODEL)
    return [{"name": state.model, "version": state.version, "state": "READY", "reason": ""}]


@Operation(
    "GET", "Triton: get statistics", {200: Answer("the statistics of the model", Statistics)}, problems=OF_A_MODEL
)
def statistics(model: str = ANY_MODEL, version: str = "") -> Statistics:
    """Return how many images were answered, and in which time."""
    state = serving(model, version)
    of_version = {"model_version": f"{state.model}/{state.version}"}
    count = int(metrics.total("sightline_confidence_count", of_version))
    seconds = metrics.total("sightline_request_duration_seconds_sum", of_version)
    hits, misses = (int(metrics.total("sightline_cache_total", {"result": result})) for result in ("hit", "miss"))
    dropped = int(metrics.total("sightline_dropped_total", {}))
    stats: InferenceStatistics = {
        "success": {"count": count, "ns": int(seconds * NS)},
        "fail": {"count": dropped, "ns": 0},
        "cache_hit": {"count": hits, "ns": 0},
        "cache_miss": {"count": misses, "ns": 0},
    }
    model_stats: ModelStatistics = {
        "name": state.model,
        "version": state.version,
        "inference_count": count,
        "execution_count": max(count - hits, 0),
        "inference_stats": stats,
        "batch_stats": [],
    }
    return {"model_stats": [model_stats]}


def add_to(router: Blueprint) -> None:
    """Add these routes to the blueprint of protocols."""
    route(router, "/v2/models/<model>{}/config", "configuration", configuration)
    route(router, "/v2/models/<model>{}/stats", "statistics", statistics)
    router.add_url_rule("/v2/models/stats", "statistics_of_all", statistics)
    router.add_url_rule("/v2/repository/index", "repository_index", index, methods=["POST"])
