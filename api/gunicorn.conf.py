"""How gunicorn serves the api; the deadlines of clients are in pace.py."""

import ctypes
import ipaddress
import math
import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

# Wherever it is started from, the api's own modules are those beside this file.
sys.path.insert(0, str(Path(__file__).resolve().parent))

import settings
from observability import logs, metrics_folder

wsgi_app = "app:app"
if settings.LISTEN_FD:
    bind = f"fd://{settings.LISTEN_FD}"
else:
    bind = f"[{settings.HOST}]:{settings.PORT}" if ":" in settings.HOST else f"{settings.HOST}:{settings.PORT}"
workers = settings.API_WORKERS
worker_class = "server.worker.Worker"
worker_connections = settings.MAX_CONNECTIONS
# What is under way when the process is told to stop is answered first.
graceful_timeout = math.ceil(settings.REQUEST_TIMEOUT_S) + 3
timeout = 30
loglevel = settings.LOG_LEVEL.lower()
accesslog = "-" if settings.ACCESS_LOG else None
access_log_format = logs.ACCESS_LINE
logger_class = logs.ServerLogger
sendfile = False
control_socket_disable = True
# Nobody's headers say what the scheme or the path is, not even this machine's; proxies are told in TRUSTED_PROXIES.
forwarded_allow_ips = ""
forwarder_headers = ""
secure_scheme_headers: dict[str, str] = {}
# Heartbeats are a file; one in memory works on a read-only disk too and never waits for it.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108  gunicorn makes a name of its own


def _allow_files(wanted: int) -> None:
    """Raise the number of open files to what the connections need, as far as the system lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


_allow_files(settings.MAX_CONNECTIONS + 256)


# The master names it before it has children; a child that counts alone would tell a part of the whole.
settings.share_metrics(metrics_folder.make(worker_tmp_dir))


def on_exit(server: Any) -> None:
    """Remove the counts."""
    metrics_folder.remove(settings.metrics_folder())


def when_ready(server: Any) -> None:
    """Warn once where anybody who reaches this machine may ask."""
    if not settings.API_KEYS_FILE and not _is_loopback(settings.HOST):
        server.log.warning("HOST=%s: whoever reaches it may ask, no key is needed; see API_KEYS_FILE", settings.HOST)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


# Blocks of at least this many bytes go back to the system as soon as they are free.
LARGE_BLOCK_BYTES = 256 * 1024
M_MMAP_THRESHOLD = -3


def _give_large_blocks_back() -> None:
    """Keep glibc from raising its threshold with each large body: its heap would grow far beyond what is in use."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES)


def post_fork(server: Any, worker: Any) -> None:
    """Let a process that does not serve yet be ended: the handlers it was born with would swallow the signal."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    _give_large_blocks_back()


def post_worker_init(worker: Any) -> None:
    """Prepare a process that is about to serve."""
    import middleware  # noqa: PLC0415  not in the master: gevent comes first
    from observability import tracing  # noqa: PLC0415  as above

    logs.set_up()
    middleware.open_queue()
    tracing.start()
    if settings.READY_FD:
        with suppress(OSError):  # a supervisor that was killed no longer reads
            os.write(settings.READY_FD, b"1")


def worker_exit(server: Any, worker: Any) -> None:
    """Leave nothing behind in Redis, and no span unsent."""
    import middleware  # noqa: PLC0415  as above
    from observability import tracing  # noqa: PLC0415  as above

    middleware.close_queue()
    tracing.stop()
