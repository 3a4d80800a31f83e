"""The queue as this process uses it: submit stored images, wait for answers or fetch them later, read its state.

One `_Queue` serves the whole process. The first call opens it, and another one replaces it when the settings change.
Single flight: while an image is in progress, equal requests wait for its answer.
"""

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from functools import partial
from operator import attrgetter
from typing import Any, Generic, TypeVar

from flask import Request

import settings
from images.uploads import StoredImage
from observability import metrics, tracing
from predict.prediction import USUAL_TOP_K, Prediction, PredictOptions, current_options
from server.load_shedding import EARLY_REFUSAL_BYTES
from wire import Answer, AsyncJobs, Failure, JobFailed, Producer, QueueFull, QueueSnapshot, ResultCache
from wire.errors import Abandoned, DeadlineExceeded, WireError
from wire.queue_stats import Memory
from wire.redis import address
from wire.result_cache import Question
from wire.worker_registry import Served

# The settings that make a queue; their values, in this order, name it.
_LIMITS = ("REDIS_QUEUE", "MAX_QUEUE_SIZE", "REQUEST_TIMEOUT_S", "CACHE_MAX_ENTRIES", "CACHE_TTL_S")
_OF_JOBS = ("MAX_JOBS", "JOBS_WAIT_REPLICAS", "ADMIT_WITHOUT_WORKERS")
_values = attrgetter(*address.SETTINGS, *_LIMITS, *_OF_JOBS)
# How often a follower checks whether its client is still there.
ABANDONED_EVERY_S = 0.1

Result = TypeVar("Result")
IsAbandoned = Callable[[], bool]
# Called with a deadline (monotonic) and a function that returns whether no caller waits any more.
Submit = Callable[[float, IsAbandoned | None], Result]


def model_predict(image_name: str) -> tuple[str, float]:
    """Return what a model worker answers about a stored image, a Prediction; raise the errors of `wire`.

    The options are those of `current_options`. With a SHA-256, a cached answer is used, and equal questions at the same
    time are one job.
    """
    options, queue = current_options.get(), _opened()
    timeout_s = settings.REQUEST_TIMEOUT_S if options.timeout_s is None else options.timeout_s
    if not options.sha256 or options.explain:
        answer, cache = queue.submit(image_name, options, timeout_s, options.is_abandoned), ""
    else:
        snapshot = queue.producer.snapshot()
        served = None if snapshot is None else snapshot.served
        find_or_submit = partial(queue.find_or_submit, image_name, options, served)
        (answer, cache), is_shared = queue.single_flight.share(
            (options.sha256, options.top_k, served), time.monotonic() + timeout_s, options.is_abandoned, find_or_submit
        )
        cache = "hit" if is_shared else cache
    return Prediction(answer.predictions[0], image_name, options.job_id, options.owner, answer=answer, cache=cache)


class _Queue:
    """What this process has open for one set of settings."""

    def __init__(self, values: tuple[Any, ...]) -> None:
        self.values = values
        redis = address.address_of(settings)
        queue, max_queue_size, timeout_s, cache_entries, cache_ttl_s, *of_jobs = values[len(address.SETTINGS) :]
        max_jobs, wait_replicas, admits_without_workers = of_jobs
        self.producer = Producer(redis, queue, max_queue_size=max_queue_size, timeout_s=timeout_s)
        self.cache = ResultCache(redis, queue, max_entries=cache_entries, ttl_s=cache_ttl_s)
        self.jobs = AsyncJobs(
            self.producer, max_jobs=max_jobs, wait_replicas=wait_replicas, needs_worker=not admits_without_workers
        )
        self.single_flight = SingleFlight[tuple[Answer, str]]()

    def find_or_submit(
        self,
        image_name: str,
        options: PredictOptions,
        served: Served | None,
        until: float,
        is_abandoned: IsAbandoned | None,
    ) -> tuple[Answer, str]:
        """Return a cached answer or a worker's, and the result of the look-up: hit, miss, or empty for none.

        `served` is what every worker serves; None, while they differ, is no time to keep answers.
        """
        if served is None:
            return self.submit(image_name, options, until - time.monotonic(), is_abandoned), ""
        question = Question(options.sha256, served)
        found = self.cache.find(question, options.top_k or USUAL_TOP_K)
        if found.answer is not None:
            return found.answer, "hit"
        answer = self.submit(image_name, options, until - time.monotonic(), is_abandoned)
        # Before any caller has it: later requests find either this one in progress or its answer.
        self.cache.keep(question, options.top_k or USUAL_TOP_K, answer, found.slot)
        return answer, "miss" if found.slot else ""

    def submit(
        self, image_name: str, options: PredictOptions, timeout_s: float, is_abandoned: IsAbandoned | None
    ) -> Answer:
        """Return a worker's answer; raise JobFailed where it read other bytes than were uploaded.

        Without both digests there is nothing to compare: the cache is off, or the worker is of an older version.
        """
        explain, spans = options.explain, tracing.state.spans
        answer = self.producer.submit(
            image_name,
            timeout_s=timeout_s,
            top_k=options.top_k or USUAL_TOP_K,
            traceparent=options.traceparent,
            tracestate=options.tracestate,
            job_id=options.job_id or None,
            is_abandoned=is_abandoned,
            admission=tracing.UNTRACED if spans is None else spans.admission(options.traceparent, options.tracestate),
            decode_ms=options.decode_ms,
            explain_rank=explain if isinstance(explain, int) else 0,
            explain_label=explain if isinstance(explain, str) else "",
            preview_side=options.preview_side,
            client=options.client,
            candidate=options.candidate,
        )
        if options.sha256 and answer.sha256 not in {"", options.sha256}:
            detail = "The stored image was replaced before the model read it. Send it again."
            raise JobFailed(Failure(answer.id, "image_missing", detail))
        return answer


