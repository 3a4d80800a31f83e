"""Jobs whose caller does not wait: enqueued by one api process, and found later by any.

The reply goes to a stream of the job's own, which the worker writes and which expires by itself. The job index holds a
row for each job enqueued lately, and bounds how many of them there are. Anyone who has the handle may find and cancel
the job, where it has an owner only in that owner's name. A handle is the job's secret id (128 random bits), its entry
and its place in the index; the row at that place repeats id and entry, so that a handle made of parts of several is
none.
"""

from __future__ import annotations

import hmac
import math
import re
import secrets
import time
from contextlib import suppress
from typing import Any, Final, NamedTuple

from wire.errors import MessageError, NotReplicated, QueueFull, QueueUnavailable, UnknownJob
from wire.messages import Job, Reply, decode_reply
from wire.producer.admission import ENQUEUE
from wire.producer.producer import Producer
from wire.redis.connection import CALLER_TIMEOUT_S
from wire.redis.keys import REPLIES_KEPT_S, job_replies
from wire.redis.pipeline import Script, Words
from wire.redis.resp import checked, pack

# Answers that no one has fetched yet take memory; with so few classes each, a row in the index is at most 4 KiB.
MAX_TOP_K: Final = 100
MAX_TIMEOUT_S: Final = 600.0

# While replicas are missing, one job in this time finds out whether they are back, and the others need not wait for it.
REFUSED_FOR_S: Final = 1.0

_ENTRY = r"(?:0|[1-9][0-9]{0,19})-(?:0|[1-9][0-9]{0,19})"
_HANDLE = re.compile(rf"([0-9a-f]{{32}})-({_ENTRY})-({_ENTRY})")
LARGEST_ENTRY_PART: Final = 2**64 - 1


class Found(NamedTuple):
    """What is known of a job: its image, and its reply; None while it is running."""

    image: str
    reply: Reply | None


class _Handle(NamedTuple):
    """The content of a handle: the job's secret id, its entry in the queue, and its place in the index."""

    id: str
    entry_id: str
    place: str

    @classmethod
    def read(cls, text: str) -> _Handle:
        """Take a handle apart; raises UnknownJob."""
        match = _HANDLE.fullmatch(text)
        if match is None or max(map(int, text.split("-")[1:])) > LARGEST_ENTRY_PART:
            raise UnknownJob(text)
        return cls(*match.groups())

    @property
    def reply_to(self) -> str:
        """Return the name under which the worker answers."""
        return job_replies(self.id)


class _Row(NamedTuple):
    """What the index holds of a job; `owner` is empty where anyone who has the handle owns it."""

    id: str
    entry_id: str
    stream: str
    owner: str
    image: str

    @classmethod
    def read(cls, words: list[bytes]) -> _Row | None:
        """Return the row of these fields and values; None where it is not of this shape."""
        if words[::2] != [b"id", b"entry", b"stream", b"owner", b"image"]:
            return None
        return cls(*(word.decode(errors="replace") for word in words[1::2]))

    def is_of(self, parsed: _Handle, owner: str | None) -> bool:
        """Return whether a handle is that of this job, and whether this owner may use it; None may use any."""
        is_handle = hmac.compare_digest(self.id.encode(), parsed.id.encode()) and self.entry_id == parsed.entry_id
        return is_handle and owner in {None, self.owner}


