"""From a stored picture to what the model says of it, through the queue."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import NamedTuple

import settings
from observability import tracing
from predict.result_cache import ResultCache
from wire.async_jobs import AsyncJobs, Found
from wire.errors import QueueFull
from wire.messages import ActivationMap, Answer, Failure, JobFailed
from wire.producer.admission import retry_after_s
from wire.producer.producer import Producer
from wire.queue_stats import QueueSnapshot
from wire.redis.connection import Address
from wire.result_cache import AnswerCache, served_by_all

# An answer holds this many classes even where one was asked for: the page shows them, and a cache can share them.
USUAL_TOP_K = 5
# More than between two looks at the queue.
MAX_HANDED_IN = 4096


@dataclass(frozen=True, slots=True)
class Ask:
    """What a request may say about its job, beyond the picture.

    With a `sha256` of the uploaded bytes the cache is asked, unless a map is wanted, and an answer about other bytes is
    refused.
    """

    job_id: str = ""
    sha256: str = ""
    top_k: int = USUAL_TOP_K
    timeout_s: float | None = None
    traceparent: str = ""
    is_abandoned: Callable[[], bool] | None = None
    # One class to say where the model looked for: by its place among the best, or by its name.
    explain_rank: int = 0
    explain_label: str = ""
    # What the image is estimated to take to decode (wire.decode_cost).
    decode_ms: int = 0

    @property
    def is_explained(self) -> bool:
        """Whether a map is wanted, which no cached answer has."""
        return bool(self.explain_rank or self.explain_label)


# Beside the call rather than in it: `model_predict` takes the picture's name and nothing else, by contract.
current_ask: ContextVar[Ask] = ContextVar("current_ask", default=Ask())  # noqa: B039  frozen


class Prediction(tuple[str, float]):
    """The best class and its score, as a pair, with everything else that the worker answered as attributes.

    `cache` is "hit" where it cost no job of its own, "miss" where it did, and empty where no cache was asked.
    """

    predictions: tuple[tuple[str, float], ...]
    model: str
    model_version: str
    timings: Mapping[str, float]
    cache: str
    activation_map: ActivationMap | None

    def __new__(cls, answer: Answer, cache: str = "") -> "Prediction":
        """Make the pair of the answer's first class."""
        prediction = super().__new__(cls, answer.predictions[0])
        prediction.predictions = answer.predictions
        prediction.model = answer.model
        prediction.model_version = answer.version
        # Those of somebody else's job say nothing of this request.
        prediction.timings = {} if cache == "hit" else answer.timings
        prediction.cache = cache
        prediction.activation_map = answer.activation_map
        return prediction


def model_predict(image_name: str) -> tuple[str, float]:
    """Ask a model worker what is in a stored picture; raises the errors of `wire`."""
    ask = current_ask.get()
    queue = _opened()
    timeout_s = settings.REQUEST_TIMEOUT_S if ask.timeout_s is None else ask.timeout_s

    def ask_worker(timeout_s: float, is_abandoned: Callable[[], bool] | None) -> Answer:
        answer = queue.producer.submit(
            image_name,
            timeout_s=timeout_s,
            top_k=ask.top_k,
            traceparent=ask.traceparent,
            job_id=ask.job_id or None,
            is_abandoned=is_abandoned,
            admission=tracing.admission(ask.traceparent),
            decode_ms=ask.decode_ms,
            explain_rank=ask.explain_rank,
            explain_label=ask.explain_label,
        )
        return _of_the_upload(answer, ask.sha256)

    if not ask.sha256 or ask.is_explained:
        return Prediction(ask_worker(timeout_s, ask.is_abandoned))
    answer, is_hit = queue.results.answer(
        ask.sha256,
        ask.top_k,
        served_by_all(queue.producer.snapshot()),
        timeout_s=timeout_s,
        is_abandoned=ask.is_abandoned,
        ask=lambda until, is_abandoned: ask_worker(until - time.monotonic(), is_abandoned),
    )
    return Prediction(answer, "hit" if is_hit else "miss")


def _of_the_upload(answer: Answer, sha256: str) -> Answer:
    """Return an answer unless the worker read other bytes than were uploaded; raise JobFailed.

    Without both digests there is nothing to compare: the cache is off, or the worker is of an older version.
    """
    if sha256 and answer.sha256 not in {"", sha256}:
        detail = "The stored image was replaced before the model read it. Send it again."
        raise JobFailed(Failure(answer.id, "image_missing", detail))
    return answer


def hand_in(image_name: str, ask: Ask, owner: str = "") -> str:
    """Hand in an owner's job for a stored picture and give its handle; raises the errors of `wire`."""
    queue = _opened()
    with tracing.admission(ask.traceparent):
        handle = queue.jobs.enqueue(
            image_name,
            state=queue.producer.snapshot(),
            usual_timeout_s=settings.REQUEST_TIMEOUT_S,
            timeout_s=settings.JOB_TIMEOUT_S,
            top_k=ask.top_k,
            traceparent=ask.traceparent,
            owner=owner,
            decode_ms=ask.decode_ms,
        )
    queue.handed_in_at.append(time.monotonic())
    return handle


