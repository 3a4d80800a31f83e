"""The review of reports, for the operator alone: the inbox, decisions, and the way in."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Annotated, Any, Literal, NotRequired, TypedDict, cast

from flask import Blueprint, Response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

import settings
from auth import access, operator_session
from openapi.negotiation import sent_texts
from openapi.operation import HTML, Answer, Body, Operation, Text, WholeNumber
from problems import Problem
from reports import audit
from reports import labels as reports_labels
from reports.record import report_store
from reports.schema import MAX_LABEL
from review import bulk, exports, listing, suggestions
from review.exports import ALL, STATUS
from review.listing import VIEW
from server import edge
from storage.reports.port import (
    MAX_PAGE_SIZE,
    OPEN,
    ORDERS,
    PAGE_SIZE,
    STATUS_OF,
    STATUSES,
    Decision,
    Filters,
    Order,
    Outcome,
    Place,
)
from wire.tables.feedback import REJECT, REOPEN
from wire.tables.labels import key, tidy

router = Blueprint("review", __name__, url_prefix="/review")
router.before_request(access.require_operator)
door = Blueprint("door", __name__, url_prefix="/review")

MAX_DECISION_BYTES = 64 * 1024
# Where the way in leads to: a path of this service, and nothing that a browser takes for another host.
_OWN_PATH = re.compile(r"/(?![/\\])[\x21-\x7e]*")
NEXT = Text("next", "query", "path to open after signing in", "/review", r"[^\x00-\x1f]{0,2000}")
# As a form, all images of the largest page fit; JSON has narrower bounds, for some hundred.
MAX_BULK_BYTES = 256 * 1024
MAX_SEEN_DIGITS = 19
SIZES = (PAGE_SIZE, 100, MAX_PAGE_SIZE)
LABEL = Text(
    "label", "query", "only images with this text in a predicted, proposed or decided label", "tabby", r"[^\x00]{0,200}"
)
MODEL = Text("model", "query", "only predictions of this model", "efficientnet-lite0/1-int8", r"[^\x00]{0,400}")
_DAY = r"|\d{4}-\d{2}-\d{2}"
SINCE = Text("since", "query", "only images last reported on this day (UTC) or later", "2026-11-01", _DAY)
UNTIL = Text("until", "query", "only images last reported on this day (UTC) or earlier", "2026-11-30", _DAY)
ORDER = Text("order", "query", "order of the images", "newest", f"({'|'.join(ORDERS)})")
SIZE = WholeNumber("size", "query", "number of images on a page", PAGE_SIZE, lambda: MAX_PAGE_SIZE)
# A number as Python writes it: a score, or how many.
PLACE = Text(
    "place",
    "query",
    "start of the page, taken from the link to it",
    "after~12~12",
    r"(after|before)~[-+.e\d]{1,30}~\d{1,18}",
)
LIST = (STATUS, LABEL, MODEL, SINCE, UNTIL, ORDER, SIZE, VIEW, PLACE)


class DecisionRequest(TypedDict):
    """A reviewer's decision on a report."""

    report_id: str
    decision: Annotated[str, {"enum": [*STATUS_OF]}]
    label: NotRequired[
        Annotated[
            str, {"maxLength": MAX_LABEL, "description": "the right label, if the decision is to relabel (correct)"}
        ]
    ]
    seen: NotRequired[
        Annotated[str, {"description": "number of the decision that the reviewer saw; 409 if it has changed"}]
    ]


class Decided(TypedDict):
    """The stored decision; the last one of a report counts."""

    success: Literal[True]
    report_id: str
    status: Annotated[str, {"enum": [*STATUS_OF.values()]}]
    label: Annotated[str, {"description": "the label, as spelled by the model; empty for a rejected report"}]
    seen: Annotated[str, {"description": "number of this decision; send it with the next decision on this report"}]


class ImageToDecide(TypedDict):
    """An image, and what the inbox showed of it."""

    image: Annotated[str, {"description": "its SHA-256, as the inbox names it"}]
    seen: Annotated[str, {"description": "the number of the last decision that was shown, 0 for none"}]
    upto: Annotated[str, {"description": "the newest report that was shown; later ones stay as they are"}]
    label: NotRequired[Annotated[str, {"maxLength": MAX_LABEL, "description": "what it is"}]]


class ImagesRequest(TypedDict):
    """What a reviewer decides about images, and with each about all of its reports."""

    decision: Annotated[str, {"enum": [*STATUS_OF]}]
    label: NotRequired[
        Annotated[str, {"maxLength": MAX_LABEL, "description": "what they are, where an image has no label of its own"}]
    ]
    images: Annotated[list[ImageToDecide], {"maxItems": MAX_PAGE_SIZE}]


class ImageDecided(TypedDict):
    """What counts about an image now; `is_kept` is false where someone else has decided meanwhile."""

    image: str
    is_kept: bool
    status: str
    label: str
    reviewer: str
    seen: str


