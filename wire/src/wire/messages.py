"""The three messages, each frozen, with its encoding: JSON objects that carry `"v": 1`.

Unknown fields are tolerated, so that a newer side may add some; every other fault is one MessageError with evidence.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal, Self, cast, get_args

from wire.codec import VERSION, Fields, bytes_of, encode_json, evidence_of
from wire.errors import MessageError, WireError
from wire.process.limits import MAX_CLASSES, MAX_DECODE_MS, MAX_JOB_BYTES, MAX_REPLY_BYTES, MAX_TTL_MS, is_token

MAX_MAP_SIDE = 128
MAX_PREVIEW_SIDE = 1024
MAX_IMAGE_SIDE = 1_000_000

FailureCode = Literal[
    "unsupported_type",
    "image_too_large",
    "image_broken",
    "image_missing",
    "storage_unavailable",
    "not_explainable",
    "not_ready",
    "expired",
    "poison",
    "internal",
]
FAILURE_CODES: frozenset[str] = frozenset(get_args(FailureCode))


@dataclass(frozen=True, slots=True)
class Job:
    """Classify one stored image; `ttl_ms` counts from the moment at which Redis took the job, by Redis' clock.

    A heat map is computed for the class of `explain_label`, else for the `explain_rank`th best; for
    none where neither is given. With `preview_side` the answer has the image itself as a JPEG, whose sides are at most
    so many pixels long; with `candidate`, also the predictions of the version that the worker tries. `decode_ms` is the
    estimate of wire.decode_cost; 0 means a typical photograph.
    """

    id: str
    image: str
    reply_to: str
    ttl_ms: int
    top_k: int = 5
    traceparent: str = ""
    explain_rank: int = 0
    explain_label: str = ""
    decode_ms: int = 0
    tracestate: str = ""
    preview_side: int = 0
    candidate: bool = False

    @property
    def is_explained(self) -> bool:
        """Return whether a map is wanted."""
        return bool(self.explain_rank or self.explain_label)

    @property
    def passes(self) -> int:
        """Return how many times the image is decoded and classified: what is rarely wanted takes one more."""
        return 2 if self.explain_rank or self.explain_label or self.preview_side or self.candidate else 1

    def encode(self) -> bytes:
        """Return the bytes that travel."""
        fields: dict[str, object] = {
            "v": VERSION,
            "id": self.id,
            "image": self.image,
            "reply_to": self.reply_to,
            "ttl_ms": self.ttl_ms,
            "top_k": self.top_k,
            "traceparent": self.traceparent,
        }
        # Rarely set, so that the usual job stays small.
        if self.explain_rank:
            fields["explain_rank"] = self.explain_rank
        if self.explain_label:
            fields["explain_label"] = self.explain_label
        if self.decode_ms:
            fields["decode_ms"] = self.decode_ms
        if self.tracestate:
            fields["tracestate"] = self.tracestate
        if self.preview_side:
            fields["preview_side"] = self.preview_side
        if self.candidate:
            fields["candidate"] = 1
        return encode_json(fields).encode(errors="replace")

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read what `encode` gave; raises MessageError."""
        fields = Fields(data, MAX_JOB_BYTES)
        return cls(
            id=fields.token("id"),
            image=fields.file_name("image"),
            reply_to=fields.token("reply_to"),
            ttl_ms=fields.integer("ttl_ms", 1, MAX_TTL_MS),
            top_k=fields.integer("top_k", 1, MAX_CLASSES, default=5),
            traceparent=fields.text("traceparent", default=""),
            explain_rank=fields.integer("explain_rank", 0, MAX_CLASSES, default=0),
            explain_label=fields.text("explain_label", default=""),
            decode_ms=fields.integer("decode_ms", 0, MAX_DECODE_MS, default=0),
            tracestate=fields.text("tracestate", default=""),
            preview_side=fields.integer("preview_side", 0, MAX_PREVIEW_SIDE, default=0),
            candidate=bool(fields.integer("candidate", 0, 1, default=0)),
        )


@dataclass(frozen=True, slots=True)
class ActivationMap:
    """A class activation map: how much each place of the last feature map contributes to the logit of one class.

    `values` go row by row; their mean is the logit. `picture` is the width and height of the upright image in pixels,
    `view` the left, top, right and bottom of the part that the model was given. `png` is the map drawn for laying over
    the image; empty from a worker of an earlier release.
    """

    label: str
    rows: int
    columns: int
    values: tuple[float, ...]
    picture: tuple[int, int]
    view: tuple[int, int, int, int]
    png: bytes = b""

    def fields(self) -> dict[str, object]:
        """Return the fields that travel inside an answer."""
        return asdict(self) | {"png": b64encode(self.png).decode()}

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """Read what `fields` gave; raises MessageError."""
        rows, columns = fields.integer("rows", 1, MAX_MAP_SIDE), fields.integer("columns", 1, MAX_MAP_SIDE)
        width, height = fields.integers("picture", 2, 1, MAX_IMAGE_SIDE)
        left, top, right, bottom = fields.integers("view", 4, 0, MAX_IMAGE_SIDE)
        if not (left < right <= width and top < bottom <= height):
            fields.refuse("field 'view' is no part of the image")
        values = fields.number_list("values", rows * columns)
        view = (left, top, right, bottom)
        return cls(fields.text("label"), rows, columns, values, (width, height), view, fields.base64("png"))


