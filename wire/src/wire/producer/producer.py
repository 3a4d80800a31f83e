"""The api's side of the queue: ask, and wait for the answer."""

from __future__ import annotations

import itertools
import math
import os
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Final

from wire.errors import Abandoned, DeadlineExceeded, NoWorker, QueueFull, QueueUnavailable
from wire.messages import Answer, Job, JobFailed, Reply
from wire.producer.admission import bound_for, retry_after_s, terms_for
from wire.producer.replies import Counts, Recovery, Replies, Waiter
from wire.producer.submission import Submitter, Ticket
from wire.queue_stats import REFRESH_EVERY_S, QueueSnapshot, QueueStats
from wire.redis.connection import CALLER_TIMEOUT_S, Address
from wire.redis.keys import Keys
from wire.redis.loop import Loop
from wire.worker_registry import WorkerInfo

UNWATCHED: Final = nullcontext()


class Producer:
    """Asks model workers, one for each process, for any number of threads or greenlets.

    Opens nothing until it is used, and begins anew in a child after a fork. Where gevent has patched the process, it is
    for greenlets, not for the real threads of gevent's pool. `worker_grace_s` is how long jobs are
    still let in after the last live worker was seen: one that is being restarted finds them. `redis_timeout_s` is how
    long Redis may take before it counts as away.
    """

    def __init__(  # noqa: PLR0913  the limits go by keyword
        self,
        address: Address,
        queue: str,
        *,
        max_queue_size: int = 0,
        timeout_s: float = 5.0,
        worker_grace_s: float = 3.0,
        redis_timeout_s: float = CALLER_TIMEOUT_S,
    ) -> None:
        self._address = address
        self._keys = Keys(queue)
        self._max_queue_size = max_queue_size
        self._usual_timeout_s = timeout_s
        self._worker_grace_s = worker_grace_s
        self._redis_timeout_s = redis_timeout_s
        self._desks: dict[int, _Desk] = {}

    def submit(  # noqa: PLR0913  a request has that many sides; all but the image go by keyword
        self,
        image: str,
        *,
        timeout_s: float,
        top_k: int = 5,
        traceparent: str = "",
        job_id: str | None = None,
        is_abandoned: Callable[[], bool] | None = None,
        decode_ms: int = 0,
        admission: AbstractContextManager[object] = UNWATCHED,
        explain_rank: int = 0,
        explain_label: str = "",
    ) -> Answer:
        """Submit a job and wait for its answer; with a map where one class is to be explained: see wire.messages.Job.

        `is_abandoned` is polled by a thread: once true, the job is taken back. `decode_ms` is what the image is
        estimated to take to decode (wire.decode_cost); `admission` is held while the job is added.
        Raises QueueUnavailable, QueueFull, NoWorker, DeadlineExceeded, Abandoned or JobFailed.
        """
        desk = self._desk()
        ttl_ms = max(int(timeout_s * 1000), 1)
        rare = (explain_rank, explain_label, decode_ms)
        job = Job(job_id or desk.next_id(), image, desk.process, ttl_ms, top_k, traceparent, *rare)
        waiter = Waiter(job, time.monotonic() + timeout_s, is_abandoned)
        desk.replies.expect(waiter)
        try:
            with admission:
                self._submit(desk, waiter, timeout_s)
            return _answer_of(_wait(waiter))
        finally:
            desk.dismiss(waiter)

    def snapshot(self) -> QueueSnapshot | None:
        """Give the last look at the queue without waiting; None while it is unknown or Redis is away."""
        return self._desk().stats.snapshot()

    def check_expensive(self, state: QueueSnapshot, decode_ms: int, timeout_s: float) -> None:
        """Raise QueueFull where an expensive job like this one was refused lately, and there is no more room now.

        It asks nobody, so it may run in any thread. What it lets pass may still be refused when it is submitted.
        """
        ttl_ms = max(int(timeout_s * 1000), 1)
        job = Job("", "", "", ttl_ms, decode_ms=decode_ms)
        terms = terms_for(job, self._keys, state.workers, timeout_s, self._max_queue_size)
        # As if the share had worked all the time since then.
        depth = state.refused_depth - terms.share_per_ms * 1000 * (time.monotonic() - state.refused_at)
        if terms.stream == self._keys.expensive and depth > max(terms.bound - terms.cost, 0):
            raise QueueFull(math.ceil(depth), round(terms.bound), retry_after_s(math.ceil(depth), state.rate))

    def refresh(self) -> QueueSnapshot:
        """Look now, within 300 ms; raises QueueUnavailable."""
        return self._desk().stats.refresh()

    def depth(self, state: QueueSnapshot) -> int:
        """Give how many jobs the queue has by now, or will have in a moment.

        Those of others at that look; and one for each caller of this process, also while it is being handed in.
        """
        desk = self._desks.get(os.getpid())
        # A caller who has not yet heard of his answer counts for a job that the queue has no more: never below none.
        return max(state.depth - state.own, 0) + (len(desk.replies) if desk is not None else 0)

    def in_flight(self) -> int:
        """Give how many callers of this process wait for a job that is in the queue."""
        return self._desk().replies.in_queue()

    def counts(self) -> Counts:
        """Give a copy of what this process' producer has seen so far."""
        return replace(self._desk().counts)

    def close(self) -> None:
        """End the threads, fail whoever still waits, and remove the reply stream."""
        desk = self._desks.pop(os.getpid(), None)
        if desk is not None:
            desk.close()

    def _desk(self) -> _Desk:
        pid = os.getpid()
        desk = self._desks.get(pid)
        if desk is None:
            # No lock: one that another thread held at the moment of a fork would stay locked in the child for ever.
            desk = self._desks.setdefault(
                pid, _Desk(self._address, self._keys, self._usual_bound, self._redis_timeout_s)
            )
            self._drop_inherited(pid)
        desk.ensure_running()
        return desk

    def _drop_inherited(self, own_pid: int) -> None:
        for pid in set(self._desks) - {own_pid}:
            inherited = self._desks.pop(pid, None)
            if inherited is not None:
                inherited.drop()

    def _submit(self, desk: _Desk, waiter: Waiter, timeout_s: float) -> None:
        if desk.stats.fault is not None:
            raise QueueUnavailable(str(desk.stats.fault))
        state = desk.stats.snapshot()
        if state is not None and not state.workers and not desk.stats.worker_seen_within(self._worker_grace_s):
            raise NoWorker(state.startup_error)
        workers, rate = (state.workers, state.rate) if state is not None else ((), 0.0)
        terms = terms_for(waiter.job, self._keys, workers, timeout_s, self._max_queue_size)
        ticket = Ticket(waiter.job.encode(), terms)
        waiter.stream = terms.stream
        desk.submitter.submit([ticket])
        try:
            waiter.entry_id = ticket.entry_id(rate)
        except QueueFull as fault:
            if terms.stream == self._keys.jobs:
                desk.stats.report_depth(fault.depth, desk.replies.in_queue())
            else:
                desk.stats.report_expensive_refusal(fault.depth)
            raise
        except QueueUnavailable as fault:
            desk.stats.report_fault(fault)
            raise

    def _usual_bound(self, workers: Sequence[WorkerInfo]) -> int:
        return bound_for(workers, self._usual_timeout_s, self._max_queue_size)


