"""The api's side of the queue: submit jobs, wait for their answers, and know whether there is room for more."""

from __future__ import annotations

import functools
import itertools
import math
import os
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from dataclasses import replace
from typing import Any, Final

from wire.errors import Abandoned, DeadlineExceeded, NoWorker, QueueFull, QueueUnavailable, ShareUsed
from wire.messages import Answer, Job, JobFailed
from wire.process.fork import renew_after_fork
from wire.producer.admission import (
    SHARE_IS_USED,
    SHARE_OF_A_CLIENT,
    SUBMIT,
    Terms,
    admitted,
    bounds_for,
    burst_for,
    probe,
    terms_for,
)
from wire.producer.replies import Counts, Recovery, Replies, Waiter
from wire.queue_stats import REFRESH_EVERY_S, STALE_AFTER_S, Admission, Capacity, Memory, QueueSnapshot, QueueStats
from wire.redis.address import Address
from wire.redis.connection import CALLER_TIMEOUT_S
from wire.redis.keys import Keys
from wire.redis.loop import Loop
from wire.redis.pipeline import Pipeline, Script, Words
from wire.redis.resp import checked, pack

UNTRACED: Final = nullcontext()
# For so long a client that has its share of the queue is refused without another look at it.
SHARE_USED_S: Final = 0.1
MAX_NOTED_CLIENTS: Final = 1000
UNKNOWN: Final = Capacity()
# Runs a script with its words and returns its reply.
Run = Callable[[Script, Words], Any]


