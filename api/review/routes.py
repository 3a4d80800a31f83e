"""The review of reports, for the operator alone: the inbox, decisions, and the way in."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, NotRequired, TypedDict, cast

from flask import Blueprint, Response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

import offload
import settings
from auth import access, operator_session
from images import uploads
from openapi.operation import HTML, Answer, Body, Operation, Text, WholeNumber
from problems import Problem
from reports import export, store
from reports import labels as reports_labels
from reports.index import Filters, ReportIndex
from reports.index_tables import OPEN, STATUS_OF, STATUSES
from reports.schema import MAX_LABEL
from reports.store import Decision
from server.messages import PICTURE_POLICY

router = Blueprint("review", __name__, url_prefix="/review")
router.before_request(access.require_operator)
door = Blueprint("door", __name__, url_prefix="/review")

MAX_DECISION_BYTES = 64 * 1024
ALL = "all"
STATUS = Text("status", "query", "only these", "open", f"({'|'.join((*STATUSES, ALL))})")
LABEL = Text("label", "query", "only where this was predicted, proposed or decided", "tabby", r"[^\x00]{0,200}")
MODEL = Text("model", "query", "only answers of this model", "efficientnet-lite0/1-int8", r"[^\x00]{0,400}")
BEFORE = WholeNumber("before", "query", "show the reports before this one", 100, lambda: 2**31)


class DecisionRequest(TypedDict):
    """What a reviewer decides about a report."""

    report_id: str
    decision: Annotated[str, {"enum": [*STATUS_OF]}]
    label: NotRequired[
        Annotated[str, {"maxLength": MAX_LABEL, "description": "what it is, where the decision is to correct"}]
    ]


class Decided(TypedDict):
    """The decision is kept; the last one about a report counts."""

    success: Literal[True]
    report_id: str
    status: Annotated[str, {"enum": [*STATUS_OF.values()]}]
    label: Annotated[str, {"description": "what it is, as the model spells it; empty for a rejected report"}]


@door.route("/login", methods=["GET", "POST"])
@access.open_to_all
@Operation("GET", "The way in for the operator", {200: Answer("a page", media_types=[HTML])})
@Operation(
    "POST",
    "Show the operator's key",
    {303: Answer("to the inbox, with a cookie", media_types=[HTML])},
    body=Body(fields={"key": "the operator's key", "name": "who reviews"}),
)
def login() -> str | AnyResponse | tuple[str, int]:
    """Ask for the operator's key once, and let the browser remember that it was shown."""
    if request.method != "POST":
        return _door()
    request.max_content_length = MAX_DECISION_BYTES
    if not access.is_operator_key(request.form.get("key", "").strip()):
        return _door("That is not the operator's key."), 403
    name = " ".join(request.form.get("name", "").split())[: operator_session.MAX_NAME]
    response = cast(Response, redirect(url_for("review.review"), 303))
    operator_session.begin(request, response, name or access.OPERATOR)
    return response


@door.route("/logout", methods=["POST"])
@access.open_to_all
@Operation(
    "POST",
    "End the operator's session, for every copy of its cookie",
    {303: Answer("to the way in", media_types=[HTML])},
)
def logout() -> AnyResponse:
    """End the session, for every copy of its cookie."""
    response = cast(Response, redirect(url_for("door.login"), 303))
    operator_session.end(request, response)
    return response


@router.route("", methods=["GET"])
@access.open_to_all  # in place of the key that others bring, the operator's
@Operation(
    "GET",
    "The reports, newest first",
    {200: Answer("a page", media_types=[HTML]), 302: Answer("to the way in", media_types=[HTML])},
    parameters=(STATUS, LABEL, MODEL, BEFORE),
    problems=(401, 503, 507),
)
def review() -> str:
    """Show a page of the inbox."""
    status = STATUS.read(request) or OPEN
    label = reports_labels.normalized(LABEL.read(request) or "")
    filters = Filters("" if status == ALL else status, label, MODEL.read(request) or "")
    before = BEFORE.read(request)
    page = offload.run(lambda: report_index().page(filters, before))
    labels = set(reports_labels.current())
    return render_template(
        "review.html",
        page=page,
        filters=filters,
        statuses=(*STATUSES, ALL),
        max_label=MAX_LABEL,
        is_new=lambda label: bool(labels) and label not in labels,
    )


