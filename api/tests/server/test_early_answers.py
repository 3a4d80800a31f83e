"""Answers that are given before the body has come reach clients that send on before they read."""

import select
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from sightline_testing.redis_server import RedisServer
from tests.serving import PATIENCE_S, Served, read_answer, serving

PIECES = 16
# More of a body than gunicorn reads in one piece, for answers that depend on its start.
FIRST_PIECE = bytes(2000)
SIZES = (20_000, 3_000_000)
BIG = 100_000_000
IMAGE = "POST /predict HTTP/1.1"
JPEG = "Content-Type: image/jpeg"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server without Redis, and with little memory for uploads."""
    with serving(tmp_path_factory.mktemp("served"), {"REDIS_PORT": 1, "MAX_UPLOADS_BYTES": 2_000_000}) as running:
        yield running


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that requires keys."""
    folder = tmp_path_factory.mktemp("keyed")
    (folder / "api_keys").write_text(f"alice {'0' * 64}\n")
    with serving(folder, {"REDIS_PORT": 1, "API_KEYS_FILE": folder / "api_keys"}) as running:
        yield running


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory, redis_process: RedisServer) -> Iterator[Served]:
    """A server that allows each client one request a day."""
    redis_process.command("FLUSHALL")
    with serving(
        tmp_path_factory.mktemp("limited"), {"REDIS_PORT": redis_process.port, "RATE_LIMIT": "1/day"}
    ) as running:
        running.ask(framed("length", 10, IMAGE, JPEG) + bytes(10))
        yield running


def framed(framing: str, size: int, line: str, *headers: str) -> bytes:
    """Give the head of a request whose body has one chunk, or this length."""
    how = (
        f"Content-Length: {size}\r\n\r\n" if framing == "length" else f"Transfer-Encoding: chunked\r\n\r\n{size:x}\r\n"
    )
    return "\r\n".join([line, "Host: localhost", *headers, how]).encode()


def answers_to_who_sends_on(server: Served, head: bytes, size: int) -> list[int]:
    """Wait for the answer, send the body in spite of it, and give the statuses that are there to read after that."""
    with closing(server.connect()) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(head + FIRST_PIECE)
        assert select.select([connection], [], [], PATIENCE_S)[0], "no answer before the body"
        rest = size - len(FIRST_PIECE)
        piece = bytes(rest // PIECES)
        for _ in range(PIECES):
            connection.sendall(piece)
        connection.sendall(bytes(rest - PIECES * len(piece)))
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as stream:
            status, _, _ = read_answer(stream)
            assert stream.read() == b""
    return [status]


@pytest.mark.parametrize("framing", ["length", "chunks"])
@pytest.mark.parametrize("connection", ["close", "keep-alive"])
@pytest.mark.parametrize(
    "early",
    [
        ("POST /nowhere HTTP/1.1", (), 404),
        ("POST /livez HTTP/1.1", (), 405),
        (IMAGE, (JPEG, "Sec-Fetch-Site: cross-site"), 403),
        (IMAGE, ("Content-Type: text/plain",), 400),
        ("POST /predict?top_k=none HTTP/1.1", (JPEG,), 400),
        ("GET /predict HTTP/1.1", (), 405),
        # By the parser, before there is a request.
        (IMAGE, ("Expect: a-miracle",), 417),
        (IMAGE, ("X: " + "x" * 9000,), 431),
        ("POST /" + "x" * 9000 + " HTTP/1.1", (), 414),
        (IMAGE, ("Host: elsewhere",), 400),
        ("nonsense", (), 400),
    ],
)
def test_an_answer_to_a_head_reaches_who_sends_the_body_all_the_same(
    served: Served, framing: str, connection: str, early: tuple[str, tuple[str, ...], int]
) -> None:
    line, headers, status = early
    for size in SIZES:
        head = framed(framing, size, line, f"Connection: {connection}", *headers)
        assert answers_to_who_sends_on(served, head, size) == [status]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("framing", ["length", "chunks"])
@pytest.mark.parametrize("connection", ["close", "keep-alive"])
class TestWhoMayNot:
    def test_who_has_no_key_is_told(self, keyed: Served, size: int, framing: str, connection: str) -> None:
        head = framed(framing, size, IMAGE, JPEG, f"Connection: {connection}")
        assert answers_to_who_sends_on(keyed, head, size) == [401]

    def test_who_asked_too_often_is_told(self, limited: Served, size: int, framing: str, connection: str) -> None:
        head = framed(framing, size, IMAGE, JPEG, f"Connection: {connection}")
        assert answers_to_who_sends_on(limited, head, size) == [429]


def test_a_length_beyond_all_bounds_is_refused_and_the_body_drained(served: Served) -> None:
    assert answers_to_who_sends_on(served, framed("length", BIG, IMAGE, JPEG), BIG) == [413]


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_a_body_that_the_memory_has_no_room_for_is_drained(served: Served, framing: str) -> None:
    with closing(served.connect()) as connection:
        connection.sendall(framed(framing, 8_000_000, IMAGE, JPEG) + bytes(8_000_000))
        connection.shutdown(socket.SHUT_WR)
        assert read_answer(connection)[0] == 503


@pytest.mark.parametrize(
    "broken", [b"zz\r\n", b"1\r\nxy\r\n", b"1\r\nx\r\n" * 2000, b"1;" + b"a" * 6000 + b"\r\nx\r\n"]
)
def test_a_body_that_is_broken_half_way_is_drained(served: Served, broken: bytes) -> None:
    head = framed("chunks", 1000, IMAGE, JPEG)
    assert answers_to_who_sends_on(served, head + bytes(1000) + b"\r\n" + broken, 60_000) == [400]


@pytest.mark.parametrize("connection", ["close", "keep-alive"])
def test_who_waits_for_word_is_not_told_to_send_what_is_refused(served: Served, connection: str) -> None:
    headers = ("Expect: 100-continue", f"Connection: {connection}")
    head = framed("length", 60_000, "POST /nowhere HTTP/1.1", *headers)
    with closing(served.connect()) as client, client.makefile("rb") as stream:
        client.sendall(head)
        status, told, _ = read_answer(stream)
        assert (status, told["connection"]) == (404, "close")
        # It is unknown whether the next bytes are the body: the connection is closed.
        client.sendall(bytes(60_000))
        client.shutdown(socket.SHUT_WR)
        assert stream.read() == b""


def test_a_client_that_is_too_slow_is_told_so_while_it_sends_on(tmp_path_factory: pytest.TempPathFactory) -> None:
    told = {"REDIS_PORT": 1, "UPLOAD_PACE_S": 1}
    with serving(tmp_path_factory.mktemp("quick"), told) as server:
        assert answers_to_who_sends_on(server, framed("length", 60_000, IMAGE, JPEG), 60_000) == [408]


def test_the_next_request_is_read_after_a_small_body_that_nobody_read(served: Served) -> None:
    with closing(served.connect()) as client, client.makefile("rb") as stream:
        for size in (1, 5_000, 64_000):
            client.sendall(framed("length", size, "POST /nowhere HTTP/1.1"))
            assert read_answer(stream)[0] == 404
            client.sendall(bytes(size))


def test_a_rest_that_never_comes_ends_the_connection_without_a_second_answer(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    told = {"REDIS_PORT": 1, "HEAD_TIMEOUT_S": 1}
    with serving(tmp_path_factory.mktemp("quick"), told) as server, closing(server.connect()) as client:
        client.sendall(framed("length", 5_000, "POST /nowhere HTTP/1.1") + bytes(100))
        with client.makefile("rb") as stream:
            assert read_answer(stream)[0] == 404
            assert stream.read() == b""
