"""Which workers are alive, what they serve, and how fast they are."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Final, NamedTuple, Self

from wire.codec import Fields, bytes_of
from wire.errors import MessageError, QueueUnavailable
from wire.process.limits import is_token
from wire.redis.address import Address
from wire.redis.keys import Keys, time_ms
from wire.redis.loop import Loop, jittered
from wire.redis.pipeline import Pipeline
from wire.redis.resp import checked, pack

log = logging.getLogger(__name__)

BEAT_EVERY_S: Final = 1.0
DEAD_AFTER_MS: Final = 3000
# A dead worker stays listed for a while, for those who look for what happened; then the living remove it.
FORGOTTEN_AFTER_MS: Final = 60_000
# The whole list is read for that: with each beat, hundreds of workers would have Redis send megabytes a second.
FORGET_EVERY_S: Final = 60.0
KEPT_S: Final = 3600
# Longer than a worker takes from its claim to its first heartbeat.
CLAIM_KEPT_MS: Final = 5000
# A worker whose configuration is wrong is not started again before that has changed. A worker that serves removes it.
STARTUP_ERROR_KEPT_S: Final = 24 * 3600
MAX_STARTUP_ERROR: Final = 500
MAX_INFO_BYTES: Final = 16_384
MAX_COUNT: Final = 1_000_000


class Served(NamedTuple):
    """What determines the answer to an image: workers with an equal value return the same answers."""

    model: str
    version: str
    preprocessing: str
    labels_digest: str
    # Empty for a worker of an earlier release, which does not publish it.
    bundle_digest: str = ""


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """What one worker publishes of itself; `rate` is the jobs a second that it can do, `seen_ms` is by Redis' clock.

    `bundle_digest` is the SHA-256 of the content of the bundle that it serves, in hex.

    `slowness` is how many times as long as the reference processor it takes to decode, and `decode_budget_s` how long
    it may take to decode one image; 0 for a worker of an earlier release, which knows neither costs nor the stream of
    expensive jobs. `stretch` is how many times as long as estimated the images of its last expensive jobs took to
    decode, including the machine's other load, and `usual_stretch` those of its last other jobs; 0 while there
    was none.

    `precision` is what it computes in; empty for a worker of an earlier release.

    `shadow` is the <model>/<version> that receives copies of some of its jobs, `shadow_counts` the results.
    """

    id: str
    host: str
    model: str
    version: str
    preprocessing: str
    labels_digest: str = ""
    consumers: int = 1
    max_batch: int = 1
    rate: float = 0.0
    seen_ms: int = 0
    shadow: str = ""
    shadow_counts: Mapping[str, float] = field(default_factory=dict)
    bundle_digest: str = ""
    slowness: float = 0.0
    decode_budget_s: float = 0.0
    stretch: float = 0.0
    usual_stretch: float = 0.0
    precision: str = ""

    @property
    def served(self) -> Served:
        """Return what this worker serves."""
        return Served(self.model, self.version, self.preprocessing, self.labels_digest, self.bundle_digest)

    def encode(self) -> bytes:
        """Return the bytes that are published."""
        # Earlier releases read the consumers under another name.
        return bytes_of({"lanes" if name == "consumers" else name: value for name, value in asdict(self).items()})

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return the worker of bytes that `encode` returned; raise MessageError."""
        fields = Fields(data, MAX_INFO_BYTES)
        return cls(
            id=fields.token("id"),
            host=fields.text("host"),
            model=fields.text("model"),
            version=fields.text("version"),
            preprocessing=fields.text("preprocessing"),
            labels_digest=fields.text("labels_digest"),
            consumers=fields.integer("lanes", 1, MAX_COUNT),
            max_batch=fields.integer("max_batch", 1, MAX_COUNT),
            rate=fields.number("rate"),
            seen_ms=fields.integer("seen_ms", 0, 2**63),
            shadow=fields.text("shadow", default=""),
            shadow_counts=fields.numbers("shadow_counts"),
            bundle_digest=fields.text("bundle_digest", default=""),
            slowness=fields.number("slowness", default=0.0),
            decode_budget_s=fields.number("decode_budget_s", default=0.0),
            stretch=fields.number("stretch", default=0.0),
            usual_stretch=fields.number("usual_stretch", default=0.0),
            precision=fields.text("precision", default=""),
        )


def digest_of(labels: Sequence[str]) -> str:
    """Return the name of a list of labels, made of its content."""
    return hashlib.sha256(_encode_labels(labels)).hexdigest()[:16]


def decode_labels(data: bytes | None, digest: str) -> tuple[str, ...]:
    """Read a published list of labels; empty where it is absent or is not the list of that digest."""
    try:
        labels = tuple(json.loads(data or b"[]"))
        return labels if digest_of(labels) == digest else ()
    except (ValueError, TypeError, RecursionError):
        return ()


def live_workers(published: Sequence[bytes], now_ms: int) -> tuple[WorkerInfo, ...]:
    """Return the workers of a reply of HGETALL that were seen lately; what cannot be read is no worker."""
    workers = [info for info in map(_decode_or_none, published[1::2]) if info is not None]
    return tuple(info for info in workers if abs(now_ms - info.seen_ms) < DEAD_AFTER_MS)


