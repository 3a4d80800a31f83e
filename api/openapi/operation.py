"""What the operations of the API take and answer: declared with their views, read from requests by `read`."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from flask import Request

from problems import Problem

View = TypeVar("View", bound=Callable[..., Any])

HTML = "text/html"
JSON = "application/json"

# Statuses of problems: of operations that use the queue, and of those that take an image.
OF_THE_QUEUE = (503,)
OF_AN_IMAGE = (415, 422, 503, 504, 507)
MAX_DIGITS = 11


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the query or a header; any text is valid."""

    name: str
    place: Literal["query", "header"]
    meaning: str
    example: str | int

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema."""
        return {"type": "string"}

    def _text(self, request: Request) -> str | None:
        return request.args.get(self.name) if self.place == "query" else request.headers.get(self.name)


@dataclass(frozen=True, slots=True)
class WholeNumber(Parameter):
    """A whole number from 1 to `at_most`, which is called for each request."""

    at_most: Callable[[], int]

    def read(self, request: Request) -> int | None:
        """Return the number, None where there is none; raise Problem where it is not a whole number in the range."""
        text = self._text(request)
        return None if text is None else self.parse(text)

    def parse(self, text: str) -> int:
        """Return a number from its text; raise Problem."""
        at_most = self.at_most()
        if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS and 1 <= int(text) <= at_most):
            detail = f"{self.name}={text[:40]!r} is not a whole number from 1 to {at_most}."
            raise Problem(400, "invalid_parameter", detail)
        return int(text)

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema."""
        return {"type": "integer", "minimum": 1, "maximum": self.at_most()}


@dataclass(frozen=True, slots=True)
class Text(Parameter):
    """A text that matches a regular expression as a whole."""

    pattern: str

    def read(self, request: Request) -> str | None:
        """Return the text, None where there is none; raise Problem where it does not match the pattern."""
        text = self._text(request)
        return None if text is None else self.parse(text)

    def parse(self, text: str) -> str:
        """Return a valid text; raise Problem."""
        if not re.fullmatch(self.pattern, text):
            raise Problem(400, "invalid_parameter", f"{self.name}={text[:40]!r} does not match {self.pattern}.")
        return text

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema."""
        return {"type": "string", "pattern": f"^{self.pattern}$"}


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful answer: JSON of a TypedDict (or of a union of them), other media types, or both."""

    meaning: str
    document: Any = None
    media_types: Sequence[str] = ()
    # Names of openapi.response_headers, in addition to the one of every response.
    headers: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Body:
    """A request body: a form, an image of one of the media types itself, or JSON of a TypedDict or a union of them."""

    fields: Mapping[str, str] = field(default_factory=dict)
    required: Sequence[str] = ()
    # The values that a field can have, where they are few.
    choices: Mapping[str, Sequence[str]] = field(default_factory=dict)
    image_field: str = ""
    image_types: Sequence[str] = ()
    document: Any = None


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of a route, or several separated by blanks; decorates the view that implements it."""

    methods: str
    summary: str
    answers: Mapping[int, Answer]
    parameters: Sequence[Parameter] = ()
    body: Body | None = None
    problems: Sequence[int] = ()
    # Documents that replace the usual problem document, by status.
    other_problems: Mapping[int, type] = field(default_factory=dict)
    problems_as_page: bool = True

    def __call__(self, view: View) -> View:
        """Attach this operation to a view."""
        view.operations = operations_of(view) | dict.fromkeys(self.methods.split(), self)  # type: ignore[attr-defined]
        return view


def operations_of(view: Callable[..., Any]) -> dict[str, Operation]:
    """Return the operations of a view by method."""
    found: dict[str, Operation] = getattr(view, "operations", {})
    return found