class ImagesDecided(TypedDict):
    """What became of each image, in the order of the request."""

    success: Literal[True]
    images: list[ImageDecided]


@door.route("/login", methods=["GET", "POST"])
@access.open_to_all
@Operation("GET", "Show the sign-in page", {200: Answer("a page", media_types=[HTML])}, parameters=(NEXT,))
@Operation(
    "POST",
    "Sign in with the operator key",
    {303: Answer("redirect to the requested page, with a session cookie", media_types=[HTML])},
    body=Body(
        fields={"key": "the operator key", "name": "name of the reviewer", "next": "path to open after signing in"}
    ),
)
def login() -> str | AnyResponse | tuple[str, int]:
    """Check the operator key and start a session of the browser."""
    if request.method != "POST":
        return _door()
    request.max_content_length = MAX_DECISION_BYTES
    if not access.is_operator_key(request.form.get("key", "").strip()):
        return _door("The operator key is wrong."), 403
    name = " ".join(request.form.get("name", "").split())[: operator_session.MAX_NAME]
    response = cast(Response, redirect(_next(request.form.get("next", "")), 303))
    operator_session.begin(request, response, name or access.OPERATOR)
    audit.note("sign in", {}, by=name or access.OPERATOR)
    return response


@door.route("/logout", methods=["POST"])
@access.open_to_all
@Operation(
    "POST",
    "Sign out and invalidate every copy of the cookie",
    {303: Answer("redirect to the sign-in page", media_types=[HTML])},
)
def logout() -> AnyResponse:
    """End the session, for every copy of its cookie."""
    response = cast(Response, redirect(url_for("door.login"), 303))
    name = operator_session.name_of(request)
    operator_session.end(request, response)
    if name is not None:
        audit.note_done("sign out", {}, by=name)
    return response


@router.route("", methods=["GET"])
@access.open_to_all  # in place of the key that others bring, the operator's
@Operation(
    "GET",
    "List reported images with their reports",
    {200: Answer("a page", media_types=[HTML]), 302: Answer("redirect to the sign-in page", media_types=[HTML])},
    parameters=LIST,
    problems=(401, 503, 507),
)
def review() -> str:
    """Show a page of the inbox."""
    query: dict[str, Any] = {each.name: each.read(request) for each in LIST}
    spelling = reports_labels.spelling()
    status, label = query["status"] or OPEN, query["label"] or ""
    keys = spelling.keys(spelling.of(label)) if key(label) else ()
    days = (query["since"] or "", _day_after(query["until"] or ""))
    filters = Filters("" if status == ALL else status, key(label), query["model"] or "", keys, *days)
    order = Order(query["order"] or ORDERS[0], query["size"] or PAGE_SIZE)
    page = report_store().page(filters, order, _place_of(query["place"] or ""))
    pages = [place and {"place": _token_of(place)} for place in (page.earlier, page.later)]
    return listing.show(
        "review.html",
        listing.Parameters(query, *pages),
        page.labels,
        page=page,
        cards=page.cards,
        filters=filters,
        order=order,
        statuses=(*STATUSES, ALL),
        orders=ORDERS,
        sizes=sorted({*SIZES, order.size}),
    )


@router.route("/images", methods=["POST"])
@Operation(
    "POST",
    "Decide about images and all of their reports",
    {
        200: Answer("the state of each image", ImagesDecided),
        303: Answer("redirect to the list, after a form", media_types=[HTML]),
    },
    body=Body(
        fields={
            "image": "an image, as JSON of an ImageToDecide; once for each, none where nothing was selected",
            "decision": "what becomes of them",
            "label": "what they are, where the decision is to correct",
            "back": "the list to go back to",
        },
        required=["decision"],
        choices={"decision": tuple(STATUS_OF)},
        document=ImagesRequest,
    ),
    problems=(401, 415, 503, 507),
)
def decide_images() -> ImagesDecided | AnyResponse:
    """Keep decisions about images; nothing is decided about one for which another decision counts than was shown."""
    request.max_content_length = MAX_BULK_BYTES
    asked = bulk.read_json(request.get_json()) if request.is_json else bulk.read_form(request.form)
    names = reports_labels.spelling().extended(report_store().labels())
    decisions = bulk.decisions(asked, audit.who(), names)
    suggestions.report(decisions)
    outcomes = report_store().decide_images(decisions)
    _note_decisions(outcomes)
    if request.is_json:
        return {"success": True, "images": [_image_decided(outcome) for outcome in outcomes]}
    edge.flash_all(bulk.messages(asked, outcomes))
    back = request.form.get("back", "")
    return redirect(back if _OWN_PATH.fullmatch(back) else url_for("review.review"), 303)


