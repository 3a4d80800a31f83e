"""What a route is for, what it takes and what it answers, told beside its view; openapi.py makes the document of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from openapi.parameters import Parameter

View = TypeVar("View", bound=Callable[..., Any])

HTML = "text/html"
JSON = "application/json"
PNG = "image/png"

# What may go wrong with any request, and with any that brings something or wants something of the queue.
ALWAYS = (400, 408, 414, 417, 431, 500)
WITH_A_BODY = (403, 413)
OF_THE_QUEUE = (503,)
OF_A_PICTURE = (415, 422, 503, 504, 507)


@dataclass(frozen=True, slots=True)
class Answer:
    """What comes back where all is well: documents of a shape, or other media types."""

    meaning: str
    shape: type | None = None
    other_shapes: Sequence[type] = ()
    media_types: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Body:
    """What a request brings: a form's fields (`file` is the picture's), the picture itself, or a document."""

    fields: Mapping[str, str] = field(default_factory=dict)
    required: Sequence[str] = ()
    # What a field may be, where that is one of a few.
    choices: Mapping[str, Sequence[str]] = field(default_factory=dict)
    picture_field: str = ""
    is_picture: bool = False
    documents: Sequence[type] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one route."""

    summary: str
    answers: Mapping[int, Answer]
    parameters: Sequence[Parameter] = ()
    body: Body | None = None
    problems: Sequence[int] = ()
    # Shapes that stand in for the usual document of a problem, by status.
    other_problems: Mapping[int, type] = field(default_factory=dict)
    problems_as_page: bool = True


def describe(methods: str, operation: Operation) -> Callable[[View], View]:
    """Describe what a view does for these methods, separated by blanks."""

    def described(view: View) -> View:
        known: dict[str, Operation] = getattr(view, "operations", {})
        view.operations = known | dict.fromkeys(methods.split(), operation)  # type: ignore[attr-defined]
        return view

    return described


def operations_of(view: Callable[..., Any]) -> Mapping[str, Operation]:
    """Give what was told of a view, by method."""
    found: Mapping[str, Operation] = getattr(view, "operations", {})
    return found
