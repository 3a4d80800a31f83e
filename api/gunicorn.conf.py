"""Gunicorn's configuration of the api; the timeouts of clients are in server/client_timeouts.py."""

import ctypes
import gc
import ipaddress
import logging
import math
import os
import resource
import shutil
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from gunicorn.arbiter import Arbiter

# Wherever it is started from, the api's own modules are those next to this file.
sys.path.insert(0, str(Path(__file__).resolve().parent))

import settings
from observability import logs

wsgi_app = "app:app"
if settings.LISTEN_FD:
    bind = f"fd://{settings.LISTEN_FD}"
else:
    bind = f"[{settings.HOST}]:{settings.PORT}" if ":" in settings.HOST else f"{settings.HOST}:{settings.PORT}"
workers = settings.API_WORKERS
worker_class = "server.worker.Worker"
worker_connections = settings.MAX_CONNECTIONS
# Requests in progress are answered before the process stops.
graceful_timeout = math.ceil(settings.REQUEST_TIMEOUT_S) + 3
timeout = 30
loglevel = settings.LOG_LEVEL.lower()
accesslog = "-" if settings.ACCESS_LOG else None
access_log_format = logs.ACCESS_LINE
logger_class = logs.ServerLogger
sendfile = False
control_socket_disable = True
# No header decides about the scheme or the path, not even from this machine; TRUSTED_PROXIES is the number of proxies
# whose headers do.
forwarded_allow_ips = ""
forwarder_headers = ""
secure_scheme_headers: dict[str, str] = {}
# server/path_prefix.py takes it off, where it is there.
settings.hide_script_name()
# Heartbeats are a file; in memory it works on a read-only disk too and never waits for one.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108  gunicorn makes names of its own


METRICS_FOLDER_PREFIX = "sightline-metrics-"


def _make_metrics_folder(parent: Path) -> str:
    """Make the folder in which this process and its children count together; remove those that killed ones left."""
    for other in parent.glob(f"{METRICS_FOLDER_PREFIX}*-*"):
        pid = other.name.removeprefix(METRICS_FOLDER_PREFIX).partition("-")[0]
        if pid.isdecimal() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(other, ignore_errors=True)
    return tempfile.mkdtemp(prefix=f"{METRICS_FOLDER_PREFIX}{os.getpid()}-", dir=parent)


def _allow_files(wanted: int) -> None:
    """Raise the limit of open files to what the connections need, as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


_allow_files(settings.MAX_CONNECTIONS + 256)
# Before there are children: one that counts alone would report its own share only.
settings.share_metrics(_make_metrics_folder(Path(worker_tmp_dir or tempfile.gettempdir())))


def on_exit(server: Any) -> None:
    """Remove the metrics folder."""
    shutil.rmtree(settings.metrics_folder(), ignore_errors=True)


def when_ready(server: Any) -> None:
    """Warn of settings that are probably not meant so, and where anyone who reaches the port may send requests."""
    if not settings.READY_FD:  # a supervisor has done so
        for warning in settings.warnings():
            server.log.warning(warning)
    if not settings.API_KEYS_FILE and not _is_loopback(settings.HOST):
        server.log.warning(
            "HOST=%s without API keys: anyone who reaches this port can send requests. "
            "Set API_KEYS_FILE or HOST=127.0.0.1.",
            settings.HOST,
        )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


# Blocks of at least this many bytes go back to the system as soon as they are free.
LARGE_BLOCK_BYTES = 256 * 1024
M_MMAP_THRESHOLD = -3
# How many objects are made before cycles are searched; a request makes some hundreds, and nearly all end with it.
YOUNG_OBJECTS = 5_000


def _give_large_blocks_back() -> None:
    """Keep glibc from raising its threshold with each large body, which would grow the heap far beyond what is used."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES)


def pre_fork(server: Any, worker: Any) -> None:
    """Leave what the master has loaded alone: garbage collection in a child would copy every page of it."""
    gc.collect()
    gc.freeze()


def post_fork(server: Any, worker: Any) -> None:
    """Let signals end a process that does not serve yet: the handlers that it inherits would swallow them."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    _give_large_blocks_back()


def post_worker_init(worker: Any) -> None:
    """Prepare a process that is about to serve."""
    import gevent  # noqa: PLC0415  not in the master

    from app import app  # noqa: PLC0415  as above
    from observability import pushed_metrics, tracing  # noqa: PLC0415  as above
    from operate import recorder  # noqa: PLC0415  as above
    from predict import job_queue  # noqa: PLC0415  not in the master: gevent comes first

    logs.set_up()
    job_queue.open_queue()
    recorder.start(app)
    tracing.start()
    pushed_metrics.start(app)
    _check_schema()
    _leave_alone_what_stays()
    gevent.spawn(_heal_reports)  # waits for the disk, as nothing else does here
    if settings.READY_FD:
        with suppress(OSError):  # a supervisor that was killed no longer reads
            os.write(settings.READY_FD, b"1")


def _leave_alone_what_stays() -> None:
    """Exempt what was loaded from garbage collection, which took 3 % of the processor time of a request."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)


def _check_schema() -> None:
    """End this process, and its master, where the reports' database has the tables of another version."""
    from reports.record import report_store  # noqa: PLC0415  as above
    from storage.errors import SchemaMismatch, StorageError  # noqa: PLC0415  as above

    try:
        report_store().check()
    except SchemaMismatch as mismatch:
        logging.getLogger("sightline.api").error("DATABASE_URL: %s", mismatch)
        sys.exit(Arbiter.WORKER_BOOT_ERROR)
    except StorageError:
        pass  # it has been logged, and reports wait until the database is there


def _heal_reports() -> None:
    """Bring to an end the report that a process was writing when it was killed."""
    from reports.record import report_store  # noqa: PLC0415  as above
    from storage.errors import StorageError  # noqa: PLC0415  as above
    from wire.settings_parser import SettingError  # noqa: PLC0415  as above

    # The next writer does the same, and reports the disk error.
    with suppress(OSError, SettingError, StorageError):
        report_store().heal()


def worker_exit(server: Any, worker: Any) -> None:
    """Write to the history what was counted last, remove this process's keys from Redis, send metrics and spans."""
    from observability import metrics, pushed_metrics, tracing  # noqa: PLC0415  as above
    from operate import recorder  # noqa: PLC0415  as above
    from predict import job_queue  # noqa: PLC0415  as above

    metrics.fold()
    recorder.stop()
    job_queue.close_queue()
    pushed_metrics.stop()
    tracing.stop()
