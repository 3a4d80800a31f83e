"""Judging what the job stream holds, without any I/O: each entry is either work for a lane, or settled at once."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from wire.codec import evidence_of
from wire.errors import MessageError
from wire.messages import Failure, Job, Reply, sender_of
from wire.redis.clock import entry_ms
from wire.redis.keys import JOB_FIELD

UNKNOWN_OWNER: Final = "-"


@dataclass(frozen=True, slots=True)
class Delivery:
    """A job in a lane's hands; `deadline` and `received_at` are this process' monotonic clock in seconds."""

    entry_id: str
    job: Job
    deliveries: int
    waited_ms: float
    deadline: float
    received_at: float = field(default_factory=time.monotonic)

    @property
    def decode_ms(self) -> int:
        """What the job's image is estimated to take to decode."""
        return self.job.decode_ms


@dataclass(frozen=True, slots=True)
class Settlement:
    """The end of an entry: a reply to whoever asked, a dead letter for whoever looks after the queue, or neither."""

    entry_id: str
    reply_to: str = ""
    reply: Reply | None = None
    dead_letter: Mapping[str, str | bytes | int] | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry as Redis gave it; `fields` is None where it was deleted while pending."""

    id: bytes
    fields: list[bytes] | None
    deliveries: int = 1
    last_owner: str = UNKNOWN_OWNER


def judge(entry: Entry, now_ms: int, max_deliveries: int) -> Delivery | Settlement:
    """Give the job to run, or what becomes of an entry that is withdrawn, hostile, expired or poison."""
    entry_id = entry.id.decode()
    if entry.fields is None:
        return Settlement(entry_id)
    try:
        job = _job_of(entry.fields)
    except MessageError as error:
        return _undecodable(entry, entry.fields, error)
    waited_ms = max(now_ms - entry_ms(entry.id), 0)
    if waited_ms >= job.ttl_ms:
        failure = Failure(job.id, "expired", f"waited {waited_ms} ms of {job.ttl_ms} ms")
        return Settlement(entry_id, job.reply_to, failure)
    if entry.deliveries > max_deliveries:
        return _poison(entry, job)
    deadline = time.monotonic() + (job.ttl_ms - waited_ms) / 1000
    return Delivery(entry_id, job, entry.deliveries, waited_ms, deadline)


def _job_of(fields: list[bytes]) -> Job:
    if len(fields) != 2 or fields[0] != JOB_FIELD.encode():
        raise MessageError("an entry that is no job", evidence_of(b" ".join(fields)))
    return Job.decode(fields[1])


def _poison(entry: Entry, job: Job) -> Settlement:
    tries = entry.deliveries - 1
    failure = Failure(job.id, "poison", f"{tries} workers did not survive it, or did not end it in time")
    return Settlement(entry.id.decode(), job.reply_to, failure, _letter(entry, "poison", job.encode()))


def _undecodable(entry: Entry, fields: list[bytes], error: MessageError) -> Settlement:
    letter = _letter(entry, f"undecodable: {error.reason}", b"") | {"evidence": error.evidence}
    sender = sender_of(fields[-1])
    if sender is None:
        return Settlement(entry.id.decode(), dead_letter=letter)
    job_id, reply_to = sender
    failure = Failure(job_id, "internal", f"the worker cannot read the job: {error.reason}")
    return Settlement(entry.id.decode(), reply_to, failure, letter)


def _letter(entry: Entry, reason: str, job: bytes) -> dict[str, str | bytes | int]:
    return {
        "reason": reason,
        "entry": entry.id,
        "deliveries": entry.deliveries - 1,
        "worker": entry.last_owner,
        "job": job,
    }