def preview(image: StoredImage, options: PredictOptions, side: int) -> bytes:
    """Return a stored image as a JPEG of at most so many pixels a side, empty from a worker of an earlier release.

    Raise the errors of `wire`.
    """
    options = replace(options, sha256=image.sha256, decode_ms=image.decode_ms, preview_side=side)
    timeout_s = settings.REQUEST_TIMEOUT_S if options.timeout_s is None else options.timeout_s
    return _opened().submit(image.name, options, timeout_s, options.is_abandoned).preview


def candidate(image: StoredImage, options: PredictOptions) -> Answer:
    """Return the answer to a stored image with that of the version that is tried, where the worker tries one.

    Raise the errors of `wire`.
    """
    options = replace(options, sha256=image.sha256, decode_ms=image.decode_ms, candidate=True)
    timeout_s = settings.REQUEST_TIMEOUT_S if options.timeout_s is None else options.timeout_s
    return _opened().submit(image.name, options, timeout_s, options.is_abandoned)


@dataclass
class _Process:
    queue: _Queue | None = None


_process = _Process()
_lock = threading.Lock()


def _opened() -> _Queue:
    queue, values = _process.queue, _values(settings)
    if queue is None or queue.values != values:
        queue = _replaced(values)
    return queue


def _replaced(values: tuple[Any, ...]) -> _Queue:
    with _lock:
        if _process.queue is None or _process.queue.values != values:
            if _process.queue is not None:
                _process.queue.producer.close()
            _process.queue = _Queue(values)
        return _process.queue


def open_queue() -> None:
    """Begin to read the queue's state, so that it is known when the first request comes."""
    _opened().producer.snapshot()


def close_queue() -> None:
    """End the threads, and remove what Redis holds for this process; the next call opens the queue again."""
    with _lock:
        if _process.queue is not None:
            _process.queue.producer.close()
            _process.queue = None


def async_jobs() -> AsyncJobs:
    """Return the async jobs of this queue, to find and to cancel."""
    return _opened().jobs


def submit_job(image: StoredImage, options: PredictOptions) -> str:
    """Submit an async job about a stored image and return its handle; raise the errors of `wire`."""
    queue = _opened()
    with tracing.admission(options.traceparent, options.tracestate):
        return queue.jobs.enqueue(
            image.name,
            timeout_s=settings.JOB_TIMEOUT_S,
            top_k=max(USUAL_TOP_K, options.top_k or 0),
            traceparent=options.traceparent,
            tracestate=options.tracestate,
            owner=options.owner,
            decode_ms=image.decode_ms,
        )


def check_room(count: int = 1, client: str = "") -> None:
    """Raise QueueFull where the queue is known to have no room for so many jobs; pass while its state is unknown.

    An empty queue takes any number of jobs: otherwise so many could never be sent.
    """
    refusal = room_fault(count, client)
    if refusal is not None:
        metrics.count_drop(refusal)
        raise refusal


def room_fault(count: int = 1, client: str | None = "") -> QueueFull | None:
    """Return why the queue has no room for so many jobs; None where it has, or its state is unknown.

    `client` is whose jobs they are, empty for nobody's, None where that is not known yet.
    """
    return None if _process.queue is None else _process.queue.producer.room_fault(count, client)


