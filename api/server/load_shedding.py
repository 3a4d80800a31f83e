"""Load shedding: an image that finds no room is refused before it is read, at a tenth of the cost in the application.

Any request that is not plainly an image for /predict (below SCRIPT_NAME, too), or has a header that another part of the
service must check first, is left to the application, which refuses by the same rule (predict.job_queue.check_room).
"""

import os
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple

import error_handlers
import problems
import settings
import utils
from observability import metrics, tracing
from problems import Problem
from server.clients import client_of
from server.messages import problem_response
from wire import QueueFull

# A body smaller than this is read even where the queue is known to be full: a malformed request is refused as such.
EARLY_REFUSAL_BYTES: Final = 8 * 1024
# A process that is this share of a request's timeout behind with reading requests is overloaded.
LAG_SHARE: Final = 0.1
# Up to here, reading and discarding the rest of a body is cheaper than another connection.
MAX_DISCARD_BYTES: Final = 256 * 1024
# Strict on purpose: everything else in a head is left to the parser.
_HEAD = re.compile(rb"(?:POST|PUT) [\w/.~-]*/predict HTTP/1\.1\r\n((?:[A-Za-z0-9-]+:[ \t]*[^\r\n\0]*\r\n)+)\r\n")
_FIELD = re.compile(rb"([A-Za-z0-9-]+):[ \t]*([^\r\n]*?)[ \t]*\r\n")
_LENGTH = re.compile(rb"[0-9]{1,10}")
_MILLISECONDS = re.compile(rb"[1-9][0-9]{0,6}")
# Neither an id nor anything else in a refusal has this character, and JSON does not escape it.
_PLACE: Final = "~"
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_KNOWN_CONNECTIONS = frozenset({b"keep-alive", b"close"})
# Headers that another part of the service has to check.
_CHECKED_ELSEWHERE = frozenset({b"transfer-encoding", b"content-encoding", b"origin", b"sec-fetch-site", b"upgrade"})
# Headers that may be there only once.
_SINGLE = frozenset({b"content-length", b"connection", b"expect", b"host", b"x-request-id", b"x-request-timeout-ms"})


class Refusal(NamedTuple):
    """The response, the bytes of the request that are still to come, and whether the connection is closed."""

    response: bytes
    unread: int
    closes: bool


class LoadShedder:
    """Refuses images while the queue has no room for another one, or while this process is overloaded.

    `room_fault` returns why the queue has no room for so many jobs of a client (None: not known yet), None where it has
    room or its state is unknown; `bound` returns how many jobs the queue takes, None where that is unknown.
    """

    def __init__(
        self, room_fault: Callable[[int, str | None], QueueFull | None], bound: Callable[[], int | None]
    ) -> None:
        self._room_fault = room_fault
        self._bound = bound
        paths = {"/predict", f"{settings.SCRIPT_NAME}/predict"}  # a proxy may have removed SCRIPT_NAME
        self._beginnings = tuple(f"{method} {path} ".encode() for method in ("POST", "PUT") for path in paths)

    def is_image(self, received: bytes) -> bool:
        """Return whether a request that begins with these bytes is probably an image for /predict."""
        return received.startswith(self._beginnings)

    def refuse(  # noqa: PLR0913  all but the first three go by keyword
        self,
        received: bytes,
        lag_s: float,
        connections: int,
        *,
        closes: bool,
        address: str | None = None,
        waiting: int = 0,
    ) -> Refusal | None:
        """Return the refusal of a request that begins with these bytes, None where it is to be read.

        `lag_s` is how far this process is behind, `connections` how many it holds; `closes` where the connection is to
        be closed in any case. `address` is the other end of the connection; behind a proxy the client is another one.
        `waiting` is how many images this process has still to read, each of which will probably be a job.
        """
        if not self.is_image(received) or settings.ACCESS_LOG:
            return None
        is_client = address and not settings.TRUSTED_PROXIES and not settings.API_KEYS_FILE
        if settings.API_KEYS_FILE:
            waiting = 0  # those who sent them may not have a key
        problem = self.problem(lag_s, connections, client_of(address) if is_client else None, waiting)
        refusal = None if problem is None else refusal_of(received, problem, closes=closes)
        if problem is not None and refusal is not None:
            metrics.count_refusal()
            if tracing.state.spans is not None:
                tracing.state.spans.note_refusal(received, problem.code)
        return refusal

    def problem(self, lag_s: float, connections: int, client: str | None = "", waiting: int = 0) -> Problem | None:
        """Return why there is no room for another image of a client, after those that wait; None where there is."""
        if lag_s > LAG_SHARE * settings.REQUEST_TIMEOUT_S:
            bound = self._bound()
            # With few connections it is the machine that is busy, which passes.
            if bound is None or connections > bound:
                detail = f"The service is overloaded: it is {lag_s:.1f} s behind with reading requests."
                return Problem(503, "overloaded", detail, retry_after_s=problems.soon())
        fault = self._room_fault(waiting + 1, client)
        return None if fault is None else error_handlers.problem_of(fault)


