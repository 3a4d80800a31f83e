"""One model worker: a consumer and a thread for each batch in progress, and their supporting threads."""

import logging
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from queue import SimpleQueue
from types import ModuleType
from typing import NamedTuple

import numpy as np
import simplejpeg

import settings
from inference import memory
from inference.model import Model
from serving import batching, heat_maps, stored_images, tracing
from serving.classifier import Classifier, Occupancy
from serving.shadow import Shadow
from serving.slots import Slots
from serving.watchdog import Watchdog
from wire import Consumer, Delivery, Failure, Heartbeat, QueueUnavailable, WorkerInfo
from wire.consumer.maintenance import Leases, Maintenance
from wire.decode_cost import PHOTOGRAPH_MS
from wire.worker_registry import why_not_join

log = logging.getLogger("ml_service")

# How long an idle thread waits for a job before it checks whether it is to stop.
IDLE_MS = 250
# How much later the whole process is taken for hung than one batch of it.
HANG_GRACE_S = 2.0
# After so long without a heartbeat a worker is not ready; the api takes it for dead a second later.
SILENT_AFTER_S = 2.0
# How many times its budget an expensive image may take along with all other load on a busy machine.
EXPENSIVE_GRACE = 10
# Jobs that are expensive to decode get one of so many parts of a worker's time while others wait.
EXPENSIVE_PART = 4
PAUSE_POLL_S = 0.02
# Batches in progress for each one that is computed, and images that are fetched at the same time.
FETCH_AHEAD, MAX_FETCHES = 2, 16
# What decoding the example takes on the reference processor; benchmarks/own/decode_cost.py measures it.
EXAMPLE_MS = 13.0
EXAMPLE_SIZE, EXAMPLE_GRAIN = 1024, 4
TRIES = 5
# However slow the measurement was on a busy machine.
MIN_SLOWNESS, MAX_SLOWNESS = 0.2, 10.0


