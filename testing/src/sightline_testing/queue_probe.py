"""A queue under test: both of its sides, opened on demand and closed together, and a look at what Redis holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sightline_testing.redis_server import RedisServer
from sightline_testing.waiting import wait_until
from wire import Address, Consumer, Heartbeat, Job, Producer, QueueUnavailable, WorkerInfo
from wire.producer.admission import SUBMIT, Terms, admitted, cost_per_ms
from wire.queue_stats import Capacity
from wire.redis.connection import Connection
from wire.redis.keys import GROUP, Keys
from wire.redis.pipeline import Pipeline
from wire.redis.resp import checked, pack

QUEUE = "test"
TIMEOUT_S = 60.0
# Workers of a test may take long to start, or stand still as the machine does.
PATIENT = {"redis_timeout_s": TIMEOUT_S, "worker_grace_s": 3600.0}


class QueueProbe:
    """One queue as its tests see it: both of its sides, and a look at what Redis holds."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.name = QUEUE
        self.address = Address(port=server.port)
        self.keys = Keys(QUEUE)
        self._connection = Connection(self.address, "test")
        self._consumers: list[Consumer] = []
        self._producers: list[Producer] = []
        self._heartbeats: list[Heartbeat] = []

    def redis(self, *words: str | bytes | int) -> Any:
        """Run one command, over a new connection where the server was restarted meanwhile."""
        try:
            [reply] = self._connection.exchange(pack(*words), 1, TIMEOUT_S)
        except QueueUnavailable:
            [reply] = self._connection.exchange(pack(*words), 1, TIMEOUT_S)
        return checked(reply)

    def add(  # noqa: PLR0913  the sides of a job
        self,
        image: str = "cat.jpg",
        *,
        job_id: str = "",
        ttl_ms: int = 60_000,
        reply_to: str = "producer",
        is_expensive: bool = False,
        cost: float = 1.0,
        decode_ms: int = 0,
    ) -> str:
        """Put a job into the queue, or into the stream of expensive ones, and give its entry id."""
        job = Job(job_id or image, image, reply_to, ttl_ms, decode_ms=decode_ms)
        streams = (self.keys.expensive, self.keys.jobs) if is_expensive else (self.keys.jobs, self.keys.expensive)
        # At the rate that is assumed while none is known.
        return self.admit(Terms(*streams, cost=cost, cost_per_ms=cost_per_ms(Capacity())), job)

    def admit(self, terms: Terms, job: Job) -> str:
        """Put a job into the queue on these terms and return its entry id; raise QueueFull."""
        [reply] = Pipeline.to(self.address).run(SUBMIT, [terms.words(self.keys, job.encode())], TIMEOUT_S)
        entry_id: bytes = admitted(reply, terms, 0.0)[1]
        return entry_id.decode()

    def consumer(self, name: str = "consumer", *, lease_ms: int = 60_000, **options: Any) -> Consumer:
        """Give a consumer that is closed after the test."""
        self._consumers.append(Consumer(self.address, QUEUE, name, lease_ms=lease_ms, max_batch_s=60, **options))
        return self._consumers[-1]

    def producer(self, **options: Any) -> Producer:
        """Return a producer that is closed after the test, and that waits for a slow Redis and workers."""
        self._producers.append(Producer(self.address, QUEUE, **PATIENT | options))
        return self._producers[-1]

    def announce(self, worker_id: str = "idle", *, labels: Sequence[str] = (), **facts: Any) -> None:
        """Have a live worker listed, which takes no jobs, until the test ends."""
        served = {"host": "here", "model": "none", "version": "0", "preprocessing": "none"} | facts
        info = WorkerInfo(worker_id, **served)
        self._heartbeats.append(Heartbeat(self.address, QUEUE, info, labels))
        self._heartbeats[-1].start()
        wait_until(lambda: self.redis("HEXISTS", self.keys.workers, worker_id), "the worker is listed")

    def depth(self) -> int:
        """Give how many entries the job stream holds."""
        depth: int = self.redis("XLEN", self.keys.jobs)
        return depth

    def jobs(self) -> list[Job]:
        """Give the jobs that the stream holds."""
        return [Job.decode(fields[1]) for _, fields in self.redis("XRANGE", self.keys.jobs, "-", "+")]

    def pending(self) -> int:
        """Give how many entries are in somebody's hands."""
        pending: int = self.redis("XPENDING", self.keys.jobs, GROUP)[0]
        return pending

    def replies(self, reply_to: str = "producer") -> list[list[bytes]]:
        """Give the fields of each entry of a reply stream."""
        return [fields for _, fields in self.redis("XRANGE", self.keys.replies(reply_to), "-", "+")]

    def dead_letters(self) -> list[dict[bytes, bytes]]:
        """Give the fields of each dead letter."""
        entries = self.redis("XRANGE", self.keys.dead, "-", "+")
        return [dict(zip(fields[::2], fields[1::2], strict=True)) for _, fields in entries]

    def reply_streams(self) -> list[bytes]:
        """Give the names of the reply streams there are."""
        names: list[bytes] = self.redis("KEYS", self.keys.replies("*").replace("{", "[{]"))
        return names

    def close(self) -> None:
        """Close all connections that the test has opened."""
        for producer in self._producers:
            producer.close()
        for heartbeat in self._heartbeats:
            heartbeat.stop()
        for consumer in self._consumers:
            consumer.close()
        Pipeline.to(self.address).close()
        self._connection.close()