@router.route("/decisions", methods=["POST"])
@Operation(
    "POST",
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
        choices={"decision": tuple(STATUS_OF)},
        document=DecisionRequest,
    ),
    problems=(401, 404, 415, 503, 507),
)
def decide() -> tuple[Decided, int] | AnyResponse:
    """Keep a decision about a report."""
    request.max_content_length = MAX_DECISION_BYTES
    document: Any = request.get_json() if request.is_json else request.form
    if not isinstance(document, Mapping) or not all(isinstance(value, str) for value in document.values()):
        raise Problem(400, "invalid_decision", "A decision is an object of texts: report_id, decision, label.")
    # Lone surrogates cannot be stored as UTF-8.
    fields = {name: value.encode("utf-8", "replace").decode() for name, value in document.items()}
    decided = _decided(fields, operator_session.name_of(request) or access.OPERATOR)
    return (decided, 201) if request.is_json else redirect(url_for("review.review"), 303)


def _describe_export(kind: str, media_type: str) -> Operation:
    return Operation(
        "GET", f"The reviewed cases as {kind}", {200: Answer("a file", media_types=[media_type])}, problems=(401, 503)
    )


@router.route("/cases.csv")
@_describe_export("CSV", "text/csv")
def cases_csv() -> Response:
    """Answer the table of the reviewed cases as CSV."""
    return _file(export.csv_pieces(report_index()), "text/csv", "cases.csv")


@router.route("/cases.jsonl")
@_describe_export("JSON lines", "application/x-ndjson")
def cases_jsonl() -> Response:
    """Answer the table as a JSON object on each line."""
    return _file(export.jsonl_pieces(report_index()), "application/x-ndjson", "cases.jsonl")


@router.route("/cases.zip")
@_describe_export("an archive of folders by label", "application/zip")
def cases_zip() -> Response:
    """Answer the images of the reviewed cases in folders by label."""
    return _file(export.zip_pieces(report_index(), uploads.upload_folder()), "application/zip", "cases.zip")


def _file(pieces: Iterator[bytes], media_type: str, name: str) -> Response:
    response = Response((piece for piece in pieces if piece), content_type=media_type)
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    response.headers["Content-Security-Policy"] = PICTURE_POLICY
    return response


def report_index() -> ReportIndex:
    """Return the index of the reports."""
    return ReportIndex(store.paths()[0].parent)


def _door(error: str = "") -> str:
    return render_template("login.html", trouble=error, is_open=bool(settings.OPERATOR_KEY))


def _decided(fields: Mapping[str, str], reviewer: str) -> Decided:
    kind = fields.get("decision", "")
    if kind not in STATUS_OF:
        raise Problem(400, "invalid_decision", f"decision={kind[:40]!r} is none of {', '.join(STATUS_OF)}.")
    report_id = fields.get("report_id", "")
    report = offload.run(lambda: report_index().find(report_id))
    if report is None:
        raise Problem(404, "report_unknown", f"There is no report {report_id[:80]!r}.")
    label = _label_of(kind, report["label"], fields.get("label", ""))
    folder = store.paths()[0].parent
    offload.run(lambda: store.append_decision(folder, Decision(report_id, kind, label, reviewer)))
    return {"success": True, "report_id": report_id, "status": STATUS_OF[kind], "label": label}


def _label_of(kind: str, proposed: str, given: str) -> str:
    """Return the label that a decision gives a report, empty for a rejected one."""
    if kind == "reject":
        return ""
    label = " ".join((proposed if kind == "accept" else given).split())
    if not label or len(label) > MAX_LABEL:
        detail = "The reporter named none: correct it." if kind == "accept" else f"Give 1 to {MAX_LABEL} characters."
        raise Problem(400, "label_needed", f"This decision needs a label. {detail}")
    return reports_labels.normalized(label)