def refusal_of(received: bytes, problem: Problem, *, closes: bool = False) -> Refusal | None:
    """Return the refusal of a request that begins with these bytes; None where the application has to check it."""
    head = _HEAD.match(received)
    fields = _fields(head[1]) if head is not None else None
    if head is None or fields is None:
        return None
    length = int(fields[b"content-length"])
    if length <= EARLY_REFUSAL_BYTES and not _begins_an_image(fields, received[head.end() :]):
        return None
    # A client that sends `Expect: 100-continue` may send it all the same, or not: only a new connection is clear.
    unread = length - (len(received) - head.end())
    closes |= fields.get(b"connection", b"").lower() == b"close" or b"expect" in fields or unread > MAX_DISCARD_BYTES
    given = fields.get(b"x-request-id", b"")
    request_id = given if _REQUEST_ID.fullmatch(given) else os.urandom(16).hex().encode()
    instance = f"{settings.SCRIPT_NAME}/predict"
    told = problem.status, problem.code, problem.detail, problem.retry_after_s
    pieces = _around_request_id(*told, instance, closes, len(request_id))
    return Refusal(request_id.join(pieces), unread, closes)


@lru_cache(maxsize=256)
def _around_request_id(  # noqa: PLR0913, PLR0917  all that a refusal depends on
    status: int, code: str, detail: str, retry_after_s: int | None, instance: str, closes: bool, length: int
) -> list[bytes]:
    """Return a response without the request's id of this length; in a flood the same few are sent over and over."""
    problem = Problem(status, code, detail, retry_after_s=retry_after_s)
    place = _PLACE * length
    return problem_response(problem, request_id=place, instance=instance, closes=closes).split(place.encode())


def _fields(lines: bytes) -> dict[bytes, bytes] | None:
    """Return the headers; None where one of them is unusual."""
    pairs = [(name.lower(), value) for name, value in _FIELD.findall(lines)]
    fields = dict(pairs)
    names = [name for name, _ in pairs]
    is_usual = (
        _CHECKED_ELSEWHERE.isdisjoint(fields)
        and b"host" in fields
        and (len(names) == len(fields) or all(names.count(name) <= 1 for name in _SINGLE))
        and _LENGTH.fullmatch(fields.get(b"content-length", b"")) is not None
        and fields.get(b"connection", b"close").lower() in _KNOWN_CONNECTIONS
        and fields.get(b"expect", b"100-continue").lower() == b"100-continue"
        and _MILLISECONDS.fullmatch(fields.get(b"x-request-timeout-ms", b"1")) is not None
    )
    return fields if is_usual else None


def _begins_an_image(fields: dict[bytes, bytes], body: bytes) -> bool:
    """Return whether the body is plainly an image, so that the request cannot be malformed."""
    is_raw = fields.get(b"content-type", b"").startswith((b"image/", b"application/octet-stream"))
    return is_raw and utils.kind_of(body[: utils.HEAD_BYTES]) is not None
