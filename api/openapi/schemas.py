"""The JSON documents that the api answers with: what its code builds, and what /openapi.json says of them."""

from typing import Annotated, Literal, NotRequired, TypedDict

from problems import ProblemDocument

Score = Annotated[float, {"minimum": 0, "maximum": 1, "description": "how sure the model is, to 4 decimals"}]
Label = Annotated[str, {"description": "a class, as the model spells it", "examples": ["tabby"]}]


class Guess(TypedDict):
    """One class that it may be."""

    label: Label
    score: Score


class Explanation(TypedDict):
    """Where the model looked for one class: what each place of a grid over `view` adds to the class' logit."""

    label: Label
    rows: int
    columns: int
    values: Annotated[list[float], {"description": "row by row; their mean is the logit"}]
    picture: Annotated[list[int], {"description": "width and height of the upright picture"}]
    view: Annotated[list[int], {"description": "left, top, right and bottom of the part that the model looked at"}]
    png: Annotated[str, {"description": "address of the map as a picture to lay over the whole one"}]


class Predicted(TypedDict):
    """The best class; the other keys stand there where `top_k` or `explain` was asked for."""

    success: Literal[True]
    prediction: Label
    score: Score
    predictions: NotRequired[list[Guess]]
    filename: NotRequired[Annotated[str, {"description": "the name that the picture is stored under"}]]
    prediction_id: NotRequired[Annotated[str, {"description": "names this answer in a report"}]]
    model_version: NotRequired[Annotated[str | None, {"description": "<model>/<version>"}]]
    explanation: NotRequired[Explanation]


class LabelList(TypedDict):
    """What the model can say."""

    model_version: Annotated[str | None, {"description": "<model>/<version>"}]
    labels: Annotated[list[str], {"description": "in the order of the model's outputs"}]


class Malformed(TypedDict):
    """There is no picture in the request."""

    success: Literal[False]
    prediction: None
    score: None


class Outcome(TypedDict):
    """What came of one of several pictures."""

    file: Annotated[str, {"description": "its name, as it was sent"}]
    success: bool
    prediction: str | None
    score: float | None
    predictions: NotRequired[list[Guess]]
    filename: NotRequired[str]
    prediction_id: NotRequired[str]
    model_version: NotRequired[str | None]
    problem: NotRequired[ProblemDocument]


class Several(TypedDict):
    """What came of each picture, in the order in which they were sent."""

    results: list[Outcome]


class ImageInJson(TypedDict):
    """An image as a string of base64."""

    image: Annotated[str, {"description": "base64, or a data URL", "contentEncoding": "base64"}]


class ImagesInJson(TypedDict):
    """Several images as strings of base64."""

    images: Annotated[list[str], {"minItems": 1, "maxItems": 16}]


class JobState(TypedDict):
    """A job that was handed in."""

    id: str
    status: Literal["pending", "done", "failed"]
    result: NotRequired[Predicted]
    problem: NotRequired[ProblemDocument]


class Alive(TypedDict):
    """The process serves."""

    status: Literal["ok"]


class Ready(TypedDict):
    """A picture would be answered now."""

    status: Literal["ready"]
    model_version: str
    workers: Annotated[int, {"minimum": 1}]
    trouble: NotRequired[Annotated[str, {"description": "why a worker could not start or follow a promotion"}]]
