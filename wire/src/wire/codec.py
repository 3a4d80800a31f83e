"""Reading one JSON object of ours field by field: every fault is a MessageError with the field's name and evidence."""

from __future__ import annotations

import json
import math
from base64 import b64decode
from typing import Any, NoReturn

from wire.errors import MessageError
from wire.process.limits import is_token

VERSION = 1
MAX_NAME_BYTES = 255  # what a file name may have on the common file systems
EVIDENCE_BYTES = 200
LARGEST_WHOLE_NUMBER = 2**63

encode_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def evidence_of(data: bytes) -> str:
    """Return the first bytes in printable form, for logs and dead letters."""
    return ascii(data[:EVIDENCE_BYTES])


def bytes_of(fields: dict[str, object]) -> bytes:
    """Return the compact UTF-8 JSON of a message; raises ValueError for a number that is not finite."""
    # A file name that is no UTF-8 reaches error texts as lone surrogates, and those must not stop an answer.
    return encode_json({"v": VERSION, **fields}).encode(errors="replace")


class Fields:
    """One JSON object of ours, asked field by field."""

    def __init__(self, data: bytes, max_bytes: int) -> None:
        self._data = data
        if len(data) > max_bytes:
            self.refuse(f"a message of {len(data)} bytes, where {max_bytes} are the limit")
        try:
            values = json.loads(data, parse_constant=self.refuse)
        except (ValueError, RecursionError) as error:
            raise MessageError(f"not JSON ({error})", evidence_of(data)) from error
        if not isinstance(values, dict):
            self.refuse("not a JSON object")
        self._values: dict[str, Any] = values
        if self._values.get("v") != VERSION:
            self.refuse(f"message version {self._values.get('v')!r}, this side reads {VERSION}")

    def text(self, name: str, *, default: str | None = None) -> str:
        """Return a text field."""
        value = self._values.get(name, default)
        if not isinstance(value, str):
            self.refuse(f"field {name!r} is not text")
        return value

    def base64(self, name: str) -> bytes:
        """Return the bytes of a text field; absent means empty."""
        try:
            return b64decode(self.text(name, default=""), validate=True)
        except ValueError:
            self.refuse(f"field {name!r} is not base64")

    def token(self, name: str) -> str:
        """Return a field that may become part of a key or a log line."""
        value = self.text(name)
        if not is_token(value):
            self.refuse(f"field {name!r} is not a token")
        return value

    def file_name(self, name: str) -> str:
        """Return a field that names a file in a folder, and can name nothing outside of it."""
        value = self.text(name)
        if value in {"", ".", ".."} or "/" in value or not value.isprintable() or len(value.encode()) > MAX_NAME_BYTES:
            self.refuse(f"field {name!r} is not a plain file name")
        return value

    def integer(self, name: str, low: int, high: int, *, default: int | None = None) -> int:
        """Return a whole number within its limits."""
        value = self._values.get(name, default)
        if type(value) is not int or not low <= value <= high:
            self.refuse(f"field {name!r} is not a whole number from {low} to {high}")
        return value

    def number(self, name: str, *, default: float | None = None) -> float:
        """Return a finite number."""
        value = self._values.get(name, default)
        if not _is_number(value):
            self.refuse(f"field {name!r} is not a number")
        return float(value)  # type: ignore[arg-type]  # a number by now

    def pairs(self, name: str) -> tuple[tuple[str, float], ...]:
        """Return a list of label and score."""
        pairs = []
        try:
            for label, score in self._values[name]:
                if not (isinstance(label, str) and _is_number(score)):
                    self.refuse(f"field {name!r} does not hold pairs of label and score")
                pairs.append((label, score))
        except (KeyError, TypeError, ValueError):
            self.refuse(f"field {name!r} is not a list of pairs")
        return tuple(pairs)

    def numbers(self, name: str) -> dict[str, float]:
        """Return an object of numbers; absent means empty."""
        values = self._values.get(name, {})
        if not isinstance(values, dict) or not all(map(_is_number, values.values())):
            self.refuse(f"field {name!r} is not an object of numbers")
        return values

    def texts(self, name: str) -> dict[str, str]:
        """Return an object of texts; absent means empty."""
        values = self.mapping(name)
        if not all(isinstance(value, str) for value in values.values()):
            self.refuse(f"field {name!r} is not an object of texts")
        return values

    def mapping(self, name: str) -> dict[str, Any]:
        """Return an object of any values; absent means empty."""
        values = self._values.get(name, {})
        if not isinstance(values, dict):
            self.refuse(f"field {name!r} is not an object")
        return values

    def number_list(self, name: str, count: int) -> tuple[float, ...]:
        """Return a list of so many finite numbers."""
        value = self._values.get(name)
        if not isinstance(value, list) or len(value) != count or not all(map(_is_number, value)):
            self.refuse(f"field {name!r} is not a list of {count} numbers")
        return tuple(map(float, value))

    def integers(self, name: str, count: int, low: int, high: int) -> tuple[int, ...]:
        """Return a list of so many whole numbers within their limits."""
        value = self._values.get(name)
        if not isinstance(value, list) or len(value) != count:
            self.refuse(f"field {name!r} is not a list of {count} whole numbers")
        if not all(type(each) is int and low <= each <= high for each in value):
            self.refuse(f"field {name!r} is not a list of whole numbers from {low} to {high}")
        return tuple(value)

    def inner(self, name: str) -> Fields | None:
        """Return an object inside this one; None where it is absent."""
        values = self._values.get(name)
        if values is None:
            return None
        if not isinstance(values, dict):
            self.refuse(f"field {name!r} is not an object")
        inner = object.__new__(Fields)
        inner._data, inner._values = self._data, values
        return inner

    def refuse(self, reason: str) -> NoReturn:
        """Say what is wrong; raises MessageError."""
        raise MessageError(reason, evidence_of(self._data))


def _is_number(value: object) -> bool:
    if type(value) is int:
        return abs(value) <= LARGEST_WHOLE_NUMBER
    return type(value) is float and math.isfinite(value)
