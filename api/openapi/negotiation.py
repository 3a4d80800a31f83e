"""Routes that serve browsers and programs: which of them sent a request, and what it holds."""

from collections.abc import Callable
from typing import Any

from flask import Request

from problems import Problem, texts


def wants_page(request: Request) -> bool:
    """Return whether a browser sent the request, which gets a page where programs get JSON."""
    return "text/html" in request.headers.get("Accept", "")


def sent_texts(
    request: Request, max_bytes: int, refusal: Problem, of_form: Callable[[Any], Any] = lambda form: form
) -> dict[str, str]:
    """Return the texts of a request of at most `max_bytes`, by name: those of its JSON object, else of its form.

    Raise `refusal` where JSON has something else.
    """
    request.max_content_length = max_bytes
    return texts(request.get_json() if request.is_json else of_form(request.form), refusal)