class _Desk:
    """What one process needs to ask: its name, its reply stream, its connections and its two threads."""

    def __init__(
        self, address: Address, keys: Keys, bound: Callable[[Sequence[WorkerInfo]], int], redis_timeout_s: float
    ) -> None:
        self.process = f"{os.getpid()}-{secrets.token_hex(8)}"
        self.counts = Counts()
        self.replies = Replies(address, keys, self.process, self.counts)
        self.submitter = Submitter(address, keys, redis_timeout_s)
        self.stats = QueueStats(address, keys, bound, redis_timeout_s, lambda: len(self.replies))
        self._recovery = Recovery(keys, self.stats, self.replies, self.submitter, self.counts)
        self._loop = Loop("queue-watch", self._look_after, REFRESH_EVERY_S)
        self._numbers = itertools.count(1)

    def next_id(self) -> str:
        """Give an id that no other job of any process has."""
        return f"{self.process}-{next(self._numbers)}"

    def ensure_running(self) -> None:
        """Start the threads, or start again what has died."""
        self.replies.ensure_running()
        self._loop.ensure_running()

    def dismiss(self, waiter: Waiter) -> None:
        """End the waiting; what was not answered is taken back."""
        self.replies.forget(waiter)
        if waiter.reply is None and waiter.entry_id is not None:
            self._recovery.withdraw(waiter.stream, waiter.entry_id)

    def close(self) -> None:
        """End the threads and close the connections."""
        self._loop.stop()
        self.replies.close(self.stats.exchange)
        self.drop()

    def drop(self) -> None:
        """Let go of the sockets, which in a child are the parent's."""
        self.submitter.close()
        self.replies.drop()
        self.stats.close()

    def _look_after(self) -> None:
        self.replies.ensure_running()
        self.replies.release_abandoned()
        self.stats.refresh()
        self._recovery.run()


def _wait(waiter: Waiter) -> Reply:
    if not waiter.done.wait(max(waiter.until - time.monotonic(), 0.0)):
        message = f"job {waiter.job.id} was not answered in time"
        raise DeadlineExceeded(message)
    if waiter.reply is not None:
        return waiter.reply
    if waiter.was_abandoned:
        message = f"nobody waits for job {waiter.job.id} any more"
        raise Abandoned(message)
    message = "the producer was closed while the job was under way"
    raise QueueUnavailable(message)


def _answer_of(reply: Reply) -> Answer:
    if isinstance(reply, Answer):
        return reply
    if reply.code == "expired":
        raise DeadlineExceeded(f"job {reply.id} expired in the queue: {reply.detail}")
    raise JobFailed(reply)
