"""The model worker: `python ml_service.py` takes jobs from Redis, classifies their images and answers."""

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

from pythonjsonlogger.json import JsonFormatter

import settings
from inference import bundle, compiled, cpu
from inference.errors import InferenceError
from inference.model import Model
from inference.model import load as load_model
from registry import activation
from registry.activation import Trial
from registry.model_store import ModelStore
from serving import stored_images
from serving.model_mirror import ModelMirror
from serving.readiness import Readiness
from serving.version_watcher import Slot, VersionWatcher
from serving.worker import Worker
from storage.s3 import Bucket, server_of
from wire import QueueUnavailable, __version__
from wire.process import captured_stderr
from wire.worker_registry import report_startup_error

log = logging.getLogger("ml_service")

# All of a path but its last three parts; the reason on /readyz does not show the rest.
PLACE = re.compile(r"/\S*/(?=[^/\s]+/[^/\s]+/[^/\s]+)")
# A disk that hangs while the model is read would hold the worker for ever.
START_TIMEOUT_S = 120.0
SIGNAL_POLL_S = 1.0
# A version has tens of megabytes, and no one waits for it.
MODEL_TIMEOUT_S = 60.0
PLAIN_LOG = "%(asctime)s [%(process)d] [%(levelname)s] %(name)s: %(message)s"
LOG_NAMES = {"levelname": "level", "name": "logger", "process": "pid"}


def predict(image_name: str) -> tuple[str, float]:
    """Return the top-1 class of an image in UPLOAD_FOLDER and its probability; raise ImageError."""
    model = _model(_chosen_bundle(), settings.ENGINE, 1, cpu.cores())
    pixels = model.new_batch(1)
    model.prepare(stored_images.read(stored_images.open_store(), image_name), pixels[0])
    [(class_name, probability)] = model.top_k(model.predict(pixels, is_alone=True)[0], 1)
    return class_name, round(probability, 4)