class Producer:
    """Submits jobs to model workers; one for each process, for any number of threads or greenlets.

    Opens nothing until it is used, and is reset in a child process after a fork. Where gevent has patched the process,
    it is for greenlets, not for the real threads of gevent's pool. `max_queue_size` bounds the queue, in photographs;
    0: by what the workers can do within `timeout_s`. `worker_grace_s` is for how long jobs are still admitted once
    no worker is found to be alive: one that is being restarted finds them. `redis_timeout_s` is how long Redis may take
    before it counts as away.
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
        self._queue = queue
        self.keys = Keys(queue)
        self._pipeline = Pipeline.to(address)
        self._max_queue_size = max_queue_size
        self._usual_timeout_s = timeout_s
        self._worker_grace_s = worker_grace_s
        self._redis_timeout_s = redis_timeout_s
        self.renew()
        renew_after_fork(self)

    def renew(self) -> None:
        """Start with a new reply stream, threads and numbers; the existing ones belong to the parent."""
        self._name = f"{os.getpid()}-{secrets.token_hex(8)}"
        self._numbers = itertools.count(1)
        self._counts = Counts()
        # How many jobs each client waits for in this process; and until when a client was refused for its share.
        self._held: dict[str, int] = {}
        self._share_used: dict[str | None, float] = {}
        self._replies = replies = Replies(self._address, self.keys, self._name, self._counts)
        admission = Admission(self._bounds, replies.waiters.__len__, SUBMIT, functools.partial(probe, self.keys))
        self._stats = QueueStats(self._address, self._queue, timeout_s=self._redis_timeout_s, admission=admission)
        self._recovery = Recovery(self.keys, self.exchange, self._run, replies, self._counts)
        step = functools.partial(_look_after, replies, self._stats, self._recovery)
        self._loop = Loop("queue-stats", step, REFRESH_EVERY_S)

    def submit(  # noqa: PLR0913  a request has that many sides; all but the image go by keyword
        self,
        image: str,
        *,
        timeout_s: float,
        top_k: int = 5,
        traceparent: str = "",
        tracestate: str = "",
        job_id: str | None = None,
        is_abandoned: Callable[[], bool] | None = None,
        decode_ms: int = 0,
        admission: AbstractContextManager[object] = UNTRACED,
        explain_rank: int = 0,
        explain_label: str = "",
        preview_side: int = 0,
        candidate: bool = False,
        client: str = "",
    ) -> Answer:
        """Submit a job and wait for its answer, with what else is wanted: see wire.messages.Job.

        `is_abandoned` is polled by a thread: once true, the job is taken back. `decode_ms` is what the image is
        estimated to take to decode (wire.decode_cost); `admission` is held while the job is added.
        Raise QueueUnavailable, QueueFull, NoWorker, DeadlineExceeded, Abandoned or JobFailed.
        """
        self._ensure_running()
        replies, recovery = self._replies, self._recovery  # those of the parent, where this is forked meanwhile
        ttl_ms = max(int(timeout_s * 1000), 1)
        rare = (explain_rank, explain_label, decode_ms, tracestate, preview_side, candidate)
        job = Job(job_id or f"{self._name}-{next(self._numbers)}", image, self._name, ttl_ms, top_k, traceparent, *rare)
        waiter = Waiter(job, time.monotonic() + timeout_s, is_abandoned)
        if replies.waiters.setdefault(job.id, waiter) is not waiter:
            raise ValueError(f"job id {job.id!r} is in use: give each job an id of its own")
        held = self._held
        held[client] = held.get(client, 0) + 1
        try:
            with admission:
                waiter.stream, (waiter.entry_id, *_) = self.admit(job, timeout_s, client=client)
            return _wait(waiter)
        finally:
            replies.waiters.pop(job.id, None)
            held[client] -= 1
            if not held[client]:
                del held[client]
            if waiter.reply is None and waiter.entry_id is not None:
                recovery.withdraw(waiter.stream, waiter.entry_id)

    def admit(  # noqa: PLR0913  all but the first five go by keyword
        self,
        job: Job,
        timeout_s: float | None = None,
        script: Script = SUBMIT,
        keys: Sequence[str] = (),
        arguments: Sequence[str | bytes | int] = (),
        *,
        run: Run | None = None,
        needs_worker: bool = True,
        client: str = "",
    ) -> tuple[str, list[Any]]:
        """Add a job on the terms of a caller with this timeout; return its stream, its entry and the script's results.

        `timeout_s` is the usual timeout if not given; `keys` and `arguments` are what the script takes beyond the job,
        which `run` may run in a way of its own. Raise NoWorker, unless none is needed, QueueFull or QueueUnavailable.
        """
        stats, snapshot = self._stats, self._fresh_snapshot()
        if stats.fault is not None:
            raise copy(stats.fault)
        if needs_worker and snapshot is not None and not snapshot.workers:
            snapshot = self._with_workers(snapshot)
        capacity = UNKNOWN if snapshot is None else snapshot.capacity
        timeout_s = self._usual_timeout_s if timeout_s is None else timeout_s
        terms = terms_for(job, self.keys, capacity, timeout_s, self._max_queue_size)
        terms.client, own = client, len(self._replies.waiters)
        try:
            words = terms.words(self.keys, job.encode(), keys, arguments)
            [reply] = (
                self._pipeline.run(script, [words], self._redis_timeout_s) if run is None else [run(script, words)]
            )
            depth, *found = admitted(reply, terms, capacity.rate)
        except ShareUsed:
            if len(self._share_used) >= MAX_NOTED_CLIENTS:
                self._share_used.clear()
            self._share_used[client] = time.monotonic() + SHARE_USED_S
            raise
        except QueueFull as full:
            self._note_refusal(stats, terms, full.depth, own - (job.reply_to == self._name))
            raise
        except QueueUnavailable as fault:
            if run is None:  # another connection may be slow for reasons of its own
                stats.fault = fault
            raise
        if terms.stream == self.keys.jobs and found[0] is not None:
            stats.found = depth + math.ceil(terms.cost), own
        return terms.stream, found

    def room_fault(self, count: int = 1, client: str | None = "") -> QueueFull | None:
        """Return the refusal of so many usual jobs, by the rule of the script that admits them; None if there is room.

        It uses the known state, without a round trip: a job that passes may still be refused when it is submitted. An
        empty queue admits any number, else they could never be sent, and so does one of unknown state. A `client` that
        has few jobs here may have few elsewhere, and one that is not known yet (None), too.
        """
        snapshot, depth = self.snapshot(), self.depth()
        if snapshot is None or depth == 0:
            return None
        if client in self._share_used and time.monotonic() < self._share_used[client]:
            return ShareUsed(depth, snapshot.bound, snapshot.rate, SHARE_IS_USED)
        if depth + count <= snapshot.bound:
            return None
        is_small = client is None or (client and 4 * self._held.get(client, 0) < SHARE_OF_A_CLIENT * snapshot.bound)
        if is_small and not snapshot.expensive_depth and depth + count <= self._spare(snapshot):
            return None
        burst, burst_bound = burst_for(snapshot.capacity, self._usual_timeout_s)
        has_burst = not (self._max_queue_size or snapshot.expensive_depth)
        # What has come since then may be as many jobs as it costs photographs.
        jobs = snapshot.jobs + max(depth - snapshot.depth, 0)
        if has_burst and jobs + count <= burst and depth + count <= burst_bound:
            return None
        return QueueFull(depth, snapshot.bound, snapshot.rate)

    def _spare(self, snapshot: QueueSnapshot) -> float:
        """Return the depth up to which a client that holds little is admitted."""
        job = Job("", "", "", 1)
        return terms_for(job, self.keys, snapshot.capacity, self._usual_timeout_s, self._max_queue_size).spare

    def check_expensive(self, decode_ms: int, timeout_s: float) -> None:
        """Raise QueueFull where an expensive job like this one was refused lately, and there is no more room now.

        It makes no round trip, so it may run in any thread. A job that passes may still be refused when it is
        submitted.
        """
        stats = self._stats
        capacity = stats.latest.capacity if stats.latest is not None else UNKNOWN
        job = Job("", "", "", max(int(timeout_s * 1000), 1), decode_ms=decode_ms)
        terms = terms_for(job, self.keys, capacity, timeout_s, self._max_queue_size)
        # As if the share had worked all the time since then.
        depth = stats.refused_depth(terms.share_per_ms * 1000)
        if terms.stream == self.keys.expensive and depth > max(terms.bound - terms.cost, 0):
            raise QueueFull(math.ceil(depth), round(terms.bound), capacity.rate)

    def depth(self) -> int:
        """Return the depth of the usual jobs, in photographs, by now.

        That of others when it was last found, by a submission or a look, and one for each caller of this process, also
        while its job is being submitted.
        """
        return self._stats.depth()

    def snapshot(self) -> QueueSnapshot | None:
        """Return the last snapshot without waiting; None while it is unknown or Redis is away."""
        self._ensure_running()
        return self._fresh_snapshot()

    def refresh(self) -> QueueSnapshot:
        """Read depth and workers now, within 300 ms; raise QueueUnavailable."""
        self._ensure_running()
        return self._stats.refresh()

    def exchange(self, packet: bytes, replies: int) -> list[Any]:
        """Send commands that may run twice, and return their replies; raise QueueUnavailable."""
        return self._pipeline.exchange(packet, replies, self._redis_timeout_s)

    def memory(self) -> Memory:
        """Return what Redis uses of its memory; raise QueueUnavailable, also where its user may not ask."""
        [reply] = self.exchange(pack("INFO", "memory"), 1)
        return Memory.read(checked(reply))

    def own_pipeline(self, name: str) -> Pipeline:
        """Return another connection to the same Redis, for commands that hold up what follows them."""
        return Pipeline(self._address, name)

    def in_flight(self) -> int:
        """Return how many callers of this process wait for a job that is in the queue."""
        return self._replies.in_queue()

    def counts(self) -> Counts:
        """Return a copy of what this process' producer has counted so far."""
        return replace(self._counts)

    def close(self) -> None:
        """End the threads, fail all waiting callers, and remove the reply stream; the next use starts again."""
        replies, loop = self._replies, self._loop
        self.renew()
        loop.stop()
        replies.close(self.exchange)

    def _with_workers(self, snapshot: QueueSnapshot) -> QueueSnapshot:
        """Return a snapshot without workers where one may come back, else a new one; raise NoWorker.

        Another process of the api may have reported already that a worker is ready.
        """
        if self._stats.has_workers_within(self._worker_grace_s):
            return snapshot
        snapshot = self._stats.refresh()
        if not snapshot.workers:
            raise NoWorker(snapshot.startup_error)
        return snapshot

    def _fresh_snapshot(self) -> QueueSnapshot | None:
        latest = self._stats.latest
        return latest if latest is not None and time.monotonic() - latest.as_of < STALE_AFTER_S else None

    def _ensure_running(self) -> None:
        if not (self._loop.is_running and self._replies.is_running):
            self._replies.start()
            self._loop.start()

    def _run(self, calls: Sequence[Words]) -> list[Any]:
        # Where the connection breaks it is unknown whether the jobs went in, so the same ids go again: a job that runs
        # twice does no harm, and its second reply is dropped.
        return self._pipeline.run(SUBMIT, calls, self._redis_timeout_s)

    def _note_refusal(self, stats: QueueStats, terms: Terms, depth: int, own: int) -> None:
        if terms.stream == self.keys.expensive:
            stats.report_expensive_refusal(depth)
        elif depth:  # 0: Redis is out of memory
            stats.found = depth, own

    def _bounds(self, capacity: Capacity) -> tuple[int, int]:
        return bounds_for(capacity, self._usual_timeout_s, self._max_queue_size)


def _look_after(replies: Replies, stats: QueueStats, recovery: Recovery) -> None:
    replies.start()
    replies.release_abandoned()
    stats.refresh(workers=False)
    recovery.run()


def _wait(waiter: Waiter) -> Answer:
    if not waiter.done.wait(max(waiter.until - time.monotonic(), 0.0)):
        raise DeadlineExceeded(f"job {waiter.job.id} was not answered in time")
    reply = waiter.reply
    if isinstance(reply, Answer):
        return reply
    if reply is not None and reply.code == "expired":
        raise DeadlineExceeded(f"job {reply.id} expired in the queue: {reply.detail}")
    if reply is not None:
        raise JobFailed(reply)
    if waiter.was_abandoned:
        raise Abandoned(f"no one waits for job {waiter.job.id} any more")
    raise QueueUnavailable("the producer was closed while the job was running")