def why_not_join(address: Address, queue: str, model: str, precision: str) -> str:
    """Return why a worker with this model in this precision may not serve a queue; empty where it may.

    The workers of a queue answer for each other, so they serve one model in one precision; versions may differ, as in a
    roll-out. Of several that find a queue without workers, the first one claims it for the time until it is listed.
    Raise QueueUnavailable.
    """
    keys, exchange = Keys(queue), Pipeline.to(address).exchange
    now, published = map(checked, exchange(pack("TIME") + pack("HGETALL", keys.workers), 2))
    live = live_workers(published, time_ms(now))
    for info in live:
        if info.model != model or info.precision not in {"", precision}:
            return _obstacle(queue, f"{info.model} {info.precision}".strip(), f"{model} {precision}")
    if live:
        return ""
    own = f"{model} {precision}"
    claim = pack("SET", keys.claim, own.encode(), "NX", "PX", CLAIM_KEPT_MS) + pack("GET", keys.claim)
    # A Redis that is full takes no claim, and only workers can make room in it.
    claimed = checked(exchange(claim, 2)[1])
    return "" if claimed in {None, own.encode()} else _obstacle(queue, claimed.decode(errors="replace"), own)


def _obstacle(queue: str, served: str, own: str) -> str:
    remedy = "Set MODEL_CLASS to give it a queue of its own, or have all of them serve the same."
    return f"The workers of the queue {queue} serve {served}, and this one has {own}. {remedy}"


def report_startup_error(address: Address, queue: str, text: str) -> None:
    """Publish why a worker cannot serve; raise QueueUnavailable."""
    data = text[:MAX_STARTUP_ERROR].encode(errors="replace")
    command = pack("SET", Keys(queue).startup_error, data, "EX", STARTUP_ERROR_KEPT_S)
    checked(Pipeline.to(address).exchange(command, 1)[0])


class Heartbeat(Loop):
    """A thread of the worker process that publishes each second that it lives, what it serves and how fast it is."""

    def __init__(  # noqa: PLR0913  what is read each time goes by keyword
        self,
        address: Address,
        queue: str,
        info: WorkerInfo,
        labels: Sequence[str],
        *,
        speed: Callable[[], Mapping[str, float]] = dict,
        shadow: Callable[[], tuple[str, Mapping[str, float]]] = lambda: ("", {}),
    ) -> None:
        """Publish `info` with its labels; `speed` returns the current values of its fields that are measured."""
        if not is_token(info.id):
            raise ValueError(f"worker id {info.id!r} is not 1 to 80 letters, digits, or any of _ . : -")
        self._exchange = Pipeline.to(address).exchange
        self._keys = Keys(queue)
        self._speed = speed
        self._shadow = shadow
        self._is_first = True
        self._forget_at = -math.inf
        self._beaten_at = -math.inf
        super().__init__("heartbeat", self._beat, BEAT_EVERY_S)
        self.publish(info, labels)

    def start(self) -> None:
        """Publish once before returning, if Redis is there, then each second."""
        try:
            self._beat()
        except QueueUnavailable as error:
            log.warning("worker %s is not listed yet: %s", self._published[0].id, error)
        super().start()

    def publish(self, info: WorkerInfo, labels: Sequence[str]) -> None:
        """Publish this from now on: for example another model of the same worker."""
        self._published = replace(info, labels_digest=digest_of(labels)), _encode_labels(labels)
        self.hurry()

    def stop(self) -> None:
        """End the thread and take the worker off the list."""
        super().stop()
        try:
            self._exchange(pack("HDEL", self._keys.workers, self._published[0].id), 1)
        except QueueUnavailable as error:
            log.warning("worker %s stays listed until it is forgotten: %s", self._published[0].id, error)

    def silent_s(self) -> float:
        """Return for how many seconds nothing has reached Redis."""
        return time.monotonic() - self._beaten_at

    def _beat(self) -> None:
        keys = self._keys
        own, labels = self._published
        labels_key = keys.labels(own.labels_digest)
        look = pack("TIME") + pack("EXPIRE", labels_key, KEPT_S)
        now, labels_known = map(checked, self._exchange(look, 2))
        shadow, counts = self._shadow()
        info = replace(own, seen_ms=time_ms(now), shadow=shadow, shadow_counts=counts, **self._speed())  # type: ignore[arg-type]
        # The labels stand before the worker that names them.
        commands = [] if labels_known else [pack("SET", labels_key, labels, "EX", KEPT_S)]
        commands += [pack("HSET", keys.workers, info.id, info.encode()), pack("EXPIRE", keys.workers, KEPT_S)]
        commands += [pack("HDEL", keys.workers, name) for name in self._forgotten(info.seen_ms)]
        if self._is_first:
            commands.append(pack("SET", keys.startup_error, b"", "EX", 1))  # the startup error has ended
        for reply in self._exchange(b"".join(commands), len(commands)):
            checked(reply)
        self._is_first, self._beaten_at = False, time.monotonic()

    def _forgotten(self, now_ms: int) -> list[bytes]:
        """Return the workers that are to be removed from the list; none before it is time to look for them."""
        if time.monotonic() < self._forget_at:
            return []
        self._forget_at = time.monotonic() + jittered(FORGET_EVERY_S)
        return _forgotten(checked(self._exchange(pack("HGETALL", self._keys.workers), 1)[0]), now_ms)


def _encode_labels(labels: Sequence[str]) -> bytes:
    return json.dumps(list(labels), ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def _decode_or_none(data: bytes) -> WorkerInfo | None:
    try:
        return WorkerInfo.decode(data)
    except MessageError as error:
        log.debug("an entry of the worker list is unreadable: %s", error)
        return None


def _forgotten(published: Sequence[bytes], now_ms: int) -> list[bytes]:
    infos = zip(published[::2], map(_decode_or_none, published[1::2]), strict=True)
    return [name for name, info in infos if info is None or abs(now_ms - info.seen_ms) > FORGOTTEN_AFTER_MS]
