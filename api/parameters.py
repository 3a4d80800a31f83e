"""What a request may say beside its body: read and described from one declaration."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from flask import Request

from problems import Problem

LONGEST_NUMBER = 11


@dataclass(frozen=True, slots=True)
class WholeNumber:
    """A whole number from 1 to `at_most` in the query or in a header."""

    name: str
    place: Literal["query", "header"]
    at_most: Callable[[], int]
    meaning: str
    example: int

    def read(self, request: Request) -> int | None:
        """Give the number, None where there is none; raises Problem where it is no such number."""
        text = request.args.get(self.name) if self.place == "query" else request.headers.get(self.name)
        if text is None:
            return None
        at_most = self.at_most()
        if not (text.isascii() and text.isdigit() and len(text) <= LONGEST_NUMBER and 1 <= int(text) <= at_most):
            said = f"{self.name}={text[:40]!r} is not a whole number from 1 to {at_most}."
            raise Problem(400, "invalid_parameter", said)
        return int(text)

    def described(self) -> dict[str, Any]:
        """Give the parameter as OpenAPI has it."""
        schema = {"type": "integer", "minimum": 1, "maximum": self.at_most()}
        return {
            "name": self.name,
            "in": self.place,
            "description": self.meaning,
            "schema": schema,
            "example": self.example,
        }
