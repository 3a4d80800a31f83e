"""Jobs that failed permanently and that an operator should examine: list, replay or discard them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wire.errors import MessageError
from wire.messages import Answer, Job
from wire.producer.producer import Producer
from wire.redis.address import Address
from wire.redis.keys import Keys, entry_ms
from wire.redis.pipeline import Pipeline
from wire.redis.resp import checked, pack


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Why a job ended here; `job` is None where its entry could not be read, and `evidence` then shows its bytes."""

    id: str
    at_ms: int
    reason: str
    entry_id: str
    deliveries: int
    worker: str
    job: Job | None
    evidence: str


class DeadLetters:
    """The dead letters of one queue."""

    def __init__(self, address: Address, queue: str) -> None:
        self._exchange = Pipeline.to(address).exchange
        self._key = Keys(queue).dead

    def newest(self, count: int = 100) -> list[DeadLetter]:
        """Return up to count of them, newest first; raises QueueUnavailable."""
        [entries] = self._exchange(pack("XREVRANGE", self._key, "+", "-", "COUNT", count), 1)
        return [_letter_of(entry_id, fields) for entry_id, fields in checked(entries)]

    def replay(self, letter: DeadLetter, producer: Producer, *, timeout_s: float) -> Answer:
        """Ask for the same image again, and drop the letter once there is an answer; raise what `submit` raises."""
        if letter.job is None:
            raise ValueError(f"dead letter {letter.id} holds no job that can be read: {letter.evidence}")
        answer = producer.submit(letter.job.image, timeout_s=timeout_s, top_k=letter.job.top_k)
        self.drop([letter])
        return answer

    def drop(self, letters: Sequence[DeadLetter]) -> None:
        """Throw them away; raises QueueUnavailable."""
        if letters:
            checked(self._exchange(pack("XDEL", self._key, *(each.id for each in letters)), 1)[0])


def _letter_of(entry_id: bytes, fields: list[bytes]) -> DeadLetter:
    facts = dict(zip(fields[::2], fields[1::2], strict=True))
    return DeadLetter(
        id=entry_id.decode(),
        at_ms=entry_ms(entry_id),
        reason=_text(facts, b"reason"),
        entry_id=_text(facts, b"entry"),
        deliveries=int(facts.get(b"deliveries", 0)),
        worker=_text(facts, b"worker"),
        job=_job_or_none(facts.get(b"job", b"")),
        evidence=_text(facts, b"evidence"),
    )


def _text(facts: dict[Any, bytes], name: bytes) -> str:
    return facts.get(name, b"").decode(errors="replace")


def _job_or_none(data: bytes) -> Job | None:
    try:
        return Job.decode(data)
    except MessageError:
        return None
