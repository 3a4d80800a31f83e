"""What the routes of review.py and of the exports are for, take and answer."""

import re

from openapi.operation import HTML, Answer, Body, Operation
from openapi.parameters import Text, WholeNumber
from openapi.schemas import Decided, DecisionRequest
from reports.decisions import KINDS
from reports.index_tables import STATUSES

KEY_NEEDED = (401,)
BEFORE = WholeNumber("before", "query", lambda: 2**31, "show the reports before this one", example=100)
ALL = "all"
STATUS = Text("status", "query", re.compile(f"({'|'.join((*STATUSES, ALL))})"), "only these", example="open")
LABEL = Text(
    "label",
    "query",
    re.compile(r"[^\x00]{0,200}"),
    "only where this was predicted, proposed or decided",
    example="tabby",
)
MODEL = Text(
    "model", "query", re.compile(r"[^\x00]{0,400}"), "only answers of this model", example="efficientnet-lite0/1-int8"
)

DOOR = Operation("The way in for the operator", {200: Answer("a page", media_types=[HTML])})
LOGIN = Operation(
    "Show the operator's key",
    {303: Answer("to the inbox, with a cookie", media_types=[HTML])},
    body=Body(fields={"key": "the operator's key", "name": "who reviews"}),
)
LOGOUT = Operation(
    "End the operator's session, for every copy of its cookie", {303: Answer("to the way in", media_types=[HTML])}
)
INBOX = Operation(
    "The reports, newest first",
    {200: Answer("a page", media_types=[HTML]), 302: Answer("to the way in", media_types=[HTML])},
    parameters=(STATUS, LABEL, MODEL, BEFORE),
    problems=(*KEY_NEEDED, 503, 507),
)
DECIDE = Operation(
    "Decide about a report",
    {
        201: Answer("the decision is kept", Decided),
        303: Answer("the form's decision is kept: back to the inbox", media_types=[HTML]),
    },
    body=Body(
        fields={
            "report_id": "the report",
            "decision": "what becomes of it",
            "label": "what it is, where the decision is to correct",
        },
        required=["report_id", "decision"],
        choices={"decision": KINDS},
        documents=[DecisionRequest],
    ),
    problems=(*KEY_NEEDED, 404, 415, 503, 507),
)


def cases_as(kind: str, media_type: str) -> Operation:
    """Describe one way to download the reviewed cases."""
    return Operation(
        f"The reviewed cases as {kind}", {200: Answer("a file", media_types=[media_type])}, problems=(*KEY_NEEDED, 503)
    )
