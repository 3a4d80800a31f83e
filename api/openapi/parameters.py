"""What a request may say beside its body: read and described from one declaration."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from flask import Request

from problems import Problem

LONGEST_NUMBER = 11


@dataclass(frozen=True, slots=True)
class Word:
    """A header that says one thing, or is ignored."""

    name: str
    word: str
    meaning: str

    def described(self) -> dict[str, Any]:
        """Give the parameter as OpenAPI has it."""
        schema = {"type": "string"}
        return {"name": self.name, "in": "header", "description": self.meaning, "schema": schema, "example": self.word}


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


@dataclass(frozen=True, slots=True)
class Text:
    """A text of a certain form in the query or in a header."""

    name: str
    place: Literal["query", "header"]
    pattern: re.Pattern[str]
    meaning: str
    example: str

    def read(self, request: Request) -> str | None:
        """Give the text, None where there is none; raises Problem where it has another form."""
        text = request.args.get(self.name) if self.place == "query" else request.headers.get(self.name)
        if text is not None and not self.pattern.fullmatch(text):
            raise Problem(400, "invalid_parameter", f"{self.name}={text[:40]!r} does not match {self.pattern.pattern}.")
        return text

    def described(self) -> dict[str, Any]:
        """Give the parameter as OpenAPI has it."""
        schema = {"type": "string", "pattern": f"^{self.pattern.pattern}$"}
        return {
            "name": self.name,
            "in": self.place,
            "description": self.meaning,
            "schema": schema,
            "example": self.example,
        }


Parameter = WholeNumber | Text | Word
