"""What the routes of views.py are for, take and answer: for people and programs, by openapi.py."""

from images.sniffing import KINDS
from openapi.operation import HTML, OF_A_PICTURE, PNG, Answer, Body, Operation
from openapi.schemas import (
    JobState,
    LabelList,
    Malformed,
    PictureInText,
    PicturesInText,
    Predicted,
    Reported,
    ReportRequest,
    Several,
)
from predict import options
from reports.requests import IDEMPOTENCY_KEY

# What a report's form may say beyond the report itself: columns of the CSV.
DETAILS = {
    "label": "what it really is",
    "comment": "anything else",
    "model": "which model was wrong",
    "model_version": "which version of it",
}

PAGE = Operation("The page", {200: Answer("the page", media_types=[HTML])})
UPLOAD = Operation(
    "The page's form, without scripts",
    {
        200: Answer("the page with the answer", media_types=[HTML]),
        302: Answer("there was no picture: back to the page", media_types=[HTML]),
    },
    body=Body(required=["file"], picture_field="file"),
    problems=OF_A_PICTURE,
)
STORED_PICTURE = Operation(
    "A stored picture",
    {200: Answer("the picture", media_types=[kind.media_type for kind in KINDS]), 304: Answer("not changed")},
    problems=(404, 503),
)
PREDICT = Operation(
    "Name what is in a picture",
    {
        200: Answer("the best class, and more where it was asked for; of several pictures, each", Predicted, [Several]),
        202: Answer("a job to ask for later, at `Location`", JobState),
    },
    parameters=(options.TOP_K, options.EXPLAIN, options.TIMEOUT_MS, options.PREFER),
    body=Body(required=["file"], picture_field="file", is_picture=True, documents=[PictureInText, PicturesInText]),
    problems=OF_A_PICTURE,
    other_problems={400: Malformed},
    problems_as_page=False,
)
MAP = Operation(
    "Where the model looked in a stored picture for one class, to lay over it",
    {
        200: Answer(
            "as large as the picture's proportions, transparent where nothing speaks for the class", media_types=[PNG]
        )
    },
    problems=(404, 415, 422, 429, 503, 504),
)
LABELS = Operation("What the model can say", {200: Answer("its labels, none while no worker is heard of", LabelList)})
ABOUT_REPORTS = Operation("What reports are for", {200: Answer("a page", media_types=[HTML])})
REPORT = Operation(
    "Report a wrong answer",
    {
        200: Answer("the form's report is kept", media_types=[HTML]),
        201: Answer("the JSON report is kept", Reported),
    },
    parameters=(IDEMPOTENCY_KEY,),
    body=Body(
        fields={
            "report": "free text, or {'filename': '<stored name>', 'prediction': '<class>', 'score': <score>}",
            **DETAILS,
        },
        documents=[ReportRequest],
    ),
    problems=(404, 415, 422, 503, 504, 507),
)
