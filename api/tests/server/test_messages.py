import socket
from collections.abc import Iterator
from contextlib import closing

import pytest
from gunicorn.config import Config
from gunicorn.http.body import Body
from gunicorn.http.errors import InvalidChunkSize, InvalidResponseHeader, LimitRequestHeaders, NoMoreData

from problems import Problem
from server import messages
from server.client_timeouts import Budget, ClientTimeouts, PacedReader, Turns
from server.messages import BoundedRequestParser, OneWriteResponse

HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
NEXT = b"GET /next HTTP/1.1\r\nHost: localhost\r\n\r\n"
END = b"0\r\n\r\n"
LONG_S = 3600.0


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with closing(ours), closing(theirs):
        yield ours, theirs


def body_of(pair: tuple[socket.socket, socket.socket], sent: bytes) -> bytes:
    """Send a head and these bytes, end the stream, and read the request's body."""
    ours, theirs = pair
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_000_000)
    theirs.setblocking(False)
    theirs.sendall(HEAD + sent)
    theirs.shutdown(socket.SHUT_WR)
    reader = PacedReader(ours, ClientTimeouts(LONG_S, LONG_S, LONG_S, LONG_S, LONG_S), Budget(2**30), Turns(1))
    parser = BoundedRequestParser(Config(), ours, ("127.0.0.1", 1))
    parser.unreader = reader
    request = next(parser)
    reader.expect_body()
    content: bytes = request.body.read()
    return content


def chunks(size: int, count: int, extension: bytes = b"") -> bytes:
    return (b"%x" % size + extension + b"\r\n" + b"x" * size + b"\r\n") * count


@pytest.mark.parametrize(
    ("size", "count"), [(1, 1), (1, 700), (16, 500), (128, 1000), (256, 1000), (1460, 100), (65_536, 3)]
)
@pytest.mark.parametrize("behind", [b"", NEXT * 50])
def test_chunks_as_programs_send_them_are_a_body(
    pair: tuple[socket.socket, socket.socket], size: int, count: int, behind: bytes
) -> None:
    assert body_of(pair, chunks(size, count) + END + behind) == b"x" * (size * count)


@pytest.mark.parametrize(
    ("size", "count", "extension"),
    [
        (1, 1_000, b""),
        (16, 5_000, b""),
        (64, 10_000, b""),
        (1, 10, b";" + b"a" * 800),
        (100, 100, b"; name=value" * 5),
        (1, 10, b';a="' + b"x" * 800 + b'"'),
    ],
)
def test_a_body_that_is_framing_for_the_larger_part_is_refused(
    pair: tuple[socket.socket, socket.socket], size: int, count: int, extension: bytes
) -> None:
    with pytest.raises(Problem, match="send larger chunks"):
        body_of(pair, chunks(size, count, extension) + END)


def test_no_more_of_it_is_parsed_than_any_body_may_have(pair: tuple[socket.socket, socket.socket]) -> None:
    with pytest.raises(Problem) as refusal:
        body_of(pair, chunks(1, 100_000))
    # Each of these chunks has five bytes of framing.
    content = int(str(refusal.value).partition(" for ")[2].split()[0])
    assert content <= messages.FREE_OVERHEAD_BYTES / 5 * 1.1


@pytest.mark.parametrize("size", [1, 100_000])
def test_the_line_of_a_chunk_has_to_end(pair: tuple[socket.socket, socket.socket], size: int) -> None:
    with pytest.raises((InvalidChunkSize, Problem)):
        body_of(pair, chunks(size, 1) + b"1;" + b"x" * 20_000)


def test_trailers_are_bounded(pair: tuple[socket.socket, socket.socket]) -> None:
    with pytest.raises((LimitRequestHeaders, Problem)):
        body_of(pair, chunks(1000, 1) + b"0\r\n" + b"X: y\r\n" * 10_000)


def test_a_few_trailers_are_taken(pair: tuple[socket.socket, socket.socket]) -> None:
    assert body_of(pair, chunks(10, 1) + b"0\r\nX: y\r\nZ: w\r\n\r\n" + NEXT) == b"x" * 10


SIZED = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"


def sized(pair: tuple[socket.socket, socket.socket], sent: bytes) -> tuple[BoundedRequestParser, Body]:
    """Send these bytes, end the stream, and parse a head."""
    ours, theirs = pair
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_000_000)
    theirs.sendall(sent)
    theirs.shutdown(socket.SHUT_WR)
    reader = PacedReader(ours, ClientTimeouts(LONG_S, LONG_S, LONG_S, LONG_S, LONG_S), Budget(2**30), Turns(4))
    parser = BoundedRequestParser(Config(), ours, ("127.0.0.1", 1))
    parser.unreader = reader
    request = next(parser)
    reader.expect_body(request.body.reader.length)
    return parser, request.body


@pytest.mark.parametrize("parts", [[None], [-1], [64, None], [64, 100_000, None], [150_000], [200_000]])
def test_a_body_of_known_length_is_read_whole_or_in_parts_and_no_further(
    pair: tuple[socket.socket, socket.socket], parts: list[int | None]
) -> None:
    content = bytes(range(250)) * 600
    parser, body = sized(pair, SIZED % len(content) + content + NEXT)
    assert b"".join(body.read(part) for part in parts) == content
    assert (body.read(), body.read(-1), body.reader.length) == (b"", b"", 0)
    assert next(parser).path == "/next"


@pytest.mark.parametrize("size", [None, 10])
def test_a_body_that_ends_early_is_no_body(pair: tuple[socket.socket, socket.socket], size: int | None) -> None:
    _, body = sized(pair, SIZED % 1000 + b"x" * 5)
    with pytest.raises(NoMoreData):
        body.read(size)
    assert body.failed


def test_a_header_that_would_begin_another_line_is_not_sent(pair: tuple[socket.socket, socket.socket]) -> None:
    request = next(sized(pair, SIZED % 0 + NEXT)[0])
    response = OneWriteResponse(request, pair[0], Config())
    with pytest.raises(InvalidResponseHeader):
        response.start_response("200 OK", [("Content-Length", "2"), ("X-Label", "a\r\nSet-Cookie: b")])