def queue_bound() -> int | None:
    """Return how many jobs the queue takes; None while that is unknown."""
    state = queue_state()
    return None if state is None else state.bound


def check_room_early(request: Request, client: str = "") -> None:
    """Raise QueueFull before a large body is read, where the queue is known to be full."""
    if request.content_length is None or request.content_length > EARLY_REFUSAL_BYTES:
        check_room(client=client)


def check_expensive(decode_ms: int) -> None:
    """Raise QueueFull for an image of so many milliseconds that is known to find no room; from any thread."""
    if _process.queue is not None:
        _process.queue.producer.check_expensive(decode_ms, settings.REQUEST_TIMEOUT_S)


def queue_state() -> QueueSnapshot | None:
    """Return the last state of the queue that was read, without waiting; None where there is none."""
    return None if _process.queue is None else _process.queue.producer.snapshot()


def redis_memory() -> Memory:
    """Return what Redis uses of its memory; raise QueueUnavailable."""
    return _opened().producer.memory()


def refresh_queue_state() -> QueueSnapshot:
    """Read the state of the queue now and return it; raise QueueUnavailable."""
    return _opened().producer.refresh()


@dataclass(eq=False, slots=True)
class _Call(Generic[Result]):
    """One request in progress; it ends with an answer, a failure, or neither where its leader alone gave up.

    Each follower waits for an event of its own. Of several that wait for one, with time-outs, gevent (26.9.0) forgets
    some for ever: one whose time-out meets the event being set, and who waits again while another's does the same.
    """

    followers: list[threading.Event] = field(default_factory=list)
    answer: Result | None = None
    failure: WireError | None = None


class SingleFlight(Generic[Result]):
    """The requests in progress in this process, each submitted once."""

    def __init__(self) -> None:
        self._calls: dict[Hashable, _Call[Result]] = {}
        self._lock = threading.Lock()

    def followers(self) -> int:
        """Return how many callers wait for the answer to another one's question."""
        return sum(len(call.followers) for call in list(self._calls.values()))

    def share(
        self, question: Hashable, until: float, is_abandoned: IsAbandoned | None, submit: Submit[Result]
    ) -> tuple[Result, bool]:
        """Return the answer, and whether another caller submitted it; wait until `until` (monotonic) at most.

        What `submit` raises is raised for every caller, except for what concerns only the one who called it: its
        deadline, or its client going away. Then another caller submits.
        """
        while True:
            with self._lock:
                call = self._calls.get(question)
                is_leader = call is None
                if call is None:
                    call = self._calls[question] = _Call()
                else:
                    call.followers.append(landed := threading.Event())
            if is_leader:
                return self._lead(question, call, until, is_abandoned, submit), False
            self._follow(call, landed, until, is_abandoned)
            if call.failure is not None:
                raise _copy(call.failure)
            if call.answer is not None:
                return call.answer, True

    def _lead(
        self,
        question: Hashable,
        call: _Call[Result],
        until: float,
        is_abandoned: IsAbandoned | None,
        submit: Submit[Result],
    ) -> Result:
        # The job continues as long as a request waits for it.
        gone = None if is_abandoned is None else lambda: not call.followers and is_abandoned()
        try:
            call.answer = submit(until, gone)
            return call.answer
        except (Abandoned, DeadlineExceeded):
            raise
        except WireError as failure:
            call.failure = failure
            raise
        finally:
            with self._lock:
                del self._calls[question]
            # There are no further followers now; one that leaves meanwhile needs no event.
            for landed in list(call.followers):
                landed.set()

    def _follow(
        self, call: _Call[Result], landed: threading.Event, until: float, is_abandoned: IsAbandoned | None
    ) -> None:
        longest_s = float("inf") if is_abandoned is None else ABANDONED_EVERY_S
        try:
            while not landed.wait(min(_left_s(until), longest_s)):
                if is_abandoned is not None and is_abandoned():
                    raise Abandoned("no one waits for this answer any more")
        finally:
            with self._lock:
                call.followers.remove(landed)


def _left_s(until: float) -> float:
    left_s = until - time.monotonic()
    if left_s <= 0:
        raise DeadlineExceeded("the time for this answer has passed")
    return left_s


def _copy(failure: WireError) -> WireError:
    """Return a failure for one more caller to raise: each puts its own traceback on it."""
    copy = type(failure).__new__(type(failure), *failure.args)
    vars(copy).update(vars(failure))
    return copy