@dataclass(frozen=True, slots=True)
class CandidateAnswer:
    """The predictions of the version that is tried as shadow, best first; `version` is <model>/<version>."""

    version: str
    predictions: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """The model's predictions, best first; `timings` are milliseconds by stage.

    `bundle_digest` is that of the bundle that answered, empty where an earlier release of the worker did.
    `sha256` is that of the bytes which the worker read; empty from a worker that does not report it yet. `warnings` are
    names of what makes the answer doubtful. `preview` is the image as a small JPEG, where the job requests it, and
    `candidate` the answer of the version that is tried, where the job requests it and the worker tries one.
    """

    id: str
    predictions: tuple[tuple[str, float], ...]
    model: str
    version: str
    timings: Mapping[str, float] = field(default_factory=dict)
    activation_map: ActivationMap | None = None
    bundle_digest: str = ""
    sha256: str = ""
    warnings: tuple[str, ...] = ()
    preview: bytes = b""
    candidate: CandidateAnswer | None = None

    def encode(self) -> bytes:
        """Return the bytes that travel; raises ValueError for a score that is no finite number."""
        return bytes_of(
            {
                "id": self.id,
                "predictions": self.predictions,
                "model": self.model,
                "version": self.version,
                "timings": dict(self.timings),
                **({"bundle_digest": self.bundle_digest} if self.bundle_digest else {}),
                **({} if self.activation_map is None else {"map": self.activation_map.fields()}),
                **({"sha256": self.sha256} if self.sha256 else {}),
                **({"warnings": " ".join(self.warnings)} if self.warnings else {}),
                **({"preview": b64encode(self.preview).decode()} if self.preview else {}),
                **({} if self.candidate is None else {"candidate": asdict(self.candidate)}),
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read what `encode` gave; raises MessageError."""
        fields = Fields(data, MAX_REPLY_BYTES)
        return cls(
            id=fields.token("id"),
            predictions=fields.pairs("predictions"),
            model=fields.text("model"),
            version=fields.text("version"),
            timings=fields.numbers("timings"),
            activation_map=None if (inner := fields.inner("map")) is None else ActivationMap.read(inner),
            bundle_digest=fields.text("bundle_digest", default=""),
            sha256=fields.text("sha256", default=""),
            warnings=tuple(fields.text("warnings", default="").split()),
            preview=fields.base64("preview"),
            candidate=None
            if (other := fields.inner("candidate")) is None
            else CandidateAnswer(other.text("version"), other.pairs("predictions")),
        )


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job cannot be answered; a code that only a newer side knows reads as `internal`."""

    id: str
    code: FailureCode
    detail: str = ""

    def encode(self) -> bytes:
        """Return the bytes that travel."""
        return bytes_of({"id": self.id, "code": self.code, "detail": self.detail})

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read what `encode` gave; raises MessageError."""
        fields = Fields(data, MAX_REPLY_BYTES)
        code = fields.text("code")
        known = cast(FailureCode, code if code in FAILURE_CODES else "internal")
        return cls(id=fields.token("id"), code=known, detail=fields.text("detail", default=""))


class JobFailed(WireError):  # noqa: N818  the name says what happened
    """A worker answered that this job cannot be done; `failure` holds the reason."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"job {failure.id} failed, {failure.code}: {failure.detail}")
        self.failure = failure


Reply = Answer | Failure


def reply_kind(reply: Reply) -> str:
    """Name the stream field under which a reply travels."""
    return "answer" if isinstance(reply, Answer) else "failure"


def decode_reply(kind: bytes, data: bytes) -> Reply:
    """Read a reply from its stream field; raises MessageError."""
    if kind == b"answer":
        return Answer.decode(data)
    if kind == b"failure":
        return Failure.decode(data)
    raise MessageError(f"a reply of kind {kind[:20]!r}", evidence_of(data))


def sender_of(data: bytes) -> tuple[str, str] | None:
    """Find (id, reply_to) in an undecodable job, so that its sender gets an error; None where they cannot be read."""
    try:
        values = json.loads(data[:MAX_JOB_BYTES])
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict) or not is_token(values.get("id")) or not is_token(values.get("reply_to")):
        return None
    return values["id"], values["reply_to"]