@router.route("/decisions", methods=["POST"])
@Operation(
    "POST",
    "Decide on a report",
    {
        201: Answer("the decision is stored", Decided),
        303: Answer("the decision is stored: redirect to the list", media_types=[HTML]),
    },
    body=Body(
        fields={
            "report_id": "id of the report",
            "decision": "the decision",
            "label": "the right label, if the decision is to relabel (correct)",
            "seen": "number of the decision that the reviewer saw",
        },
        required=["report_id", "decision"],
        choices={"decision": tuple(STATUS_OF)},
        document=DecisionRequest,
    ),
    problems=(401, 404, 409, 415, 503, 507),
)
def decide() -> tuple[Decided, int] | AnyResponse:
    """Keep a decision about a report."""
    refusal = Problem(400, "invalid_decision", "A decision is an object of texts: report_id, decision, label.")
    decided = _decided(sent_texts(request, MAX_DECISION_BYTES, refusal), audit.who())
    subject = {"report_id": decided["report_id"], "label": decided["label"]}
    audit.note_done("decide", subject, decided["status"])
    return (decided, 201) if request.is_json else redirect(url_for("review.review"), 303)


def _note_decisions(outcomes: Sequence[Outcome]) -> None:
    """Add a row to the audit log for each status and label that was given; decisions.csv has each by itself."""
    kept = Counter((outcome.status, outcome.label) for outcome in outcomes if outcome.is_kept)
    audit.note_all_done("decide", [({"images": str(n), "label": label}, status) for (status, label), n in kept.items()])


def _image_decided(outcome: Outcome) -> ImageDecided:
    return {
        "image": outcome.image,
        "is_kept": outcome.is_kept,
        "status": outcome.status,
        "label": outcome.label,
        "reviewer": outcome.reviewer,
        "seen": str(outcome.seen),
    }


def _place_of(text: str) -> Place | None:
    """Return a place in the list; raise Problem where it is none."""
    if not text:
        return None
    side, value, seq = text.split("~")
    try:
        return Place(float(value), int(seq), side == "before")
    except ValueError:
        raise Problem(400, "invalid_parameter", f"place={text[:40]!r} is no place in a list.") from None


def _token_of(place: Place) -> str:
    """Return a place as an address has it."""
    return f"{'before' if place.is_before else 'after'}~{place.value!r}~{place.seq}"


def _day_after(day: str) -> str:
    """Return the next day, empty for none; raise Problem."""
    try:
        return (date.fromisoformat(day) + timedelta(days=1)).isoformat() if day else ""
    except (ValueError, OverflowError):
        raise Problem(400, "invalid_parameter", f"until={day!r} is no day.") from None


def _door(error: str = "") -> str:
    path = request.form.get("next", "") if request.method == "POST" else NEXT.read(request) or ""
    return render_template("login.html", error=error, next=path, is_open=bool(settings.OPERATOR_KEY))


def _next(path: str) -> str:
    """Return where a browser goes that has signed in: the path of this service that it came for, else the inbox."""
    return request.script_root + path if _OWN_PATH.fullmatch(path) else url_for("review.review")


def _decided(fields: Mapping[str, str], reviewer: str) -> Decided:
    kind = fields.get("decision", "")
    if kind not in STATUS_OF:
        raise Problem(400, "invalid_decision", f"decision={kind[:40]!r} is none of {', '.join(STATUS_OF)}.")
    report_id = fields.get("report_id", "")
    report = report_store().find(report_id)
    if report is None:
        raise Problem(404, "report_unknown", f"There is no report {report_id[:80]!r}.")
    label = _label_of(kind, report["label"], fields.get("label", ""))
    if label:
        label = reports_labels.spelling().extended(report_store().labels()).of(label)
    number = report_store().decide(Decision(report_id, kind, label, reviewer), _seen(fields))
    return {"success": True, "report_id": report_id, "status": STATUS_OF[kind], "label": label, "seen": str(number)}


def _seen(fields: Mapping[str, str]) -> int | None:
    """Return the number of the decision that the reviewer saw; None where the request does not name it."""
    text = fields.get("seen", "")
    if not text:
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > MAX_SEEN_DIGITS:
        raise Problem(400, "invalid_decision", f"seen={text[:40]!r} is not the number of a decision.")
    return int(text)


def _label_of(kind: str, proposed: str, given: str) -> str:
    """Return the label that a decision gives a report, empty for one that is rejected or open again."""
    if kind in {REJECT, REOPEN}:
        return ""
    label = tidy(proposed if kind == "accept" else given)
    if not key(label) or len(label) > MAX_LABEL:
        detail = "The report has no label: relabel it." if kind == "accept" else f"Give 1 to {MAX_LABEL} characters."
        raise Problem(400, "label_needed", f"This decision needs a label. {detail}")
    return label


exports.add_routes(router)
suggestions.add_routes(router)