def classify_process() -> None:
    """Serve jobs from Redis until SIGTERM or SIGINT; then finish the running jobs."""
    # Unlike an Event's, this put() may interrupt itself: a second signal cannot lock up the handler of the first.
    ends: SimpleQueue[str] = SimpleQueue()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: ends.put(signal.Signals(number).name))
    # Until the worker's watchdog has a timer of its own.
    faulthandler.dump_traceback_later(START_TIMEOUT_S, exit=True)
    cores = max(1, cpu.cores() // settings.MODEL_WORKERS)
    count = settings.CONSUMERS or cores
    readiness = Readiness()
    if settings.METRICS_PORT:
        from serving import health  # noqa: PLC0415  its HTTP server takes memory

        health.serve(settings.METRICS_HOST, settings.METRICS_PORT, readiness)
    mirror = _mirrored(ends)
    folder = _chosen_bundle()
    worker = Worker(_loaded(folder, settings.ENGINE, count, cores), count, ends)
    # Loading and measuring had all the speed there is; from now on the api can still refuse what the workers cannot do.
    cpu.lower_priority(settings.NICENESS)
    served = Slot(lambda path: _loaded(path, settings.ENGINE, count, cores), lambda model, _: worker.serve(model))
    shadow = Slot(lambda path: _loaded(path, settings.ENGINE, 1, 1), worker.start_shadow, worker.stop_shadow)
    watcher = VersionWatcher(_wanted, folder, served, shadow, report=_report, mirror=mirror)
    # After any error: running threads would keep the process alive for ever.
    try:
        if _may_join(worker, watcher, ends, readiness):
            worker.start()
            readiness.reason = worker.not_ready
            watcher.start()
            _report_ready()
        log.info("%s: stopping: %s", worker.name, _wait_for(ends))
    finally:
        watcher.stop()
        worker.stop()
        log.info("%s: stopped", worker.name)


def _mirrored(ends: SimpleQueue[str]) -> ModelMirror | None:
    """Copy the served version to this host where hosts share versions; return the object that keeps it current."""
    store = model_store()
    if store is None:
        return None
    mirror = ModelMirror(store, settings.MODEL_BUNDLE)
    faulthandler.cancel_dump_traceback_later()  # a store that is away may be so for long
    mirror.first(lambda: _chosen_bundle().is_dir() or not ends.empty(), _report)
    faulthandler.dump_traceback_later(START_TIMEOUT_S, exit=True)
    return mirror


@functools.cache
def model_store() -> ModelStore | None:
    """Return the versions that all hosts share; None where each has its own."""
    if not settings.MODEL_STORE:
        return None
    return ModelStore(Bucket(settings.MODEL_STORE, server_of(settings, MODEL_TIMEOUT_S)), settings.bundles_folder())


def _chosen_bundle() -> Path:
    return bundle.choose(settings.bundles_folder(), settings.MODEL_BUNDLE, settings.PRECISION)


def _wanted() -> tuple[Path, Trial | None]:
    return _chosen_bundle(), activation.tried_beside(settings.bundles_folder())


def _loaded(folder: Path, engine: str, streams: int, cores: int) -> Model:
    begin = time.perf_counter()
    compiled.keep_in(Path(settings.COMPILED_CACHE) if settings.COMPILED_CACHE else None)
    model = load_model(folder, engine, streams=streams, cores=cores)
    bundle.check_place(model.bundle)
    log.info("loaded %s into %s in %.2f s", folder, engine, time.perf_counter() - begin)
    return model


_model = functools.cache(_loaded)


def _report_ready() -> None:
    """Write to the supervisor's pipe, if there is one; a supervisor that was killed no longer reads it."""
    if settings.READY_FD:
        with suppress(OSError):
            os.write(settings.READY_FD, b"1")


def _may_join(worker: Worker, watcher: VersionWatcher, ends: SimpleQueue[str], readiness: Readiness) -> bool:
    """Wait until the queue's other workers serve what this one does; return False where there is a reason to end."""
    reported = ""
    while obstacle := worker.obstacle():
        readiness.reason = functools.partial(str, obstacle)
        if obstacle != reported:
            log.error("%s: does not serve yet: %s", worker.name, obstacle)
        reported = obstacle
        _report(obstacle)  # each time: a worker that begins to serve removes what it finds
        faulthandler.dump_traceback_later(START_TIMEOUT_S, exit=True)
        with suppress(Empty):
            ends.put(ends.get(timeout=SIGNAL_POLL_S))
            break
        watcher.poll()  # what is active may have become what the others serve
    if reported:
        _report("")
    return not obstacle


def _wait_for(ends: SimpleQueue[str]) -> str:
    """Wait for a reason to end.

    Only this thread runs the handlers of signals, and one that another thread received does not wake it; the kernel
    chooses any thread of a process that stood still (SIGSTOP) as the signal came. So it wakes up now and then.
    """
    while True:
        with suppress(Empty):
            return ends.get(timeout=SIGNAL_POLL_S)


def _report(reason: str) -> bool:
    """Publish why a worker does not serve what it should, "" where it does; return whether Redis has it."""
    try:
        report_startup_error(settings.queue_address(), settings.REDIS_QUEUE, PLACE.sub("", reason))
    except QueueUnavailable as fault:
        log.debug("the reason is not in Redis: %s", fault)
        return False
    return True


def _set_up_logs() -> None:
    """Log to standard error: JSON objects, or plain lines depending on LOG_FORMAT and on a terminal."""
    is_plain = settings.LOG_FORMAT == "text" or (settings.LOG_FORMAT == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler()
    handler.setFormatter(
        logging.Formatter(PLAIN_LOG)
        if is_plain
        else JsonFormatter((*LOG_NAMES, "message"), style=",", rename_fields=LOG_NAMES, timestamp="time")
    )
    logging.basicConfig(level=settings.LOG_LEVEL.upper(), handlers=[handler])
    if not is_plain:
        captured_stderr.capture()


def main(arguments: list[str]) -> int:
    """Run as a process; the exit code shows whether a restart may help."""
    if arguments == ["--version"]:
        sys.stdout.write(f"sightline {__version__}\n")
        return os.EX_OK
    _set_up_logs()
    if not settings.READY_FD:  # a supervisor has done so
        for warning in settings.warnings():
            log.warning(warning)
    try:
        classify_process()
    except InferenceError as fault:
        log.error("cannot serve: %s", fault)
        if not _report(str(fault)):
            log.error("the api does not know of it: Redis is away")
        return os.EX_CONFIG
    return os.EX_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
