"""One model worker: its lanes, and the threads that keep their leases, announce it and look after it."""

import logging
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from queue import SimpleQueue

import settings
from inference.model import Model
from serving import batching, metrics, speed, tracing
from serving.classifier import Classifier, Occupancy
from serving.shadow import Shadow
from serving.watchdog import Upkeep
from wire import Answer, Consumer, Delivery, Failure, Heartbeat, QueueUnavailable, WorkerInfo
from wire.consumer.maintenance import Leases, Maintenance

log = logging.getLogger("ml_service")

# How long an idle lane waits for a job before it looks whether it is to stop.
IDLE_MS = 250
# How much later the whole process is taken for hung than one batch of it.
HANG_GRACE_S = 2.0
# How much longer than its budget an expensive image may take beside everything else on a busy machine.
EXPENSIVE_PATIENCE = 10
# Jobs that are expensive to decode get one of so many parts of a worker's time while others wait.
EXPENSIVE_PART = 4
REST_LOOK_S = 0.02


class Worker:
    """The lanes of one process, what keeps their leases, and what tells the others of them."""

    def __init__(self, model: Model, count: int, ends: SimpleQueue[str]) -> None:
        self.shadow: Shadow | None = None
        self.name = f"{re.sub('[^A-Za-z0-9_.-]', '-', socket.gethostname())[:40]}:{os.getpid()}:{secrets.token_hex(3)}"
        self.model = model
        self.ends = ends
        self.stopping = threading.Event()
        self.busy = Occupancy()
        self.traces = tracing.opened(self.name)
        # A GPU takes a batch in less time than one lane needs to decode it.
        self.decoders = ThreadPoolExecutor(settings.DECODE_THREADS, "decoder") if settings.DECODE_THREADS else None
        self.speed = speed.measure(model)
        isolation = threading.Lock()
        self.lanes = [self._new_lane(isolation) for _ in range(count)]
        self.expensive_lane = self._new_lane(isolation, is_expensive=True)
        runs = [*((self._run, lane) for lane in self.lanes), (self._run_expensive, self.expensive_lane)]
        self.threads = [threading.Thread(target=run, args=(lane,), name=lane.name) for run, lane in runs]
        self.leases = Leases(settings.queue_address(), [*self.lanes, self.expensive_lane], _leave_hanging_batch)
        self.maintenance = Maintenance(
            settings.queue_address(),
            settings.REDIS_QUEUE,
            self.lanes[0].name,
            lease_ms=settings.LEASE_MS,
            max_batch_s=settings.MAX_BATCH_S,
        )
        self.upkeep = Upkeep(
            ends.put,
            # Later than the leases, who can say which job it was.
            hang_s=settings.MAX_BATCH_S + HANG_GRACE_S,
            max_growth_mb=settings.MAX_MEMORY_GROWTH_MB,
            max_failures=settings.MAX_FAILURES,
        )
        self.heartbeat = Heartbeat(
            settings.queue_address(),
            settings.REDIS_QUEUE,
            self._info(),
            model.bundle.labels,
            rate=lambda: sum(lane.rate for lane in self.lanes),
            shadow=self._told_of_shadow,
            stretch=lambda: self.expensive_lane.stretch,
        )

    def start(self) -> None:
        """Take work, watched from the first job on; only then say so."""
        self.leases.start()
        self.maintenance.start()
        self.upkeep.start()
        for thread in self.threads:
            thread.start()
        self.heartbeat.start()
        metrics.name(self.name, self.model.bundle.name, self.model.bundle.version, settings.ENGINE)
        if settings.METRICS_PORT:
            metrics.serve(settings.METRICS_HOST, settings.METRICS_PORT)
        described = f"{self.model.bundle.name}/{self.model.bundle.version}"
        log.info("%s: ready: %s, %s, %d lanes", self.name, described, settings.ENGINE, len(self.lanes))

    def serve(self, model: Model) -> None:
        """Have every lane use this model from its next batch on, and tell the others."""
        self.model = model
        described = model.bundle
        self.heartbeat.publish(self._info(), described.labels)
        metrics.name(self.name, described.name, described.version, settings.ENGINE)
        log.info("%s: serves %s/%s from now on", self.name, described.name, described.version)

    def try_beside(self, model: Model | None, share: float) -> None:
        """Let this model see such a share of the jobs after they are answered; None ends that."""
        before, folder = self.shadow, Path(settings.UPLOAD_FOLDER)
        self.shadow = None if model is None else Shadow(model, share, folder, self._has_idle_lane)
        if before is not None:
            before.stop()

    def stop(self) -> None:
        """Leave nothing behind: no promise to work, no job half done, no consumer."""
        self.stopping.set()
        self.heartbeat.stop()
        for thread in self.threads:
            if thread.ident is not None:  # it was started
                thread.join()  # a batch that hangs is the leases' business, so they end after it
        self.try_beside(None, 0)
        self.leases.stop()
        self.maintenance.stop()
        self.upkeep.stop()
        if self.decoders is not None:
            self.decoders.shutdown()
        for lane in [*self.lanes, self.expensive_lane]:
            lane.close()
        self.traces.stop()

    def _run(self, lane: Consumer) -> None:
        classifier = self._new_classifier(settings.MAX_BATCH_SIZE)
        try:
            while not self.stopping.is_set():
                self._serve_once(lane, classifier)
        finally:
            self.ends.put(f"lane {lane.name} has ended")

    def _run_expensive(self, lane: Consumer) -> None:
        """Serve the jobs that are expensive to decode, one at a time, beside the other lanes."""
        classifier = self._new_classifier(1)
        try:
            while not self.stopping.is_set():
                self._rest(self._serve_once(lane, classifier))
        finally:
            self.ends.put(f"lane {lane.name} has ended")

    def _rest(self, worked_s: float) -> None:
        """Leave the processor to the other lanes until they have had their part of it, or have nothing to do."""
        until = time.monotonic() + worked_s * max(EXPENSIVE_PART / (len(self.lanes) + 1) - 1, 0)
        while self.busy.count and time.monotonic() < until and not self.stopping.is_set():
            self.stopping.wait(REST_LOOK_S)

    def _serve_once(self, lane: Consumer, classifier: Classifier) -> float:
        """Serve what has piled up, batch by batch; return for how many seconds it worked."""
        worked_s = 0.0
        for batch in batching.batches(
            partial(_received, lane),
            max_size=len(classifier.pixels),
            max_wait_ms=settings.MAX_BATCH_WAIT_MS,
            idle_ms=IDLE_MS,
            now_ms=_now_ms,
        ):
            begin = time.monotonic()
            try:
                self._serve(lane, classifier, batch)
            except QueueUnavailable as fault:
                log.warning("%s: %s", lane.name, fault)  # these return by their lease; the others are in hand
            worked_s += time.monotonic() - begin
        return worked_s

    def _serve(self, lane: Consumer, classifier: Classifier, batch: list[Delivery]) -> None:
        """The life of a batch: decode, infer, answer."""
        classifier.use(self.model)  # not before: a lane waits for its jobs while another is handed over
        outcomes = classifier.outcomes(batch)
        begin = time.perf_counter()
        lane.answer(outcomes)
        classifier.recorder.note("reply", begin, batch)
        if (shadow := self.shadow) is not None:
            shadow.offer(outcomes)
        metrics.count_batch([reply for _, reply in outcomes])
        classifier.recorder.end(outcomes)
        self.upkeep.note(_is_failure_of_ours(reply) for _, reply in outcomes)

    def _new_classifier(self, max_batch_size: int) -> Classifier:
        decode_map = self.decoders.map if self.decoders is not None else map
        recorder = self.traces.recorder()
        folder = Path(settings.UPLOAD_FOLDER)
        most_ms = 1000 * settings.DECODE_BUDGET_S / self.speed.slowness
        return Classifier(
            self.model, folder, max_batch_size, self.busy, decode_map, most_decode_ms=most_ms, recorder=recorder
        )

    def _has_idle_lane(self) -> bool:
        return self.busy.count < len(self.lanes)

    def _told_of_shadow(self) -> tuple[str, Mapping[str, float]]:
        shadow = self.shadow
        return ("", {}) if shadow is None else (shadow.name, shadow.counts())

    def _new_lane(self, isolation: threading.Lock, *, is_expensive: bool = False) -> Consumer:
        patience_s = EXPENSIVE_PATIENCE * settings.DECODE_BUDGET_S if is_expensive else 0
        return Consumer(
            settings.queue_address(),
            settings.REDIS_QUEUE,
            self.name,
            lease_ms=settings.LEASE_MS,
            max_batch_s=settings.MAX_BATCH_S + patience_s,
            isolation=isolation,
            is_expensive=is_expensive,
            first_rate=self.speed.lane_rate,
            slowness=self.speed.slowness,
        )

    def _info(self) -> WorkerInfo:
        described = self.model.bundle
        return WorkerInfo(
            self.name,
            socket.gethostname(),
            described.name,
            described.version,
            described.preprocessing.digest,
            lanes=len(self.lanes),
            max_batch=settings.MAX_BATCH_SIZE,
            bundle_digest=described.digest,
            slowness=self.speed.slowness,
            decode_budget_s=settings.DECODE_BUDGET_S,
        )


def _received(lane: Consumer, max_jobs: int, block_ms: int) -> list[Delivery]:
    try:
        return lane.receive(max_jobs, block_ms)
    except QueueUnavailable as fault:
        log.warning("%s: %s", lane.name, fault)  # the lane has paused already; it makes its own way back
        return []


def _is_failure_of_ours(reply: Answer | Failure) -> bool:
    return isinstance(reply, Failure) and reply.code == "internal"


def _now_ms() -> float:
    return time.monotonic() * 1000


def _leave_hanging_batch(job_ids: list[str]) -> None:
    """End the process at once: a thread cannot be killed, and its jobs are safe in Redis."""
    log.critical("no end of the batch of jobs %s after %s s: leaving", ", ".join(job_ids), settings.MAX_BATCH_S)
    logging.shutdown()
    os._exit(os.EX_SOFTWARE)
