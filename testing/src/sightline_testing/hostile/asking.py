"""Send many images in parallel over connections that stay open, and the memory that this costs the service."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from threading import local
from typing import Any
from urllib.parse import urlsplit

from sightline_testing.faults.system import processes

TIMEOUT_S = 120.0
# A machine this busy may let Redis seem away for a moment; a client would come back as well.
RETRIES = 20
MAX_IDLE_S = 3.0


@dataclass(frozen=True)
class Reply:
    """What came back, after how many seconds, and after how many since the last byte of the request."""

    status: int
    body: bytes
    seconds: float
    waited: float

    @property
    def problem(self) -> Any:
        """The JSON document."""
        return json.loads(self.body)


class Sender:
    """Sends images to one service from any number of threads, each over a connection of its own."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._place = (parts.hostname or "", parts.port or 80)
        self._own = local()
        self._open: list[HTTPConnection] = []

    def close(self) -> None:
        """Close the connections of all threads."""
        for connection in self._open:
            connection.close()

    def send(self, content: bytes, *, as_form: bool = True) -> Reply:
        """Send an image to /predict, and again if the service is busy."""
        for _ in range(RETRIES):
            reply = self._send(content, as_form=as_form)
            if reply.status != 503:
                break
            time.sleep(0.2)
        return reply

    def send_all(self, contents: Iterable[bytes], threads: int, *, as_form: bool = True) -> Iterator[Reply]:
        """Send all of them, in order, so many at a time."""
        with ThreadPoolExecutor(threads) as pool:
            yield from pool.map(lambda content: self.send(content, as_form=as_form), contents)

    def _send(self, content: bytes, *, as_form: bool) -> Reply:
        connection: HTTPConnection | None = getattr(self._own, "connection", None)
        # The service closes connections that are idle for a while.
        if connection is None or time.monotonic() - self._own.used_at > MAX_IDLE_S:
            connection = self._own.connection = HTTPConnection(*self._place, timeout=TIMEOUT_S)
            self._open.append(connection)
        body, kind = form_of(content) if as_form else (content, "application/octet-stream")
        began = time.perf_counter()
        try:
            connection.request("POST", "/predict", body, {"Content-Type": kind})
            sent = time.perf_counter()
            answer = connection.getresponse()
            content, now = answer.read(), time.perf_counter()
            reply = Reply(answer.status, content, now - began, now - sent)
            self._own.used_at = time.monotonic()
            return reply
        except BaseException:
            self._own.connection = None
            connection.close()
            raise


def form_of(content: bytes, name: str = "image.png") -> tuple[bytes, str]:
    """A form with the image in its field `file`, and the form's content type."""
    boundary = secrets.token_hex(16)
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    return head.encode() + content + f"\r\n--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


@dataclass
class Growth:
    """How much more memory the processes of a service have taken meanwhile, at most, in MiB by command line."""

    peaks: dict[str, float]

    @property
    def largest(self) -> float:
        """That of the process that took most."""
        return max(self.peaks.values(), default=0.0)


@contextmanager
def memory_watched(launcher_pid: int, is_watched: Callable[[str], bool] = lambda command: True) -> Iterator[Growth]:
    """Measure while the block runs; processes that are started in it count from nothing."""
    before = {pid: memory_mib(pid, "VmRSS") for pid in processes(launcher_pid)}
    for pid in before:
        # Resets the peak, VmHWM, to what is in memory now.
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    growth = Growth({})
    yield growth
    for pid, command in processes(launcher_pid).items():
        if is_watched(command):
            growth.peaks[f"{pid} {command}"] = memory_mib(pid, "VmHWM") - before.get(pid, 0.0)


def memory_mib(pid: int | str, name: str) -> float:
    """One of the figures that the kernel keeps of a process' memory."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith(name + ":"))


def files_below(folder: Path) -> set[str]:
    """Every file, link and folder below, relative to it."""
    return {os.path.relpath(path, folder) for path in folder.rglob("*")}
