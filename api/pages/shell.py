"""The shell of every page: where it leads, who is signed in, whether the service is ready, how long it may take."""

from typing import Literal, NamedTuple

from flask import Flask, current_app, request

import settings
from auth import access, operator_session
from predict import job_queue


class Place(NamedTuple):
    """A link of the header: what it is called, and the endpoint that it leads to."""

    name: str
    endpoint: str
    is_operators: bool = False

    @property
    def is_current(self) -> bool:
        """Return whether this is where the visitor is."""
        return request.endpoint == self.endpoint


# In the order of the header. A place whose page this application does not have is left out.
PLACES = (
    Place("Classify", "app_router.index"),
    Place("Review", "review.review", is_operators=True),
    Place("Teach", "teach.teach", is_operators=True),
    Place("Operate", "operate.operate", is_operators=True),
    Place("API", "openapi.docs"),
    Place("Help", "help.help_page"),
)


# How long after its deadline an answer may reach a page: slow connections, and servers between the two.
LATE_S = 25


class Status(NamedTuple):
    """Whether an image would be answered now, as one of four states and as text."""

    state: Literal["ready", "busy", "down", "unknown"]
    words: str


class Shell(NamedTuple):
    """What the header shows. `reviewer` is who is signed in by cookie, empty for none.

    `answer_timeout_s` is how long the page waits for an answer once an image is sent, in seconds.
    """

    places: tuple[Place, ...]
    status: Status
    reviewer: str
    can_sign_in: bool
    answer_timeout_s: float


def install(app: Flask) -> None:
    """Let the templates call `shell()`."""
    app.jinja_env.globals["shell"] = current


def current() -> Shell:
    """Return the header of the current request's page, with what its sender may see."""
    is_operator = access.is_operator()
    places = tuple(
        place
        for place in PLACES
        if place.endpoint in current_app.view_functions and (is_operator or not place.is_operators)
    )
    reviewer = operator_session.name_of(request) or ""
    can_sign_in = bool(settings.OPERATOR_KEY) and not is_operator
    return Shell(places, status(), reviewer, can_sign_in, settings.REQUEST_TIMEOUT_S + LATE_S)


def status() -> Status:
    """Return the state of the service as it was read last, without waiting."""
    state = job_queue.queue_state()
    if state is None:
        return Status("unknown", "Not known yet")
    if not state.workers:
        return Status("down", "No model worker")
    return Status("busy", "Busy") if state.depth >= state.bound else Status("ready", "Ready")
