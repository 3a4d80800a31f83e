"""Refusing a picture before it is read: while the queue is full, a flood must cost next to nothing.

The application would say the same (see asking.refuse_early), at ten times the price. What is not plainly a picture for
/predict, or has a header that somebody else must judge first, goes there.
"""

import re
import secrets
from typing import Final, NamedTuple

import error_handlers
import middleware
import problems
import settings
from images import sniffing
from observability import metrics, tracing
from predict.options import EARLY_REFUSAL_BYTES
from problems import Problem
from server import responses
from wire.errors import QueueFull
from wire.producer.admission import retry_after_s
from wire.queue_stats import QueueSnapshot

# A request that would lose so much of its deadline before anybody looks at it is better told at once.
LAG_SHARE: Final = 0.1
# To read what comes and throw it away is cheaper than another connection, up to here.
MAX_DISCARD_BYTES: Final = 256 * 1024
# Strict on purpose: any doubt is the parser's business.
_HEAD = re.compile(rb"(?:POST|PUT) /predict HTTP/1\.1\r\n((?:[A-Za-z0-9-]+:[ \t]*[^\r\n\0]*\r\n)+)\r\n")
_FIELD = re.compile(rb"([A-Za-z0-9-]+):[ \t]*([^\r\n]*?)[ \t]*\r\n")
_LENGTH = re.compile(rb"[0-9]{1,10}")
_MILLISECONDS = re.compile(rb"[1-9][0-9]{0,6}")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_KNOWN_CONNECTIONS = frozenset({b"keep-alive", b"close"})
# Whose presence another part of the service has to judge.
_JUDGED = frozenset({b"transfer-encoding", b"origin", b"sec-fetch-site", b"upgrade"})
# Which may stand there once only.
_SINGLE = frozenset({b"content-length", b"connection", b"expect", b"host", b"x-request-id", b"x-request-timeout-ms"})


class Refusal(NamedTuple):
    """The answer, how much of the request is still to come, and whether the connection ends with it."""

    answer: bytes
    unread: int
    closes: bool


def refuse(received: bytes, lag_s: float, connections: int, *, closes: bool) -> Refusal | None:
    """Judge a request that begins with these bytes.

    The process is so far behind, holds so many connections, and closes them anyway or not.
    """
    if not received.startswith((b"POST /predict ", b"PUT /predict ")) or settings.ACCESS_LOG:
        return None
    fault = fault_of(middleware.queue_state(), lag_s, connections)
    refusal = None if fault is None else refusal_of(received, fault, closes=closes)
    if refusal is not None:
        metrics.count_refusal()
        if tracing.state.spans is not None:
            tracing.state.spans.note_refusal(received, "queue_full" if isinstance(fault, QueueFull) else "overloaded")
    return refusal


def fault_of(state: QueueSnapshot | None, lag_s: float, connections: int) -> QueueFull | Problem | None:
    """Say why there is no place for one more; None where there is one."""
    # Late with few to serve, it is the machine that is busy, and that passes.
    is_flooded = state is None or connections > state.bound
    if is_flooded and lag_s > LAG_SHARE * settings.REQUEST_TIMEOUT_S:
        detail = f"The service is busy: it is {lag_s:.1f} s behind with reading requests."
        return Problem(503, "overloaded", detail, retry_after_s=problems.soon())
    depth = 0 if state is None else middleware.depth(state)
    if state is None or depth < state.bound:
        return None
    return QueueFull(depth, state.bound, retry_after_s(depth, state.rate))


def refusal_of(received: bytes, fault: QueueFull | Problem, *, closes: bool = False) -> Refusal | None:
    """Give what to answer to a request that begins with these bytes; None where the application shall see it."""
    head = _HEAD.match(received)
    fields = _fields(head[1]) if head is not None else None
    if head is None or fields is None:
        return None
    length = int(fields[b"content-length"])
    if length <= EARLY_REFUSAL_BYTES and not _begins_a_picture(fields, received[head.end() :]):
        return None
    # Somebody who asks whether to send the body may send it all the same, or not: only a new connection is clear.
    unread = length - (len(received) - head.end())
    closes |= fields.get(b"connection", b"").lower() == b"close" or b"expect" in fields or unread > MAX_DISCARD_BYTES
    return Refusal(_answer(fault, fields, closes), unread, closes)


def _fields(lines: bytes) -> dict[bytes, bytes] | None:
    """Read the headers; None where one of them is anything but ordinary."""
    pairs = [(name.lower(), value) for name, value in _FIELD.findall(lines)]
    fields = dict(pairs)
    names = [name for name, _ in pairs]
    is_ordinary = (
        _JUDGED.isdisjoint(fields)
        and b"host" in fields
        and all(names.count(name) <= 1 for name in _SINGLE)
        and _LENGTH.fullmatch(fields.get(b"content-length", b"")) is not None
        and fields.get(b"connection", b"close").lower() in _KNOWN_CONNECTIONS
        and fields.get(b"expect", b"100-continue").lower() == b"100-continue"
        and _MILLISECONDS.fullmatch(fields.get(b"x-request-timeout-ms", b"1")) is not None
    )
    return fields if is_ordinary else None


def _begins_a_picture(fields: dict[bytes, bytes], body: bytes) -> bool:
    """Whether the body is plainly no malformed one, as which it would have to be told."""
    is_raw = fields.get(b"content-type", b"").startswith((b"image/", b"application/octet-stream"))
    return is_raw and sniffing.kind_of(body[: sniffing.HEAD_BYTES]) is not None


def _answer(fault: QueueFull | Problem, fields: dict[bytes, bytes], closes: bool) -> bytes:
    problem = error_handlers.problem_of(fault)
    assert problem is not None  # noqa: S101  it is one of those that are told
    given = fields.get(b"x-request-id", b"")
    request_id = given.decode() if _REQUEST_ID.fullmatch(given) else secrets.token_hex(16)
    return responses.whole_answer(problem, request_id=request_id, instance="/predict", closes=closes)
