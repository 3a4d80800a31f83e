"""A flood of photographs over new connections, from a process of its own: it costs the test's worker no time."""

import json
import multiprocessing
import socket
import threading
from collections import Counter
from collections.abc import MutableSequence
from contextlib import closing, suppress
from multiprocessing.synchronize import Event
from typing import Final

from sightline_testing import sample_images
from tests.serving import PATIENCE_S, raw_image, read_answer
from wire.producer.admission import SHARE_IS_USED

FLOODER: Final = "127.0.0.1"
# As large as photographs.
IMAGE_BYTES: Final = 110_000
IMAGE: Final = sample_images.jpeg(64, 48)
# Much shorter than any Retry-After, and long enough that the machine has time for the service.
PAUSE_S: Final = 0.3
SHARE: Final = "the flooder's share is used"
WITHOUT_A_TIME: Final = "503 without Retry-After"
# What a machine that stands still for seconds makes of requests for which there was room.
OF_A_STANDSTILL: Final = frozenset({"overloaded", "deadline_exceeded", "no_worker", "redis_unavailable"})
_OTHER: Final = "another answer"
_OUTCOMES: Final = ("200", "queue_full", SHARE, *sorted(OF_A_STANDSTILL), WITHOUT_A_TIME, _OTHER)
_processes = multiprocessing.get_context("spawn")


def ask(port: int, address: str, seed: int) -> str:
    """Send one image over a new connection from an address; return the status, or the code of a failure."""
    content = IMAGE + seed.to_bytes(8, "big") + bytes(IMAGE_BYTES)
    with closing(socket.create_connection(("127.0.0.1", port), PATIENCE_S, (address, 0))) as connection:
        connection.sendall(raw_image(content))
        status, headers, body = read_answer(connection)
    if status == 503 and "retry-after" not in headers:
        return WITHOUT_A_TIME
    problem = json.loads(body)
    return SHARE if SHARE_IS_USED in problem.get("detail", "") else problem.get("code", str(status))


class Flood:
    """Connections of one address that ask again once they are answered, and a moment after they are refused."""

    def __init__(self, port: int, connections: int) -> None:
        self._counts = _processes.Array("q", len(_OUTCOMES))
        self._stop = _processes.Event()
        self._process = _processes.Process(target=_flood, args=(port, connections, self._counts, self._stop))

    @property
    def told(self) -> Counter[str]:
        """Return how often each outcome has been received so far."""
        return Counter(dict(zip(_OUTCOMES, self._counts[:], strict=True)))

    def is_refused(self, times: int) -> bool:
        """Return whether it has been refused for a full queue more often than that."""
        return self.told["queue_full"] > times

    def __enter__(self) -> "Flood":
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._process.join(PATIENCE_S)
        self._process.kill()


def _flood(port: int, connections: int, counts: MutableSequence[int], stop: Event) -> None:
    told: Counter[str] = Counter()
    threads = [threading.Thread(target=_ask, args=(port, number, told, stop)) for number in range(connections)]
    for thread in threads:
        thread.start()
    while not stop.wait(0.05):
        counts[:] = [told[outcome] for outcome in _OUTCOMES]
    for thread in threads:
        thread.join()
    counts[:] = [told[outcome] for outcome in _OUTCOMES]


def _ask(port: int, number: int, told: Counter[str], stop: Event) -> None:
    seed = number << 32
    while not stop.is_set():
        seed += 1
        with suppress(OSError):
            outcome = ask(port, FLOODER, seed)
            told[outcome if outcome in _OUTCOMES else _OTHER] += 1
            stop.wait(0 if outcome == "200" else PAUSE_S)