class AsyncJobs:
    """Enqueues jobs that no one waits for, and finds them again; for any number of threads or greenlets.

    A job is enqueued once `wait_replicas` replicas of Redis have it, and where `needs_worker` is false also while no
    worker is alive, so that a pool of workers may be scaled down to none.
    """

    def __init__(self, producer: Producer, *, max_jobs: int, wait_replicas: int = 0, needs_worker: bool = True) -> None:
        self._producer = producer
        self._replication = Replication(producer, wait_replicas) if wait_replicas else None
        self._needs_worker = needs_worker
        self._keys = producer.keys
        self._exchange = producer.exchange
        self._max_jobs = max_jobs

    def enqueue(  # noqa: PLR0913  all but the image go by keyword
        self,
        image: str,
        *,
        timeout_s: float,
        top_k: int = 5,
        traceparent: str = "",
        tracestate: str = "",
        owner: str = "",
        decode_ms: int = 0,
    ) -> str:
        """Put a job into the queue and return its handle, which only this owner may use; empty: anyone.

        It finds room where a caller of the usual timeout would. Raise QueueUnavailable, QueueFull, NoWorker or
        NotReplicated.
        """
        job_id, keys = secrets.token_hex(16), self._keys
        ttl_ms = max(int(min(timeout_s, MAX_TIMEOUT_S) * 1000), 1)
        reply_to, top_k = job_replies(job_id), min(top_k, MAX_TOP_K)
        job = Job(job_id, image, reply_to, ttl_ms, top_k, traceparent, decode_ms=decode_ms, tracestate=tracestate)
        row = (job.id, owner, image.encode(errors="replace"))
        arguments = (self._max_jobs, int(timeout_s) + REPLIES_KEPT_S, *row)
        own_keys = (keys.job_index, keys.replies(job.reply_to), keys.job_index_periods)
        replication = self._replication
        run = None if replication is None else replication.run
        _, (entry_id, *place) = self._producer.admit(
            job, None, ENQUEUE, own_keys, arguments, run=run, needs_worker=self._needs_worker
        )
        if entry_id is None:
            reason = f"{self._max_jobs} async jobs are kept already, as many as may be"
            raise QueueFull(self._max_jobs, self._max_jobs, 0.0, reason)
        handle = f"{job_id}-{entry_id.decode()}-{place[0].decode()}"
        if replication is not None:
            self._check_replicated(replication, handle, place[1])
        return handle

    def _check_replicated(self, replication: Replication, handle: str, replicas: int) -> None:
        """Take a job back that too few replicas have, and raise NotReplicated."""
        if replicas < replication.wanted:
            with suppress(QueueUnavailable, UnknownJob):  # then it is done, and no one requests it
                self.cancel(handle)
            raise NotReplicated(replicas, replication.wanted)

    def find(self, handle: str, *, owner: str | None = None) -> Found:
        """Return what came of a job; raise UnknownJob, also for one that was forgotten or is not this owner's.

        An owner of None may find any job.
        """
        return self._find(_Handle.read(handle), handle, owner)[1]

    def cancel(self, handle: str, *, owner: str | None = None) -> None:
        """Take a job back, or throw its answer away; raise UnknownJob as `find` does."""
        parsed = _Handle.read(handle)
        row, _ = self._find(parsed, handle, owner)
        keys = self._keys
        packet = pack("XDEL", keys.job_index, parsed.place) + pack("XDEL", row.stream, parsed.entry_id)
        for reply in self._exchange(packet + pack("DEL", keys.replies(parsed.reply_to)), 3):
            checked(reply)

    def _find(self, parsed: _Handle, handle: str, owner: str | None) -> tuple[_Row, Found]:
        """Look for a job and its reply; raises UnknownJob where it has neither, or its row is not this job's."""
        keys = self._keys
        # The job before the reply: its end and the reply are one step, so where it is gone the reply is there.
        streams = (keys.jobs, keys.expensive)
        packet = pack("XRANGE", keys.job_index, parsed.place, parsed.place)
        packet += b"".join(pack("XRANGE", stream, parsed.entry_id, parsed.entry_id) for stream in streams)
        packet += pack("XRANGE", keys.replies(parsed.reply_to), "-", "+", "COUNT", 1)
        places, *entries, replies = map(checked, self._exchange(packet, 4))
        row = _Row.read(places[0][1]) if places else None
        waiting = dict(zip(streams, entries, strict=True))
        if row is None or not row.is_of(parsed, owner) or not (replies or waiting.get(row.stream)):
            raise UnknownJob(handle)
        return row, Found(row.image, _decoded(replies[0][1]) if replies else None)


class Replication:
    """Waits until enough replicas have a job; refuses immediately while they recently did not."""

    def __init__(self, producer: Producer, wanted: int) -> None:
        self.wanted = wanted
        self._pipeline = producer.own_pipeline("sightline-jobs")
        self._failed = (0, -math.inf)

    def run(self, script: Script, words: Words) -> Any:
        """Run a script and return its reply, followed by how many replicas have what it wrote; raise NotReplicated."""
        replicas, failed_at = self._failed
        if time.monotonic() - failed_at < REFUSED_FOR_S:
            raise NotReplicated(replicas, self.wanted)
        reply, replicas = self._pipeline.run_replicated(script, words, self.wanted, CALLER_TIMEOUT_S)
        if replicas < self.wanted:
            self._failed = replicas, time.monotonic()
        return [*reply, replicas] if isinstance(reply, list) and len(reply) > 1 else reply


def _decoded(fields: list[bytes]) -> Reply:
    try:
        return decode_reply(fields[0], fields[1])
    except MessageError as error:
        raise QueueUnavailable(f"the answer of a job cannot be read: {error}") from error
