"""The JSON documents that the api answers with: what its code builds, and what /openapi.json says of them."""

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from problems import ProblemDocument

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


class Alive(TypedDict):
    """The process serves."""

    status: Literal["ok"]


class Ready(TypedDict):
    """A picture would be answered now."""

    status: Literal["ready"]
    model_version: str
    workers: Annotated[int, {"minimum": 1}]
    trouble: NotRequired[Annotated[str, {"description": "why a worker could not start or follow a promotion"}]]
