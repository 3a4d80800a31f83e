"""Triage and acknowledgement: each entry of a job stream is a job to run, or is ended immediately.

Ending is one transaction for a whole batch: reply, then acknowledge, then delete.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from wire.codec import evidence_of
from wire.errors import MessageError
from wire.messages import Failure, Job, Reply, reply_kind, sender_of
from wire.redis.keys import GROUP, JOB_FIELD, REPLIES_KEPT_S, Keys, entry_ms, is_of_one_job
from wire.redis.resp import checked, is_out_of_memory, pack

log = logging.getLogger(__name__)

UNKNOWN_OWNER: Final = "-"
# Room for the replies that a stalled process has not read; they are trimmed as they are delivered.
MAX_REPLIES: Final = 10_000
MAX_DEAD_LETTERS: Final = 1000

# Sends a packet and returns that many replies, or raises QueueUnavailable.
Exchange = Callable[[bytes, int], list[Any]]


@dataclass(frozen=True, slots=True)
class Delivery:
    """A job that a consumer holds; `deadline` and `received_at` are this process' monotonic clock in seconds.

    `depth` is how many jobs the queue held once this one was received: those that wait, of both streams, and those in
    the hands of workers, this one included; 0 where that is unknown.
    """

    entry_id: str
    job: Job
    deliveries: int
    waited_ms: float
    deadline: float
    depth: int = 0
    received_at: float = field(default_factory=time.monotonic)

    @property
    def decode_ms(self) -> int:
        """Return what the job's image is estimated to take to decode."""
        return self.job.decode_ms


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """The end of an entry: a reply to the producer, a dead letter for the operator, or neither."""

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


def triage(entry: Entry, now_ms: int, max_deliveries: int, depth: int = 0) -> Delivery | Acknowledgement:
    """Return the job to run, or the end of an entry that is withdrawn, hostile, expired or poison."""
    entry_id = entry.id.decode()
    if entry.fields is None:
        return Acknowledgement(entry_id)
    try:
        job = _job_of(entry.fields)
    except MessageError as error:
        return _undecodable(entry, entry.fields, error)
    waited_ms = max(now_ms - entry_ms(entry.id), 0)
    if waited_ms >= job.ttl_ms:
        failure = Failure(job.id, "expired", f"waited {waited_ms} ms of {job.ttl_ms} ms")
        return Acknowledgement(entry_id, job.reply_to, failure)
    if entry.deliveries > max_deliveries:
        return _poison(entry, job)
    deadline = time.monotonic() + (job.ttl_ms - waited_ms) / 1000
    return Delivery(entry_id, job, entry.deliveries, waited_ms, deadline, depth)


def _job_of(fields: list[bytes]) -> Job:
    if len(fields) != 2 or fields[0] != JOB_FIELD.encode():
        raise MessageError("an entry that is no job", evidence_of(b" ".join(fields)))
    return Job.decode(fields[1])


def _poison(entry: Entry, job: Job) -> Acknowledgement:
    tries = entry.deliveries - 1
    failure = Failure(job.id, "poison", f"{tries} workers did not survive it, or did not end it in time")
    return Acknowledgement(entry.id.decode(), job.reply_to, failure, _letter(entry, "poison", job.encode()))


def _undecodable(entry: Entry, fields: list[bytes], error: MessageError) -> Acknowledgement:
    letter = _letter(entry, f"undecodable: {error.reason}", b"") | {"evidence": error.evidence}
    sender = sender_of(fields[-1])
    if sender is None:
        return Acknowledgement(entry.id.decode(), dead_letter=letter)
    job_id, reply_to = sender
    failure = Failure(job_id, "internal", f"the worker cannot read the job: {error.reason}")
    return Acknowledgement(entry.id.decode(), reply_to, failure, letter)


def _letter(entry: Entry, reason: str, job: bytes) -> dict[str, str | bytes | int]:
    return {
        "reason": reason,
        "entry": entry.id,
        "deliveries": entry.deliveries - 1,
        "worker": entry.last_owner,
        "job": job,
    }


def acknowledge(exchange: Exchange, keys: Keys, stream: str, acknowledgements: Sequence[Acknowledgement]) -> None:
    """End these entries of a job stream; may be repeated with the same ones. Raise QueueUnavailable."""
    commands = _commands(keys, stream, acknowledgements)
    results = _transaction(exchange, commands)
    if any(map(is_out_of_memory, results)):
        # Nothing enters a transaction then. Deleting needs no memory, and makes room for these replies, or the next.
        log.error("Redis is out of memory: %d replies may be lost", len(acknowledgements))
        endings = _endings(stream, acknowledgements)
        results = exchange(b"".join(endings), len(endings))
        _transaction(exchange, commands)
    for result in results:
        checked(result)


def _transaction(exchange: Exchange, commands: Sequence[bytes]) -> list[Any]:
    """Return the results, or the errors that kept it from being run."""
    packet = pack("MULTI") + b"".join(commands) + pack("EXEC")
    *queued, executed = exchange(packet, len(commands) + 2)
    return executed if isinstance(executed, list) else [*queued, executed]


def _commands(keys: Keys, stream: str, acknowledgements: Sequence[Acknowledgement]) -> list[bytes]:
    replies = [_reply(keys, each.reply_to, each.reply) for each in acknowledgements if each.reply is not None]
    processes = {each.reply_to for each in acknowledgements if each.reply is not None}
    expiries = [pack("EXPIRE", keys.replies(process), REPLIES_KEPT_S) for process in processes]
    letters = [_dead_letter(keys, each) for each in acknowledgements if each.dead_letter is not None]
    return [*replies, *expiries, *letters, *_endings(stream, acknowledgements)]


def _endings(stream: str, acknowledgements: Sequence[Acknowledgement]) -> list[bytes]:
    entry_ids = [each.entry_id for each in acknowledgements]
    return [pack("XACK", stream, GROUP, *entry_ids), pack("XDEL", stream, *entry_ids)]


def _reply(keys: Keys, reply_to: str, reply: Reply) -> bytes:
    try:
        data = reply.encode()
    except ValueError as error:
        reply = Failure(reply.id, "internal", f"the answer cannot travel: {error}")
        data = reply.encode()
    # A job that was cancelled has no stream any more, and its reply must not make one.
    only_if_there = ("NOMKSTREAM",) if is_of_one_job(reply_to) else ()
    bound = ("MAXLEN", "~", MAX_REPLIES)
    return pack("XADD", keys.replies(reply_to), *only_if_there, *bound, "*", reply_kind(reply), data)


def _dead_letter(keys: Keys, acknowledgement: Acknowledgement) -> bytes:
    words = [word for pair in (acknowledgement.dead_letter or {}).items() for word in pair]
    return pack("XADD", keys.dead, "MAXLEN", "~", MAX_DEAD_LETTERS, "*", *words)
