"""Start the usual design: Redis, one api process, and the model workers, as children of this process."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from benchmarks import settings

# gunicorn's threads, enough for every connection of the bench: its default of one would make the comparison easy.
API_THREADS = 160


def commands() -> list[list[str]]:
    """Return the command line of each process."""
    redis_server = ["redis-server", "--port", "0", "--unixsocket", settings.REDIS_SOCKET, "--save", ""]
    api = [sys.executable, "-m", "gunicorn", "--worker-class", "gthread", "--threads", str(API_THREADS)]
    api += ["--bind", f"127.0.0.1:{settings.PORT}", "--timeout", "120", "benchmarks.naive.api:app"]
    worker = [sys.executable, "-m", "benchmarks.naive.worker"]
    return [redis_server, api, *[worker] * settings.WORKERS]


def main() -> None:
    """Run until a signal to stop, then stop every child."""
    signal.signal(signal.SIGTERM, _exit)
    settings.UPLOADS.mkdir(parents=True, exist_ok=True)
    children: list[subprocess.Popen[bytes]] = []
    try:
        for command in commands():
            children.append(subprocess.Popen(command))
            _wait_for_redis(children[0])
        children[0].wait()
    finally:
        for child in reversed(children):
            child.terminate()
        for child in children:
            child.wait()


def _wait_for_redis(redis_server: subprocess.Popen[bytes]) -> None:
    while redis_server.poll() is None and not Path(settings.REDIS_SOCKET).exists():
        time.sleep(0.01)


def _exit(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    main()
