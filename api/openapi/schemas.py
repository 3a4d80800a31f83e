"""The JSON documents of predictions, jobs and health: the types that the code builds and /openapi.json describes."""

from typing import Annotated, Literal, NotRequired, TypedDict

from problems import ProblemDocument

Score = Annotated[float, {"minimum": 0, "maximum": 1, "description": "softmax score, rounded to 4 decimals"}]
Label = Annotated[str, {"description": "class name, as in the model", "examples": ["tabby"]}]


class ClassScore(TypedDict):
    """A class and its score."""

    label: Label
    score: Score


class Explanation(TypedDict):
    """The heat map of one class: the contribution of each cell of a grid over `view` to its logit."""

    label: Label
    rows: int
    columns: int
    values: Annotated[list[float], {"description": "row by row; their mean is the logit"}]
    picture: Annotated[list[int], {"description": "width and height of the upright image"}]
    view: Annotated[list[int], {"description": "left, top, right and bottom of the part that the model classifies"}]
    png: Annotated[str, {"description": "address of the heat map as an image that covers the whole photograph"}]


class PredictResponse(TypedDict):
    """The best class; the other keys require `top_k` or `explain`."""

    success: Literal[True]
    prediction: Label
    score: Score
    predictions: NotRequired[list[ClassScore]]
    filename: NotRequired[Annotated[str, {"description": "name of the stored image"}]]
    prediction_id: NotRequired[Annotated[str, {"description": "id of this prediction, for reports"}]]
    model_version: NotRequired[Annotated[str | None, {"description": "<model>/<version>"}]]
    explanation: NotRequired[Explanation]
    warnings: NotRequired[Annotated[list[str], {"description": "reasons to doubt the prediction: `one_colour`"}]]


class LabelList(TypedDict):
    """The labels of the model."""

    model_version: Annotated[str | None, {"description": "<model>/<version>"}]
    labels: Annotated[list[str], {"description": "in the order of the model's outputs"}]


class NoImageResponse(TypedDict):
    """There is no image in the request."""

    success: Literal[False]
    prediction: None
    score: None


class BatchItemResponse(TypedDict):
    """The result of one of several images."""

    file: Annotated[str, {"description": "file name in the request"}]
    success: bool
    prediction: str | None
    score: float | None
    predictions: NotRequired[list[ClassScore]]
    filename: NotRequired[str]
    prediction_id: NotRequired[str]
    model_version: NotRequired[str | None]
    problem: NotRequired[ProblemDocument]


class BatchResponse(TypedDict):
    """The results, in the order of the images in the request."""

    results: list[BatchItemResponse]


class ImageInJson(TypedDict):
    """An image as a string of base64."""

    image: Annotated[str, {"description": "base64, or a data URL", "contentEncoding": "base64"}]


class ImagesInJson(TypedDict):
    """Several images as strings of base64."""

    images: Annotated[list[str], {"minItems": 1, "maxItems": 16}]


class JobState(TypedDict):
    """A job that was submitted."""

    id: str
    status: Literal["pending", "done", "failed"]
    result: NotRequired[PredictResponse]
    problem: NotRequired[ProblemDocument]


class Alive(TypedDict):
    """The process is ready."""

    status: Literal["ok"]


class Ready(TypedDict):
    """The service can classify an image now."""

    status: Literal["ready"]
    model_version: str
    workers: Annotated[int, {"minimum": 1}]
    startup_error: NotRequired[
        Annotated[str, {"description": "why a worker could not start or load a promoted version"}]
    ]
    trouble: NotRequired[Annotated[str, {"description": "deprecated: old name of startup_error"}]]