class Worker:
    """The consumers of one process, their threads, and what renews leases, watches memory and sends heartbeats."""

    def __init__(self, model: Model, count: int, ends: SimpleQueue[str]) -> None:
        """Serve a model with `count` batches in progress; `ends` gets each reason to end the process."""
        self.shadow: Shadow | None = None
        self.name = f"{re.sub('[^A-Za-z0-9_.-]', '-', socket.gethostname())[:40]}:{os.getpid()}:{secrets.token_hex(3)}"
        self.model = model
        self.ends = ends
        self.stopping = threading.Event()
        self.busy = Occupancy()
        self.traces = tracing.opened(self.name)
        self.traces.engine = model.engine_name
        self.metrics = _metrics()
        self.pushed_metrics = self.metrics.pushed(self.name) if self.metrics is not None else None
        # A GPU takes a batch in less time than one thread needs to decode it.
        self.decoders = ThreadPoolExecutor(settings.DECODE_THREADS, "decoder") if settings.DECODE_THREADS else None
        self.speed = measure_speed(model)
        self.images = stored_images.open_store()
        # Where images come over the network, others fetch theirs while as many as there are slots compute.
        self.slots = Slots(count)
        count *= FETCH_AHEAD if self.images.is_remote else 1
        self.fetchers = ThreadPoolExecutor(MAX_FETCHES, "fetcher") if self.images.is_remote else None
        isolation = threading.Lock()
        self.consumers = [self._new_consumer(isolation) for _ in range(count)]
        self.expensive = self._new_consumer(isolation, is_expensive=True)
        self.all_consumers = [*self.consumers, self.expensive]
        self.threads = [threading.Thread(target=self._run, args=(each,), name=each.name) for each in self.all_consumers]
        address, queue = settings.queue_address(), settings.REDIS_QUEUE
        self.leases = Leases(address, self.all_consumers, _leave_hanging_batch)
        self.maintenance = Maintenance(
            address, queue, self.consumers[0].name, lease_ms=settings.LEASE_MS, max_batch_s=settings.MAX_BATCH_S
        )
        self.watchdog = Watchdog(
            ends.put,
            # Later than the leases, which know which job it was.
            hang_s=settings.MAX_BATCH_S + HANG_GRACE_S,
            max_growth_mb=settings.MAX_MEMORY_GROWTH_MB,
            max_failures=settings.MAX_FAILURES,
            held_mb=heat_maps.held_mb,  # requests for maps must not end a worker
        )
        self.heartbeat = Heartbeat(
            address,
            queue,
            self._info(),
            model.bundle.labels,
            speed=self._speeds,
            shadow=self._shadow_counts,
        )

    def start(self) -> None:
        """Take jobs, with leases and watchdog from the first one on; only then publish that."""
        memory.unmap_code()
        self.leases.start()
        self.maintenance.start()
        self.watchdog.start()
        for thread in self.threads:
            thread.start()
        self.heartbeat.start()
        bundle = self.model.bundle
        self._name_in_metrics()
        described = f"{bundle.name}/{bundle.version}, {self.model.engine_name}, {len(self.consumers)} consumers"
        log.info("%s: ready: %s", self.name, described)
        memory.give_back()
        heat_maps.check(bundle)

    def obstacle(self) -> str:
        """Return why this worker may not serve its queue yet; empty where it may."""
        model = self.model
        try:
            return why_not_join(settings.queue_address(), settings.REDIS_QUEUE, model.bundle.name, model.precision)
        except QueueUnavailable as fault:
            return str(fault)

    def not_ready(self) -> str:
        """Return why this worker does not take jobs; empty where it does."""
        if self.stopping.is_set():
            return "the worker is stopping"
        is_silent = self.heartbeat.silent_s() > SILENT_AFTER_S
        return "no heartbeat of this worker reaches Redis" if is_silent else ""

    def serve(self, model: Model) -> None:
        """Have every thread use this model from its next batch on, and publish that."""
        self.model, bundle = model, model.bundle
        self.traces.engine = model.engine_name
        if self.shadow is not None:
            self.shadow = self.shadow.restarted()
        self.heartbeat.publish(self._info(), bundle.labels)
        self._name_in_metrics()
        log.info("%s: serves %s/%s from now on", self.name, bundle.name, bundle.version)
        heat_maps.check(bundle)

    def start_shadow(self, model: Model, share: float) -> None:
        """Give this model such a share of the jobs after they are answered."""
        self.stop_shadow()
        self.shadow = Shadow(model, share, self.images, self._has_idle_consumer)

    def stop_shadow(self) -> None:
        """End the shadow, if there is one."""
        shadow, self.shadow = self.shadow, None
        if shadow is not None:
            shadow.stop()

    def stop(self) -> None:
        """Finish the batches in progress, and leave no consumer and no heartbeat in Redis."""
        self.stopping.set()
        self.heartbeat.stop()
        for thread in self.threads:
            if thread.ident is not None:  # it was started
                thread.join()  # a batch that hangs is the leases' business, so they end after it
        self.stop_shadow()
        self.leases.stop()
        self.maintenance.stop()
        self.watchdog.stop()
        for pool in (self.decoders, self.fetchers):
            if pool is not None:
                pool.shutdown()
        for consumer in self.all_consumers:
            consumer.close()
        self.traces.stop()
        if self.pushed_metrics is not None:
            self.pushed_metrics.stop()

    def _run(self, consumer: Consumer) -> None:
        """Serve jobs; expensive ones one at a time, with pauses for the others."""
        is_expensive = consumer is self.expensive
        try:
            classifier = self._new_classifier(1 if is_expensive else settings.MAX_BATCH_SIZE, is_expensive=is_expensive)
            while not self.stopping.is_set():
                with self._turn(is_expensive) as is_due:
                    worked_s = self._serve_once(consumer, classifier) if is_due else 0.0
                if is_expensive:
                    self._pause(worked_s)
        finally:
            self.ends.put(f"the thread of consumer {consumer.name} has ended")

    def _shares_slots(self, is_expensive: bool) -> bool:
        return self.images.is_remote and not is_expensive

    def _turn(self, is_expensive: bool) -> AbstractContextManager[bool]:
        """Return the turn to receive a batch, which there always is where its images are near."""
        return self.slots.turn(IDLE_MS / 1000) if self._shares_slots(is_expensive) else nullcontext(True)

    def _pause(self, worked_s: float) -> None:
        """Leave the processor to the other threads until they have had their part of it, or have nothing to do."""
        until = time.monotonic() + worked_s * max(EXPENSIVE_PART / (self.slots.count + 1) - 1, 0)
        while self.busy.count and time.monotonic() < until and not self.stopping.is_set():
            self.stopping.wait(PAUSE_POLL_S)

    def _serve_once(self, consumer: Consumer, classifier: Classifier) -> float:
        """Serve what has piled up, batch by batch; return for how many seconds it worked."""
        worked_s = 0.0
        for batch in batching.batches(
            partial(_received, consumer),
            max_size=len(classifier.pixels),
            max_wait_ms=settings.MAX_BATCH_WAIT_MS,
            idle_ms=IDLE_MS,
            now_ms=_now_ms,
        ):
            begin = time.monotonic()
            try:
                self._serve(consumer, classifier, batch)
            except QueueUnavailable as fault:
                log.warning("%s: %s", consumer.name, fault)  # these return by their lease; the others are in hand
            worked_s += time.monotonic() - begin
        return worked_s

    def _serve(self, consumer: Consumer, classifier: Classifier, batch: list[Delivery]) -> None:
        """Serve one batch: decode, infer, answer."""
        classifier.use(self.model)  # not before: a thread waits for its jobs while another model is handed over
        outcomes = classifier.outcomes(batch)
        begin = time.perf_counter()
        consumer.answer(outcomes, classifier.decode_s, classifier.waited_s)
        classifier.recorder.note("reply", begin, batch)
        if (shadow := self.shadow) is not None:
            shadow.offer(outcomes)
        if self.metrics is not None:
            self.metrics.count_batch(outcomes)
        classifier.recorder.end(outcomes)
        were_internal = (isinstance(reply, Failure) and reply.code == "internal" for _, reply in outcomes)
        self.watchdog.note(were_internal, classifier.is_sound)

    def _new_classifier(self, max_batch_size: int, *, is_expensive: bool) -> Classifier:
        return Classifier(
            self.model,
            self.images,
            max_batch_size,
            self.busy,
            self.decoders.map if self.decoders is not None else map,
            max_decode_ms=1000 * settings.DECODE_BUDGET_S / self.speed.slowness,
            recorder=self.traces.recorder(),
            fetch_map=self.fetchers.map if self.fetchers is not None else None,
            slots=self.slots if self._shares_slots(is_expensive) else None,
            candidate=lambda: self.shadow,
        )

    def _name_in_metrics(self) -> None:
        if self.metrics is not None:
            bundle = self.model.bundle
            self.metrics.name(self.name, bundle.name, bundle.version, self.model.engine_name)

    def _has_idle_consumer(self) -> bool:
        return self.busy.count < self.slots.count

    def _shadow_counts(self) -> tuple[str, Mapping[str, float]]:
        shadow = self.shadow
        return ("", {}) if shadow is None else (shadow.name, shadow.counts())

    def _speeds(self) -> Mapping[str, float]:
        """Return the fields of WorkerInfo that are measured."""
        stretches = [consumer.stretch for consumer in self.consumers if consumer.stretch] or [0.0]
        return {
            "rate": sum(consumer.rate for consumer in self.consumers) * self.slots.count / len(self.consumers),
            "stretch": self.expensive.stretch,
            "usual_stretch": sum(stretches) / len(stretches),
        }

    def _new_consumer(self, isolation: threading.Lock, *, is_expensive: bool = False) -> Consumer:
        grace_s = EXPENSIVE_GRACE * settings.DECODE_BUDGET_S if is_expensive else 0
        return Consumer(
            settings.queue_address(),
            settings.REDIS_QUEUE,
            self.name,
            lease_ms=settings.LEASE_MS,
            max_batch_s=settings.MAX_BATCH_S + grace_s,
            isolation=isolation,
            is_expensive=is_expensive,
            first_rate=self.speed.rate,
            slowness=self.speed.slowness,
        )

    def _info(self) -> WorkerInfo:
        bundle = self.model.bundle
        return WorkerInfo(
            self.name,
            socket.gethostname(),
            bundle.name,
            bundle.version,
            bundle.preprocessing.digest,
            consumers=len(self.consumers),
            max_batch=settings.MAX_BATCH_SIZE,
            bundle_digest=bundle.digest,
            slowness=self.speed.slowness,
            decode_budget_s=settings.DECODE_BUDGET_S,
            precision=self.model.precision,
        )


