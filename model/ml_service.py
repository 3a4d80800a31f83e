"""The model worker: `python ml_service.py` takes jobs from Redis, looks at the pictures and answers."""

import functools
import logging
import os
import re
import secrets
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from queue import SimpleQueue

import batching
import machine
import settings
import stored
from classifying import Classifier, Occupancy
from inference import bundle
from inference.errors import InferenceError
from inference.model import Model
from inference.model import load as load_model
from wire.connection import Address
from wire.errors import QueueUnavailable
from wire.presence import Announcer, WorkerInfo
from wire.queue import Lane, Leases

log = logging.getLogger("ml_service")

# How long an idle lane waits for a job before it looks whether it is to stop.
IDLE_MS = 250
INSTALLED_BUNDLES = Path(__file__).resolve().parent.parent / "var" / "bundles"


def predict(image_name: str) -> tuple[str, float]:
    """The likeliest class of one picture in UPLOAD_FOLDER and its probability; ImageError says why there is none."""
    model = _model(_chosen_bundle(), settings.ENGINE, 1, machine.cores())
    pixels = model.new_batch(1)
    model.prepare(stored.read(Path(settings.UPLOAD_FOLDER), image_name), pixels[0])
    [(class_name, probability)] = model.best(model.predict(pixels, is_alone=True)[0], 1)
    return class_name, round(probability, 4)


def classify_process() -> None:
    """Serve jobs from Redis until told to stop by SIGTERM or SIGINT; then finish what is under way."""
    # Unlike an Event's, this put() may interrupt itself: a second signal cannot lock up the handler of the first.
    ends: SimpleQueue[str] = SimpleQueue()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: ends.put(signal.Signals(number).name))
    cores = max(1, machine.cores() // settings.MODEL_WORKERS)
    count = settings.LANES or cores
    worker = Worker(_model(_chosen_bundle(), settings.ENGINE, count, cores), count, ends)
    worker.start()
    log.info("%s: stopping: %s", worker.name, ends.get())
    worker.stop()
    log.info("%s: stopped", worker.name)


class Worker:
    """The lanes of one process, what keeps their leases, and what tells the others of them."""

    def __init__(self, model: Model, count: int, ends: SimpleQueue[str]) -> None:
        self.name = f"{re.sub('[^A-Za-z0-9_.-]', '-', socket.gethostname())[:40]}:{os.getpid()}:{secrets.token_hex(3)}"
        self.model = model
        self.ends = ends
        self.stopping = threading.Event()
        self.busy = Occupancy()
        quarantine = threading.Lock()
        self.lanes = [self._new_lane(quarantine) for _ in range(count)]
        self.threads = [threading.Thread(target=self._run, args=(lane,), name=lane.consumer) for lane in self.lanes]
        self.leases = Leases(_address(), settings.REDIS_QUEUE, self.lanes, _leave_hanging_batch)
        self.announcer = Announcer(
            _address(),
            settings.REDIS_QUEUE,
            self._info(),
            model.bundle.labels,
            rate=lambda: sum(lane.rate for lane in self.lanes),
        )

    def start(self) -> None:
        """Take work; only then say so."""
        for thread in self.threads:
            thread.start()
        self.leases.start()
        self.announcer.start()
        described = f"{self.model.bundle.name}/{self.model.bundle.version}"
        log.info("%s: ready: %s, %s, %d lanes", self.name, described, settings.ENGINE, len(self.lanes))

    def stop(self) -> None:
        """Leave nothing behind: no promise to work, no job half done, no consumer."""
        self.stopping.set()
        self.announcer.stop()
        for thread in self.threads:
            thread.join()  # a batch that hangs is the leases' business, so they end after it
        self.leases.stop()
        for lane in self.lanes:
            lane.close()

    def _run(self, lane: Lane) -> None:
        classifier = Classifier(self.model, Path(settings.UPLOAD_FOLDER), settings.MAX_BATCH_SIZE, self.busy)
        try:
            while not self.stopping.is_set():
                _serve_once(lane, classifier)
        finally:
            self.ends.put(f"lane {lane.consumer} has ended")

    def _new_lane(self, quarantine: threading.Lock) -> Lane:
        return Lane(
            _address(),
            settings.REDIS_QUEUE,
            self.name,
            lease_ms=settings.LEASE_MS,
            max_batch_s=settings.MAX_BATCH_S,
            quarantine=quarantine,
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
        )


def _serve_once(lane: Lane, classifier: Classifier) -> None:
    """The life of a batch: take what has piled up, decode, infer, answer."""
    try:
        for batch in batching.collect(
            lane.receive,
            max_size=settings.MAX_BATCH_SIZE,
            max_wait_ms=settings.MAX_BATCH_WAIT_MS,
            idle_ms=IDLE_MS,
            now_ms=_now_ms,
        ):
            lane.answer(classifier.outcomes(batch))
    except QueueUnavailable as fault:
        log.warning("%s: %s", lane.consumer, fault)  # the lane has paused already; it makes its own way back


def _now_ms() -> float:
    return time.monotonic() * 1000


def _leave_hanging_batch(job_ids: list[str]) -> None:
    """End the process at once: a thread cannot be killed, and its jobs are safe in Redis."""
    log.critical("no end of the batch of jobs %s after %s s: leaving", ", ".join(job_ids), settings.MAX_BATCH_S)
    logging.shutdown()
    os._exit(os.EX_SOFTWARE)


def _address() -> Address:
    return Address(
        settings.REDIS_IP,
        settings.REDIS_PORT,
        settings.REDIS_DB_ID,
        settings.REDIS_SOCKET,
        settings.REDIS_USERNAME,
        settings.REDIS_PASSWORD,
    )


def bundles_folder() -> Path:
    """The folder of bundles: as set, else that of the container, else that of a local set-up."""
    own = Path("bundles")
    return Path(settings.BUNDLES_FOLDER) if settings.BUNDLES_FOLDER else own if own.is_dir() else INSTALLED_BUNDLES


def _chosen_bundle() -> Path:
    return bundle.choose(bundles_folder(), settings.MODEL_BUNDLE, settings.PRECISION)


@functools.cache
def _model(folder: Path, engine: str, lanes: int, cores: int) -> Model:
    begin = time.perf_counter()
    model = load_model(folder, engine, lanes=lanes, cores=cores)
    log.info("loaded %s into %s in %.2f s", folder, engine, time.perf_counter() - begin)
    return model


def main() -> int:
    """Run as a process; the exit code says whether starting it again may help."""
    logging.basicConfig(level=settings.LOG_LEVEL.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        classify_process()
    except InferenceError as fault:
        log.error("cannot serve: %s", fault)
        return os.EX_CONFIG
    return os.EX_OK


if __name__ == "__main__":
    sys.exit(main())