def look(handle: str, owner: str | None) -> Found:
    """Give what came of an owner's job, or of anybody's (None); raises UnknownJob."""
    return _opened().jobs.find(handle, owner=owner)


def cancel(handle: str, owner: str | None) -> None:
    """Take an owner's job back, or anybody's (None); raises UnknownJob."""
    _opened().jobs.cancel(handle, owner=owner)


def refuse_if_full(count: int = 1) -> None:
    """Raise QueueFull where the queue is known to have no room for so many; let all pass while its state is unknown.

    An empty queue takes as many as come, else nobody could ever send them.
    """
    fault = room_fault(count)
    if fault is not None:
        raise fault


def room_fault(count: int = 1) -> QueueFull | None:
    """Return why the queue has no room for so many jobs; None where it has, or its state is unknown."""
    state = queue_state()
    found = 0 if state is None else depth(state)
    if state is None or found == 0 or found + count <= state.bound:
        return None
    return QueueFull(found, state.bound, retry_after_s(found, state.rate))


def queue_bound() -> int | None:
    """Return how many jobs the queue takes; None while that is unknown."""
    state = queue_state()
    return None if state is None else state.bound


def expensive_check() -> Callable[[int], None]:
    """Return what raises QueueFull for an image of so many milliseconds that is known to find no room.

    It goes by what is known now, and may be called from any thread.
    """
    queue, timeout_s = _open.queue, settings.REQUEST_TIMEOUT_S

    def check(decode_ms: int) -> None:
        if queue is not None:
            queue.producer.check_expensive(decode_ms, timeout_s)

    return check


def depth(state: QueueSnapshot) -> int:
    """Give how many jobs the queue has by now: that look's, with what this process has done to it since then."""
    return state.depth if _open.queue is None else _open.queue.depth(state)


def queue_state() -> QueueSnapshot | None:
    """Give the last look at the queue, without waiting; None where there is none, or nobody has asked anything yet."""
    return None if _open.queue is None else _open.queue.producer.snapshot()


def open_queue() -> None:
    """Begin to look at the queue, so that its state is known when the first request comes."""
    _opened().producer.snapshot()


def refresh_queue_state() -> QueueSnapshot:
    """Look at the queue now; raises QueueUnavailable."""
    return _opened().producer.refresh()


def close_queue() -> None:
    """Let go of Redis; the next question connects again."""
    with _lock:
        if _open.queue is not None:
            _open.queue.close()
            _open.queue = None


class _Target(NamedTuple):
    address: Address
    queue: str
    max_queue_size: int
    timeout_s: float
    cache_entries: int
    cache_ttl_s: int
    max_jobs: int


class _Queue:
    """What this process has open for one target."""

    def __init__(self, target: _Target) -> None:
        self.target = target
        self.producer = Producer(
            target.address, target.queue, max_queue_size=target.max_queue_size, timeout_s=target.timeout_s
        )
        self.results = ResultCache(
            AnswerCache(target.address, target.queue, max_entries=target.cache_entries, ttl_s=target.cache_ttl_s)
        )

        self.jobs = AsyncJobs(
            target.address, target.queue, max_jobs=target.max_jobs, max_queue_size=target.max_queue_size
        )
        self.handed_in_at: deque[float] = deque(maxlen=MAX_HANDED_IN)

    def depth(self, state: QueueSnapshot) -> int:
        """Give how many jobs there are, with those that this process has handed in or waits for since that look."""
        while self.handed_in_at and self.handed_in_at[0] < state.as_of:
            self.handed_in_at.popleft()
        return self.producer.depth() + len(self.handed_in_at)

    def close(self) -> None:
        """Let go of Redis."""
        self.producer.close()


@dataclass
class _Open:
    """The one queue of this process."""

    queue: _Queue | None = None


_open = _Open()
_lock = threading.Lock()


def _opened() -> _Queue:
    target = _target()
    queue = _open.queue
    if queue is not None and queue.target == target:
        return queue
    with _lock:
        return _replaced(target)


def _replaced(target: _Target) -> _Queue:
    if _open.queue is None or _open.queue.target != target:
        if _open.queue is not None:
            _open.queue.close()
        _open.queue = _Queue(target)
    return _open.queue


def _target() -> _Target:
    address = Address(
        host=settings.REDIS_IP,
        port=settings.REDIS_PORT,
        db=settings.REDIS_DB_ID,
        socket_path=settings.REDIS_SOCKET,
        username=settings.REDIS_USERNAME,
        password=settings.REDIS_PASSWORD,
    )
    return _Target(
        address,
        settings.REDIS_QUEUE,
        settings.MAX_QUEUE_SIZE,
        settings.REQUEST_TIMEOUT_S,
        settings.CACHE_MAX_ENTRIES,
        settings.CACHE_TTL_S,
        settings.MAX_JOBS,
    )