def _metrics() -> ModuleType | None:
    """Return the module that counts; None where no one reads its counters: loading it takes 5 MB and 0.1 s."""
    if not settings.METRICS_PORT and settings.OTEL_METRICS_EXPORTER == "none":
        return None
    from serving import metrics  # noqa: PLC0415  as above

    return metrics


def _received(consumer: Consumer, max_jobs: int, block_ms: int) -> list[Delivery]:
    try:
        return consumer.receive(max_jobs, block_ms)
    except QueueUnavailable as fault:
        log.warning("%s: %s", consumer.name, fault)  # it has paused already, and connects again by itself
        return []


def _now_ms() -> float:
    return time.monotonic() * 1000


def _leave_hanging_batch(job_ids: list[str]) -> None:
    """End the process immediately: a thread cannot be killed, and its jobs are safe in Redis."""
    log.critical("no end of the batch of jobs %s after %s s: leaving", ", ".join(job_ids), settings.MAX_BATCH_S)
    logging.shutdown()
    os._exit(os.EX_SOFTWARE)


class Speed(NamedTuple):
    """How many times as long as the reference processor decoding takes, and the photographs a second of one thread."""

    slowness: float
    rate: float


def measure_speed(model: Model) -> Speed:
    """Measure this machine with a model that is warm, so that admission need not estimate it; takes about 0.1 s."""
    slowness = min(max(example_ms() / EXAMPLE_MS, MIN_SLOWNESS), MAX_SLOWNESS)
    pixels = model.new_batch(1)
    pixels[:] = 127
    infer_s = _min_s(lambda: model.predict(pixels), time.perf_counter)
    return Speed(slowness, 1 / (infer_s + slowness * PHOTOGRAPH_MS / 1000))


def example_ms() -> float:
    """Return the processor time that an example takes to decode, in milliseconds."""
    side = EXAMPLE_SIZE // EXAMPLE_GRAIN
    rows = np.random.default_rng(1).integers(0, 256, (side, side, 3), np.uint8)
    pixels = np.ascontiguousarray(rows.repeat(EXAMPLE_GRAIN, axis=0).repeat(EXAMPLE_GRAIN, axis=1))
    content = simplejpeg.encode_jpeg(pixels, quality=90)
    return 1000 * _min_s(lambda: simplejpeg.decode_jpeg(content), time.thread_time)


def _min_s(work: Callable[[], object], clock: Callable[[], float]) -> float:
    times = []
    for _ in range(TRIES):
        begin = clock()
        work()
        times.append(clock() - begin)
    return min(times)
