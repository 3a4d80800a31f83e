"""Whether a port can be listened on and, if not, which process has it."""

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from launcher.errors import PortUnavailableError

LISTENING = "0A"
# Connections that may wait for the api; the system takes fewer where its own limit is lower.
BACKLOG = 2048
LONGEST_COMMAND = 100


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; raise PortUnavailableError with the reason where there is none.

    It outlives the api, which takes its clients from it: those who come while the api is being restarted wait.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise PortUnavailableError(_explain(error, host, port)) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        is_taken = error.errno == errno.EADDRINUSE
        raise PortUnavailableError(_explain(error, host, port), is_taken=is_taken) from error
    return listener


def _explain(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        holder = _holder(port) or "a process that this user may not see"
        return f"Port {port} of {host} is taken by {holder}. Stop it, or choose another: make serve PORT={_other(port)}"
    if error.errno == errno.EACCES:
        return f"Port {port} is for root alone. Choose another: make serve PORT=8000"
    return f"Nothing can listen on HOST={host!r}, PORT={port}: {error.strerror}"


def _other(port: int) -> int:
    return port + 1 if port < 65535 else port - 1


def _holder(port: int) -> str | None:
    """Describe the process that listens on `port`: its id and command line."""
    inodes = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    for process in Path("/proc").glob("[0-9]*"):
        if not inodes.isdisjoint(_open_files(process)):
            return f"pid {process.name} ({describe_command(int(process.name))})"
    return None


def describe_command(pid: int) -> str:
    """Return the command line of a process, shortened; nothing if it has ended."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    return b" ".join(words).decode(errors="replace").strip()[:LONGEST_COMMAND]


def _listening_inodes(port: int) -> Iterator[str]:
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        if not table.exists():
            continue
        for line in table.read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == LISTENING and int(columns[1].rpartition(":")[2], 16) == port:
                yield columns[9]


def _open_files(process: Path) -> Iterator[str]:
    try:
        for entry in (process / "fd").iterdir():
            yield os.readlink(entry)  # noqa: PTH115 - the target is a name like socket:[123], no path
    except OSError:
        return  # ended meanwhile, or another user's
