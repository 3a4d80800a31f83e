"""The three messages, each frozen, with its bytes beside it: JSON objects that carry `"v": 1`.

Unknown fields are tolerated, so that a newer side may add some; every other fault is one MessageError with evidence.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn, Self, get_args

from wire.errors import MessageError

VERSION = 1
# A job is a few hundred bytes; an answer holds at most MAX_TOP_K labels. Whatever is larger is not from us.
MAX_JOB_BYTES = 16_384
MAX_REPLY_BYTES = 1_048_576
MAX_TTL_MS = 24 * 3_600_000
MAX_TOP_K = 1000
MAX_NAME_BYTES = 255  # what a file name may have on the common file systems
EVIDENCE_BYTES = 200

FailureCode = Literal[
    "unsupported_type", "image_too_large", "image_broken", "image_missing", "expired", "poison", "internal"
]
FAILURE_CODES: frozenset[str] = frozenset(get_args(FailureCode))

_TOKEN = re.compile(r"[A-Za-z0-9_.:-]{1,80}")
_encode_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def is_token(text: object) -> bool:
    """Whether this may name a job or a process: short, printable, and safe inside a Redis key."""
    return isinstance(text, str) and _TOKEN.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Job:
    """Classify one stored image; `ttl_ms` counts from the moment at which Redis took the job, by Redis' clock."""

    id: str
    image: str
    reply_to: str
    ttl_ms: int
    top_k: int = 5
    traceparent: str = ""

    def encode(self) -> bytes:
        """Give the bytes that travel; raises ValueError where a field cannot travel."""
        return _bytes_of(
            {
                "v": VERSION,
                "id": self.id,
                "image": self.image,
                "reply_to": self.reply_to,
                "ttl_ms": self.ttl_ms,
                "top_k": self.top_k,
                "traceparent": self.traceparent,
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read what `encode` gave; raises MessageError."""
        fields = _Fields(data, MAX_JOB_BYTES)
        return cls(
            id=fields.token("id"),
            image=fields.file_name("image"),
            reply_to=fields.token("reply_to"),
            ttl_ms=fields.integer("ttl_ms", 1, MAX_TTL_MS),
            top_k=fields.integer("top_k", 1, MAX_TOP_K, default=5),
            traceparent=fields.text("traceparent", default=""),
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model sees, best first; `timings` are milliseconds by stage."""

    id: str
    predictions: tuple[tuple[str, float], ...]
    model: str
    version: str
    timings: Mapping[str, float] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Give the bytes that travel; raises ValueError where a field cannot travel."""
        return _bytes_of(
            {
                "v": VERSION,
                "id": self.id,
                "predictions": self.predictions,
                "model": self.model,
                "version": self.version,
                "timings": dict(self.timings),
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read what `encode` gave; raises MessageError."""
        fields = _Fields(data, MAX_REPLY_BYTES)
        return cls(
            id=fields.token("id"),
            predictions=fields.predictions("predictions"),
            model=fields.text("model"),
            version=fields.text("version"),
            timings=fields.numbers("timings"),
        )


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job cannot be answered; a code of a newer side reads as `internal`."""

    id: str
    code: FailureCode
    detail: str = ""

    def encode(self) -> bytes:
        """Give the bytes that travel; raises ValueError where a field cannot travel."""
        return _bytes_of({"v": VERSION, "id": self.id, "code": self.code, "detail": self.detail})

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read what `encode` gave; raises MessageError."""
        fields = _Fields(data, MAX_REPLY_BYTES)
        return cls(id=fields.token("id"), code=fields.failure_code("code"), detail=fields.text("detail", default=""))


class _Fields:
    """One JSON object of ours, asked field by field; each fault names the field and shows the bytes."""

    def __init__(self, data: bytes, max_bytes: int) -> None:
        self._evidence = ascii(data[:EVIDENCE_BYTES])
        if len(data) > max_bytes:
            self._fail(f"a message of {len(data)} bytes, where {max_bytes} are the limit")
        try:
            values = json.loads(data, parse_constant=self._fail)
        except (ValueError, RecursionError) as error:
            raise MessageError(f"not JSON ({error})", self._evidence) from error
        if not isinstance(values, dict):
            self._fail("not a JSON object")
        self._values: dict[str, Any] = values
        if self._values.get("v") != VERSION:
            self._fail(f"message version {self._values.get('v')!r}, this side reads {VERSION}")

    def text(self, name: str, *, default: str | None = None) -> str:
        value = self._values.get(name, default)
        if not isinstance(value, str):
            self._fail(f"field {name!r} is not text")
        return value

    def token(self, name: str) -> str:
        value = self.text(name)
        if not is_token(value):
            self._fail(f"field {name!r} is not a token")
        return value

    def file_name(self, name: str) -> str:
        value = self.text(name)
        if value in {"", ".", ".."} or "/" in value or not value.isprintable() or len(value.encode()) > MAX_NAME_BYTES:
            self._fail(f"field {name!r} is not a plain file name")
        return value

    def integer(self, name: str, low: int, high: int, *, default: int | None = None) -> int:
        value = self._values.get(name, default)
        if type(value) is not int or not low <= value <= high:
            self._fail(f"field {name!r} is not a whole number from {low} to {high}")
        return value

    def failure_code(self, name: str) -> FailureCode:
        value = self.text(name)
        return value if value in FAILURE_CODES else "internal"  # type: ignore[return-value]  # a member of the Literal

    def predictions(self, name: str) -> tuple[tuple[str, float], ...]:
        try:
            pairs = tuple((label, score) for label, score in self._values[name])
        except (KeyError, TypeError, ValueError):
            self._fail(f"field {name!r} is not a list of pairs")
        if not all(isinstance(label, str) and _is_number(score) for label, score in pairs):
            self._fail(f"field {name!r} does not hold pairs of label and score")
        return pairs

    def numbers(self, name: str) -> dict[str, float]:
        values = self._values.get(name, {})
        if not isinstance(values, dict) or not all(map(_is_number, values.values())):
            self._fail(f"field {name!r} is not an object of numbers")
        return values

    def _fail(self, reason: str) -> NoReturn:
        raise MessageError(reason, self._evidence)


def _bytes_of(fields: dict[str, object]) -> bytes:
    return _encode_json(fields).encode()


def _is_number(value: object) -> bool:
    return type(value) in (float, int) and math.isfinite(value)  # type: ignore[arg-type]  # a number by now
