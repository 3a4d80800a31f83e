"""Unreported images that are suggested for review: the list that the trainer makes, and decisions about them.

A decision makes a report of the image, by its operator, so that it is a case like any other: in the same files, in
exports, for training and in the audit log.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache

from flask import Blueprint, request

import settings
from auth import access
from images import stored, uploads
from openapi.operation import HTML, Answer, Operation, Text, WholeNumber
from reports import submission
from reports.record import report_store
from reports.schema import Report
from reports.submission import Submission
from review import listing
from review.listing import VIEW
from storage.reports.port import MAX_PAGE_SIZE, OPEN, PAGE_SIZE, Card, ImageDecision
from wire.errors import QueueUnavailable
from wire.orders import messages
from wire.orders.order_book import OrderBook
from wire.orders.suggestions import MAX_SUGGESTIONS, REASONS, Search, Suggestion, Suggestions
from wire.redis.address import Address, address_of
from wire.tables.feedback import REOPEN

# What decisions about these images name as the newest report that was shown: there was none, and the decision is about
# the image.
UPTO = 2**62
COMMENT = "suggested"
REASON = Text("reason", "query", "only images that are listed for this reason", "unsure", f"|{'|'.join(REASONS)}")
START = WholeNumber("start", "query", "number of images to leave out", PAGE_SIZE, lambda: MAX_SUGGESTIONS)
SIZE = WholeNumber("size", "query", "number of images on a page", PAGE_SIZE, lambda: MAX_PAGE_SIZE)
PARAMETERS = (REASON, START, SIZE, VIEW)


def add_routes(router: Blueprint) -> None:
    """Add the list to the routes of the review, which are the operator's alone."""
    router.add_url_rule("/suggestions", view_func=suggestions)


@access.open_to_all  # in place of the key that others bring, the operator's
@Operation(
    "GET",
    "List unreported images that are suggested for review",
    {200: Answer("a page", media_types=[HTML]), 302: Answer("redirect to the sign-in page", media_types=[HTML])},
    parameters=PARAMETERS,
    problems=(401, 503),
)
def suggestions() -> str:
    """Show a page of the list, and how it came about."""
    query = {each.name: each.read(request) for each in PARAMETERS}
    reason, start = str(query["reason"] or ""), int(query["start"] or 0)
    found, search = _listed().read()
    fitting = [each for each in found if not reason or reason in each.reasons]
    images = uploads.image_store()
    # A bucket is queried for each image in turn.
    size = min(int(query["size"] or PAGE_SIZE), PAGE_SIZE if images.is_remote else MAX_PAGE_SIZE)
    shown = _there(fitting[start : start + size])
    book = OrderBook(address_of(settings), settings.REDIS_QUEUE).read()
    previous_page = {"start": max(0, start - size) or None} if start else None
    next_page = {"start": start + size} if start + size < len(fitting) else None
    return listing.show(
        "suggestions.html",
        listing.Parameters(query, previous_page, next_page),
        report_store().labels(),
        cards=[_card(each) for each in shown],
        reasons={each.image: each.reasons for each in shown},
        counts=Counter(name for each in found for name in each.reasons),
        total=len(found),
        reason=reason,
        search=search,
        searched_at=_moment(search),
        last=next((each for each in book.orders if each.order.kind == messages.SUGGEST), None),
        has_trainer=book.has_trainer,
    )


def _moment(search: Search | None) -> str:
    """Return when a search was made, as pages show it."""
    return "" if search is None else datetime.fromtimestamp(search.at_s, UTC).isoformat(timespec="seconds")


def _there(some: Sequence[Suggestion]) -> list[Suggestion]:
    """Return those that are still to be decided about; take those off the list that are gone or were reported."""
    images, reported = uploads.image_store(), report_store().reported([each.image for each in some])
    kept = [each for each in some if each.image not in reported and stored.is_stored(images, each.filename)]
    _listed().remove([each.image for each in some if each not in kept])
    return kept


def _card(one: Suggestion) -> Card:
    model, _, version = one.model.partition("/")
    shown = {"seq": one.rank, "filename": one.filename, "prediction": one.prediction, "score": one.score}
    report = {**shown, "model": model, "model_version": version}
    return Card(one.image, OPEN, "", "", 0, UPTO, 0, one.prediction, False, False, [report])


def report(decisions: Sequence[ImageDecision]) -> None:
    """Report each image of the list that a decision is about and take it off the list; raise what that raises."""
    meant = {each.image: each for each in decisions if each.upto == UPTO and each.kind != REOPEN}
    if not meant:
        return
    # Of several who decide at the same moment, one reports an image. It stays on the list until its report is kept.
    claimed = _listed().claim(list(meant))
    try:
        _report({image: each for image, each in meant.items() if image in claimed})
    finally:
        # A claim ends by itself, too.
        with suppress(QueueUnavailable):
            _listed().release(claimed)


def _report(meant: Mapping[str, ImageDecision]) -> None:
    found, images = _listed().find(list(meant)), uploads.image_store()
    reported = report_store().reported(list(found))
    new = [each for image, each in found.items() if image not in reported]
    unchanged = stored.kept(images, {each.filename: each.image for each in new})
    kept = [each for each in new if each.filename in unchanged]
    submission.save_kept([(_submission(each, meant[each.image]), each.image) for each in kept], images)
    # What was reported before, or is gone, needs no decision here either.
    _listed().remove(list(found))


def _submission(one: Suggestion, decision: ImageDecision) -> Submission:
    said = Report(one.filename, one.prediction, one.score)
    model, _, version = one.model.partition("/")
    details = {"label": decision.label, "comment": COMMENT, "model": model, "model_version": version}
    return Submission(said.text(), said, details)


def _listed() -> Suggestions:
    return _opened(address_of(settings), settings.REDIS_QUEUE)


@lru_cache(maxsize=4)
def _opened(address: Address, queue: str) -> Suggestions:
    return Suggestions(address, queue)
