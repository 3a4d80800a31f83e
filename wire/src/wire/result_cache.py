"""Answers that were given already, kept in Redis: for the same image, as long as the same model is served.

The table has a fixed number of slots, and each answer two of them that it may be in, chosen by its hash. So it never
grows beyond its bound, nothing has to be searched or trimmed, and a look-up is one round trip. An entry holds
the question that it answers; other content of a slot is ignored.
"""

from __future__ import annotations

import hashlib
import logging
import random
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, Self

from wire.codec import Fields, bytes_of
from wire.errors import MessageError
from wire.messages import Answer
from wire.process.limits import MAX_CLASSES
from wire.redis.address import Address
from wire.redis.faults import RedisRefusal
from wire.redis.keys import Keys
from wire.redis.pipeline import BEST_EFFORT_TIMEOUT_S, BestEffort, Pipeline
from wire.redis.resp import checked, pack, pack_command
from wire.worker_registry import Served

log = logging.getLogger(__name__)

# With the number of entries this bounds the memory; it holds about forty classes.
MAX_ENTRY_BYTES: Final = 2048
SLOTS_AT_ONCE: Final = 500
_DEFAULTS: Final = Served._field_defaults


class Question(NamedTuple):
    """What has to be the same for an answer to be the same: the image's SHA-256, in hex, and what is served."""

    image: str
    served: Served


class Found(NamedTuple):
    """What a look-up came to: the answer or None, and the slot that an answer is to be kept in.

    The slot is empty where no look-up was possible because Redis is unavailable.
    """

    answer: Answer | None
    slot: str


class ResultCache:
    """The cache of one queue; where Redis is away or out of memory, it is as if it were empty."""

    def __init__(
        self, address: Address, queue: str, *, max_entries: int, ttl_s: int, timeout_s: float = BEST_EFFORT_TIMEOUT_S
    ) -> None:
        self._redis = BestEffort(address, "sightline-cache", timeout_s)
        self._keys = Keys(queue)
        self._max_entries = max_entries
        self._ttl_s = ttl_s

    def find(self, question: Question, top_k: int) -> Found:
        """Return an answer with at least that many classes, and where to keep one if there is none."""
        name = "\n".join((question.image, *question.served)).encode(errors="replace")
        digest = hashlib.sha256(name).digest()
        first = f"{self._keys.answer}{int.from_bytes(digest[:8]) % self._max_entries}"
        second = f"{self._keys.answer}{int.from_bytes(digest[8:16]) % self._max_entries}"
        replies = self._redis.exchange(pack_command(("GET", first)) + pack_command(("GET", second)), 2)
        if replies is None or (isinstance(replies[0], RedisRefusal) and _is_forbidden(replies[0])):
            return Found(None, "")
        empty = ""
        for slot, data in ((second, replies[1]), (first, replies[0])):
            entry = None if data is None else _decode_or_none(data)
            if entry is None:
                empty = slot
            elif entry.question == question:
                return Found(entry.answer(top_k), slot)
        return Found(None, empty or random.choice((first, second)))  # noqa: S311  nothing hangs on it

    def keep(self, question: Question, top_k: int, answer: Answer, slot: str) -> None:
        """Keep an answer after a cache miss, where it is the answer to exactly that question.

        The worker has to have read exactly the requested image, and to serve the requested model.
        """
        served = question.served
        answered = (answer.sha256, answer.model, answer.version, answer.bundle_digest)
        if not slot or answered != (question.image, served.model, served.version, served.bundle_digest):
            return
        data = _Entry(question, top_k, answer.predictions, answer.warnings).encode()
        if len(data) > MAX_ENTRY_BYTES:
            return
        self._redis.send(pack("SET", slot, data, "EX", self._ttl_s), 1)


def forget(address: Address, queue: str, sha256: str, max_entries: int) -> int:
    """Remove every answer about an image, by its SHA-256; return how many there were. Raise QueueUnavailable."""
    exchange, prefix, count = Pipeline.to(address).exchange, Keys(queue).answer, 0
    for begin in range(0, max_entries, SLOTS_AT_ONCE):
        slots = [f"{prefix}{number}" for number in range(begin, min(begin + SLOTS_AT_ONCE, max_entries))]
        entries = exchange(b"".join(pack("GET", slot) for slot in slots), len(slots))
        meant = [slot for slot, data in zip(slots, entries, strict=True) if data and _is_about(checked(data), sha256)]
        if meant:
            checked(exchange(pack("DEL", *meant), 1)[0])
        count += len(meant)
    return count


def _is_about(data: bytes, sha256: str) -> bool:
    entry = _decode_or_none(data)
    return entry is not None and entry.question.image == sha256


@dataclass(frozen=True, slots=True)
class _Entry:
    """The content of a slot: the whole question, the requested number of classes, and the classes."""

    question: Question
    top_k: int
    predictions: tuple[tuple[str, float], ...]
    warnings: tuple[str, ...] = ()

    def answer(self, top_k: int) -> Answer | None:
        """Return the answer as a worker would; None where more classes are requested than the entry holds."""
        served = self.question.served
        if top_k > self.top_k:
            return None
        answer = Answer("", self.predictions[:top_k], served.model, served.version, bundle_digest=served.bundle_digest)
        return replace(answer, warnings=self.warnings) if self.warnings else answer

    def encode(self) -> bytes:
        """Return the bytes that are kept."""
        fields = self.question.served._asdict() | ({"warnings": " ".join(self.warnings)} if self.warnings else {})
        return bytes_of(
            {"picture": self.question.image, **fields, "top_k": self.top_k, "predictions": self.predictions}
        )

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read what `encode` gave; raises MessageError."""
        fields = Fields(data, MAX_ENTRY_BYTES)
        served = Served(**{name: fields.text(name, default=_DEFAULTS.get(name)) for name in Served._fields})
        question = Question(fields.text("picture"), served)
        warnings = tuple(fields.text("warnings", default="").split())
        return cls(question, fields.integer("top_k", 1, MAX_CLASSES), fields.pairs("predictions"), warnings)


def _is_forbidden(refusal: RedisRefusal) -> bool:
    return str(refusal).startswith("NOPERM")


def _decode_or_none(data: Any) -> _Entry | None:
    """Read the reply of GET; an unreadable entry may be overwritten."""
    if isinstance(data, RedisRefusal):
        return None
    try:
        entry = _Entry.decode(data)
    except MessageError as error:
        log.warning("an entry of the cache is unreadable: %s", error)
        return None
    # An answer without a class is none.
    return entry if entry.predictions else None
