"""The model worker: `python ml_service.py` takes jobs from Redis, looks at the pictures and answers."""

import faulthandler
import functools
import logging
import os
import re
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue

import settings
from inference import bundle, cpu, image_store
from inference.errors import InferenceError
from inference.model import Model
from inference.model import load as load_model
from registry import activation
from registry.activation import Trial
from serving import logs
from serving.version_watcher import Watch
from serving.worker import Worker
from wire import QueueUnavailable
from wire.worker_registry import report_startup_error

log = logging.getLogger("ml_service")

# What stands before the last three parts of a path; who asks the service why it is not ready need not know.
PLACE = re.compile(r"/\S*/(?=[^/\s]+/[^/\s]+/[^/\s]+)")
# A disk that hangs while the model is read would hold the worker for ever.
LONGEST_START_S = 120.0
LOOK_UP_EVERY_S = 1.0
INSTALLED_BUNDLES = Path(__file__).resolve().parent.parent / "var" / "bundles"


def predict(image_name: str) -> tuple[str, float]:
    """The likeliest class of one picture in UPLOAD_FOLDER and its probability; ImageError says why there is none."""
    model = _model(_chosen_bundle(), settings.ENGINE, 1, cpu.cores())
    pixels = model.new_batch(1)
    model.prepare(image_store.read(Path(settings.UPLOAD_FOLDER), image_name), pixels[0])
    [(class_name, probability)] = model.top_k(model.predict(pixels, is_alone=True)[0], 1)
    return class_name, round(probability, 4)


def classify_process() -> None:
    """Serve jobs from Redis until told to stop by SIGTERM or SIGINT; then finish what is under way."""
    # Unlike an Event's, this put() may interrupt itself: a second signal cannot lock up the handler of the first.
    ends: SimpleQueue[str] = SimpleQueue()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: ends.put(signal.Signals(number).name))
    # Until the worker looks after itself.
    faulthandler.dump_traceback_later(LONGEST_START_S, exit=True)
    cores = max(1, cpu.cores() // settings.MODEL_WORKERS)
    count = settings.LANES or cores
    folder = _chosen_bundle()
    model = _loaded(folder, settings.ENGINE, count, cores)
    worker = Worker(model, count, ends)
    # Loading and measuring had all the speed there is; from now on the api can still refuse what the workers cannot do.
    cpu.lower_priority(settings.NICENESS)
    watch = Watch(
        _wanted,
        folder,
        (lambda path: _loaded(path, settings.ENGINE, count, cores), lambda path: _loaded(path, settings.ENGINE, 1, 1)),
        (worker.serve, worker.try_beside),
        report=_report,
    )
    # Whatever goes wrong: lanes that nobody stops would keep the process for ever.
    try:
        worker.start()
        watch.start()
        _report_ready()
        log.info("%s: stopping: %s", worker.name, _wait_for(ends))
    finally:
        watch.stop()
        worker.stop()
        log.info("%s: stopped", worker.name)


def _report_ready() -> None:
    """Write to the supervisor's pipe, if there is one; a supervisor that was killed no longer reads it."""
    if settings.READY_FD:
        with suppress(OSError):
            os.write(settings.READY_FD, b"1")


def _wait_for(ends: SimpleQueue[str]) -> str:
    """Wait for a reason to end.

    Only this thread runs the handlers of signals, and one that another thread took does not wake it; the kernel chooses
    any thread of a process that stood still (SIGSTOP) as the signal came. So it looks up now and then.
    """
    while True:
        try:
            return ends.get(timeout=LOOK_UP_EVERY_S)
        except Empty:
            continue


def _report(reason: str) -> bool:
    """Have the api say why a worker does not serve what it should, "" for that it does; return whether Redis has it."""
    try:
        report_startup_error(settings.queue_address(), settings.REDIS_QUEUE, PLACE.sub("", reason))
    except QueueUnavailable as fault:
        log.debug("the reason is not in Redis: %s", fault)
        return False
    return True


def bundles_folder() -> Path:
    """The folder of bundles: as set, else that of the container, else that of a local set-up."""
    own = Path("bundles")
    return Path(settings.BUNDLES_FOLDER) if settings.BUNDLES_FOLDER else own if own.is_dir() else INSTALLED_BUNDLES


def _chosen_bundle() -> Path:
    return bundle.choose(bundles_folder(), settings.MODEL_BUNDLE, settings.PRECISION)


def _wanted() -> tuple[Path, Trial | None]:
    return _chosen_bundle(), activation.tried_beside(bundles_folder())


def _loaded(folder: Path, engine: str, streams: int, cores: int) -> Model:
    begin = time.perf_counter()
    model = load_model(folder, engine, streams=streams, cores=cores)
    bundle.check_place(model.bundle)
    log.info("loaded %s into %s in %.2f s", folder, engine, time.perf_counter() - begin)
    return model


_model = functools.cache(_loaded)


def main() -> int:
    """Run as a process; the exit code says whether starting it again may help."""
    logs.set_up()
    try:
        classify_process()
    except InferenceError as fault:
        log.error("cannot serve: %s", fault)
        if not _report(str(fault)):
            log.error("the api does not know of it: Redis is away")
        return os.EX_CONFIG
    return os.EX_OK


if __name__ == "__main__":
    sys.exit(main())
