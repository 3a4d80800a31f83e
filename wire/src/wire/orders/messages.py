"""Orders, how far they are and what came of them, as the bytes that Redis holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, NamedTuple, Self

from wire.codec import Fields, bytes_of

TRAIN: Final = "train"
EVALUATE: Final = "evaluate"
PROMOTE: Final = "promote"
ROLL_BACK: Final = "rollback"
DISCARD: Final = "discard"
ERASE: Final = "erase"
EXPORT: Final = "export"
SUGGEST: Final = "suggest"
IMPORT: Final = "import"
SHADOW: Final = "shadow"
KINDS: Final = (TRAIN, EVALUATE, PROMOTE, ROLL_BACK, DISCARD, ERASE, EXPORT, SUGGEST, IMPORT, SHADOW)

QUEUED, RUNNING, DONE, FAILED = "queued", "running", "done", "failed"
# An order that was interrupted so often is given up: what it does may be what kills the trainer.
MAX_ATTEMPTS: Final = 2
# Of each order: what it names, and what came of it, images of an evaluation by their names.
MAX_ORDER_BYTES: Final = 16_384
MAX_OUTCOME_BYTES: Final = 131_072
MAX_PROGRESS_BYTES: Final = 16_384
MAX_VERSIONS_BYTES: Final = 262_144
MAX_STEPS: Final = 1000
MAX_COUNT: Final = 2**31


@dataclass(frozen=True, slots=True)
class Order:
    """An order: `by` is the name of the key or the session, `address` where the request came from."""

    kind: str
    by: str
    address: str = ""
    arguments: Mapping[str, str] = field(default_factory=dict)
    # Its entry, which Redis gives it; the first part is the time in milliseconds of Redis' clock.
    id: str = ""

    def encode(self) -> bytes:
        """Return the bytes that are kept."""
        arguments = dict(self.arguments)
        return bytes_of({"kind": self.kind, "by": self.by, "address": self.address, "arguments": arguments})

    @classmethod
    def decode(cls, data: bytes, entry_id: str) -> Self:
        """Return the order of bytes that `encode` returned; raise MessageError."""
        fields = Fields(data, MAX_ORDER_BYTES)
        if (kind := fields.text("kind")) not in KINDS:
            fields.refuse(f"kind {kind[:40]!r} is no order")
        return cls(kind, fields.text("by"), fields.text("address"), fields.texts("arguments"), entry_id)

    @property
    def subject(self) -> dict[str, str]:
        """Return what the order is about, for a log that is never erased: an image to be erased by a digest alone."""
        if self.kind != ERASE:
            return dict(self.arguments)
        import hashlib  # noqa: PLC0415  4 MB, which a trainer at rest has no use for

        return {"image_digest": hashlib.sha256(self.arguments.get("image", "").encode()).hexdigest()}

    @property
    def at_ms(self) -> int:
        """Return when it was ordered."""
        return int(self.id.partition("-")[0])


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the running order is: `step` of `steps`, in which `done` of `count`.

    `left_s` is an estimate of what the step takes yet, `total_left_s` of all of the order, 0 where that is not known.
    `note` is what a later attempt has to know of this one.
    """

    order_id: str
    attempt: int = 1
    step: int = 0
    steps: int = 0
    what: str = ""
    done: int = 0
    count: int = 0
    left_s: float = 0.0
    note: str = ""
    total_left_s: float = 0.0

    def encode(self) -> bytes:
        """Return the bytes that are kept."""
        return bytes_of(asdict(self))

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return the progress of bytes that `encode` returned; raise MessageError."""
        fields = Fields(data, MAX_PROGRESS_BYTES)
        return cls(
            order_id=fields.text("order_id"),
            attempt=fields.integer("attempt", 1, MAX_STEPS),
            step=fields.integer("step", 0, MAX_STEPS),
            steps=fields.integer("steps", 0, MAX_STEPS),
            what=fields.text("what"),
            done=fields.integer("done", 0, MAX_COUNT),
            count=fields.integer("count", 0, MAX_COUNT),
            left_s=fields.number("left_s"),
            total_left_s=fields.number("total_left_s", default=0.0),
            note=fields.text("note", default=""),
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an order: `state` is done or failed, `reason` why it failed, `result` a JSON object of its kind."""

    state: str
    ended_ms: int = 0
    reason: str = ""
    result: Mapping[str, Any] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Return the bytes that are kept; a result that is too large is left out, with a note."""
        data = bytes_of(asdict(self))
        if len(data) <= MAX_OUTCOME_BYTES:
            return data
        return bytes_of(asdict(replace(self, result={"left_out": f"{len(data)} bytes"})))

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return the outcome of bytes that `encode` returned; raise MessageError."""
        fields = Fields(data, MAX_OUTCOME_BYTES)
        if (state := fields.text("state")) not in {DONE, FAILED}:
            fields.refuse(f"state {state[:40]!r} is no outcome")
        ended_ms = fields.integer("ended_ms", 0, 2**63)
        return cls(state, ended_ms, fields.text("reason"), fields.mapping("result"))


class Known(NamedTuple):
    """An order with what is known of it now."""

    order: Order
    progress: Progress | None = None
    outcome: Outcome | None = None

    @property
    def state(self) -> str:
        """Return queued, running, done or failed."""
        if self.outcome is not None:
            return self.outcome.state
        return QUEUED if self.progress is None else RUNNING
