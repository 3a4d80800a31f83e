"""The JSON documents that the api answers with: what its code builds, and what /openapi.json says of them."""

from typing import Annotated, Literal, NotRequired, TypedDict

MAX_LABEL = 200
MAX_COMMENT = 2000

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


class ReportRequest(TypedDict):
    """A wrong answer, named by the prediction's id; or a stored picture, about which the model is asked again."""

    prediction_id: NotRequired[Annotated[str, {"description": "X-Prediction-Id of the answer"}]]
    filename: NotRequired[Annotated[str, {"description": "the name that the picture is stored under"}]]
    label: NotRequired[
        Annotated[str, {"maxLength": MAX_LABEL, "description": "what it really is, be it unknown to the model"}]
    ]
    comment: NotRequired[Annotated[str, {"maxLength": MAX_COMMENT, "description": "anything else"}]]


class Reported(TypedDict):
    """The report is kept."""

    success: Literal[True]
    report_id: str
    label_known: Annotated[
        bool | None, {"description": "whether the model has a class of that label; null without a label or a model"}
    ]


class DecisionRequest(TypedDict):
    """What a reviewer decides about a report."""

    report_id: str
    decision: Annotated[str, {"enum": ["accept", "correct", "reject"]}]
    label: NotRequired[
        Annotated[str, {"maxLength": MAX_LABEL, "description": "what it is, where the decision is to correct"}]
    ]


class Decided(TypedDict):
    """The decision is kept; the last one about a report counts."""

    success: Literal[True]
    report_id: str
    status: Annotated[str, {"enum": ["accepted", "corrected", "rejected"]}]
    label: Annotated[str, {"description": "what it is, as the model spells it; empty for a rejected report"}]


class LabelList(TypedDict):
    """What the model can say."""

    model_version: Annotated[str | None, {"description": "<model>/<version>"}]
    labels: Annotated[list[str], {"description": "in the order of the model's outputs"}]


class Malformed(TypedDict):
    """There is no picture in the request."""

    success: Literal[False]
    prediction: None
    score: None


class ProblemDocument(TypedDict):
    """Why a request was not answered (RFC 9457)."""

    type: str
    title: str
    status: Annotated[int, {"minimum": 400, "maximum": 599}]
    detail: Annotated[str, {"description": "in words, with the value that was wrong and the limit"}]
    instance: str
    code: Annotated[str, {"description": "stable, for programs", "examples": ["queue_full", "image_too_large"]}]
    request_id: str
    error: Annotated[str, {"description": "the detail again, for clients of the Open Inference Protocol"}]
    success: Literal[False]
    prediction: None
    score: None


class Alive(TypedDict):
    """The process serves."""

    status: Literal["ok"]


class Ready(TypedDict):
    """A picture would be answered now."""

    status: Literal["ready"]
    model_version: str
    workers: Annotated[int, {"minimum": 1}]
