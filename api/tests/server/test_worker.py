"""The real server, `python app.py`, over plain sockets."""

import base64
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from functools import partial
from pathlib import Path

import pytest

from server.messages import DEFAULT_HEADERS, SECURITY_HEADERS
from sightline_testing import sample_images
from sightline_testing.redis_server import RedisServer
from sightline_testing.waiting import suspend
from tests.conftest import Serve
from tests.serving import API, PATIENCE_S, EchoWorker, Served, raw_image, read_answer, serving, wait_until

LIVEZ = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
READYZ = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n"
# See IDLE_GRACE_S in server/worker.py.
LONGER_THAN_IDLE_GRACE_S = 1.5
# The producer checks every 0.1 s whether clients have disconnected.
LONGER_THAN_A_LOOK_S = 0.5
HEAD_OF_AN_IMAGE = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"


def json_image(content: bytes) -> bytes:
    body = b'{"image": "' + base64.b64encode(content) + b'"}'
    return (
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
        % (len(body), body)
    )


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server without Redis."""
    with serving(tmp_path_factory.mktemp("served"), {"REDIS_PORT": 1}) as running:
        yield running


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server without Redis and with short timeouts."""
    patience = dict.fromkeys(("HEAD_TIMEOUT_S", "UPLOAD_PACE_S", "IDLE_TIMEOUT_S", "SEND_TIMEOUT_S"), 1)
    with serving(tmp_path_factory.mktemp("quick"), {"REDIS_PORT": 1, **patience}) as running:
        yield running


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server without Redis that takes few connections, and keeps them for an hour."""
    told = {"REDIS_PORT": 1, "MAX_CONNECTIONS": 20, "IDLE_TIMEOUT_S": 3600, "HEAD_TIMEOUT_S": 3600}
    with serving(tmp_path_factory.mktemp("crowded"), told) as running:
        yield running


@pytest.fixture(scope="module")
def tight(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server without Redis and with memory for a few uploads."""
    told = {"REDIS_PORT": 1, "MAX_UPLOADS_BYTES": 2_000_000}
    with serving(tmp_path_factory.mktemp("tight"), told) as running:
        yield running


@pytest.fixture(scope="module")
def echo(redis_process: RedisServer) -> Iterator[EchoWorker]:
    redis_process.command("FLUSHALL")
    with EchoWorker(redis_process.port) as running:
        yield running


@pytest.fixture(scope="module")
def answering(tmp_path_factory: pytest.TempPathFactory, echo: EchoWorker) -> Iterator[Served]:
    """A server of two processes with a worker behind it, for which each image is a job."""
    told = {"REDIS_PORT": echo.port, "REQUEST_TIMEOUT_S": PATIENCE_S, "API_WORKERS": 2, "RESULT_CACHE": 0}
    with serving(tmp_path_factory.mktemp("answering"), told) as running:
        wait_until(lambda: len(running.workers()) == 2, "both processes run")
        wait_until(lambda: running.ask(READYZ)[0] == 200, "the service is ready")
        yield running


@pytest.fixture
def worker(echo: EchoWorker) -> Iterator[EchoWorker]:
    """The worker behind `answering`, which has seen nothing yet."""
    echo.images.clear()
    usual = echo.reply
    yield echo
    echo.reply = usual


def has_ended(connection: socket.socket) -> bool:
    """Wait for the end of the connection and throw away what comes before."""
    with suppress(ConnectionResetError):
        while connection.recv(65536):
            pass
    return True


def check_headers(headers: dict[str, str]) -> None:
    for name, value in (*SECURITY_HEADERS, *DEFAULT_HEADERS):
        assert headers[name.lower()] == value
    assert headers["x-request-id"]


def _refuses(server: Served) -> bool:
    """Return whether the server takes no new connection."""
    try:
        server.connect().close()
    except OSError:
        return True
    return False


def _is_open(connection: socket.socket) -> bool:
    """Return whether the server has neither closed nor sent anything."""
    return not select.select([connection], [], [], 0)[0]


class TestHttp:
    @pytest.mark.parametrize(
        ("request_", "status", "code"),
        [
            (b"nonsense\r\n\r\n", 400, "malformed"),
            (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400, "malformed"),
            (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "malformed"),
            (b"GET / HTTP/9.9\r\n\r\n", 400, "malformed"),
            (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n", 414, "uri_too_long"),
            (b"GET / HTTP/1.1\r\nX: " + b"x" * 9000 + b"\r\n\r\n", 431, "headers_too_large"),
            (b"GET / HTTP/1.1\r\n" + b"X: x\r\n" * 200 + b"\r\n", 431, "headers_too_large"),
            (b"POST /predict HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400, "malformed"),
            (
                b"POST /predict HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                400,
                "malformed",
            ),
            (b"POST /predict HTTP/1.1\r\nContent-Length: -5\r\n\r\n", 400, "malformed"),
            (b"POST /predict HTTP/1.1\r\nTransfer-Encoding: magic\r\n\r\n", 400, "malformed"),
            (b"POST /predict HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400, "malformed"),
            (
                b"POST /predict HTTP/1.1\r\nTransfer-Encoding: deflate\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                400,
                "malformed",
            ),
            (HEAD_OF_AN_IMAGE + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400, "malformed"),
            (HEAD_OF_AN_IMAGE + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello!!", 400, "malformed"),
        ],
    )
    def test_what_is_no_proper_http_is_refused_in_the_shape_of_every_failure(
        self, served: Served, request_: bytes, status: int, code: str
    ) -> None:
        told, headers, body = served.ask(request_)
        assert told == status
        assert headers["content-type"] == "application/problem+json"
        assert json.loads(body)["code"] == code
        check_headers(headers)
        assert served.is_live()

    def test_a_coding_that_is_not_decoded_is_named(self, served: Served) -> None:
        head = b"POST /predict HTTP/1.1\r\nContent-Type: image/jpeg\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"
        status, headers, _ = served.ask(head + b"3\r\n\x1f\x8b\x08\r\n0\r\n\r\n")
        assert (status, "gzip, chunked" in headers["x-error-detail"]) == (400, True)

    @pytest.mark.parametrize("protocol", ["websocket", "h2c", "TLS/1.2"])
    def test_another_protocol_that_is_offered_is_passed_over(self, served: Served, protocol: str) -> None:
        upgrade = f"Connection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n".encode()
        status, headers, _ = served.ask(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n" + upgrade)
        assert (status, headers.get("upgrade")) == (200, None)

    def test_answers_of_the_application_carry_the_same_headers_once(self, served: Served) -> None:
        status, headers, _ = served.ask(LIVEZ)
        assert status == 200
        check_headers(headers)

    def test_one_connection_serves_request_after_request_even_sent_together(self, served: Served) -> None:
        with closing(served.connect()) as connection:
            stream = connection.makefile("rb")
            connection.sendall(LIVEZ * 3)
            assert [read_answer(stream)[0] for _ in range(3)] == [200, 200, 200]
            connection.sendall(LIVEZ)
            assert read_answer(stream)[0] == 200

    def test_a_small_body_that_nobody_reads_does_not_disturb_the_next_request(self, served: Served) -> None:
        ignored = b"POST /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello"
        with closing(served.connect()) as connection:
            stream = connection.makefile("rb")
            connection.sendall(ignored + LIVEZ)
            assert [read_answer(stream)[0] for _ in range(2)] == [405, 200]

    @pytest.mark.parametrize(
        "request_", [LIVEZ.replace(b"1.1", b"1.0"), LIVEZ.replace(b"Host", b"Connection: close\r\nHost")]
    )
    def test_a_client_that_wants_no_more_is_left_alone(self, served: Served, request_: bytes) -> None:
        with closing(served.connect()) as connection:
            connection.sendall(request_)
            stream = connection.makefile("rb")
            assert read_answer(stream)[0] == 200
            assert stream.read() == b""

    def test_head_gives_no_body(self, served: Served) -> None:
        with closing(served.connect()) as connection:
            connection.sendall(LIVEZ.replace(b"GET", b"HEAD") + LIVEZ)
            stream = connection.makefile("rb")
            assert read_answer(stream, body=False)[0] == 200
            assert read_answer(stream)[2] == b'{"status":"ok"}\n'

    def test_a_body_in_chunks_is_a_body(self, answering: Served, image: bytes) -> None:
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (image[:1000], image[1000:]))
        request = HEAD_OF_AN_IMAGE + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
        assert answering.ask_patiently(request)[0] == 200

    def test_a_client_that_asks_first_is_told_to_go_on(self, answering: Served, image: bytes) -> None:
        head = raw_image(image, headers="Expect: 100-continue\r\n").removesuffix(image)
        with closing(answering.connect()) as connection:
            connection.sendall(head)
            stream = connection.makefile("rb")
            assert stream.readline() == b"HTTP/1.1 100 Continue\r\n"
            stream.readline()
            connection.sendall(image)
            assert read_answer(stream)[0] == 200

    def test_an_image_far_over_the_limit_is_refused_while_it_is_still_coming(self, served: Served) -> None:
        with closing(served.connect()) as connection:
            connection.sendall(HEAD_OF_AN_IMAGE + b"Content-Length: 1000000000\r\n\r\n")
            connection.sendall(bytes(500_000))
            status, headers, _ = read_answer(connection)
            assert status == 413
            assert headers["connection"] == "close"
            assert has_ended(connection)

    def test_who_sends_all_of_a_too_large_image_first_hears_so_too(self, served: Served) -> None:
        status, headers, _ = served.ask(raw_image(bytes(22 * 1024**2)))
        assert status == 413
        assert headers["connection"] == "close"


class TestSlowClients:
    def drip(self, connections: list[socket.socket], stop: threading.Event) -> None:
        while not stop.wait(0.1):
            for connection in connections:
                with suppress(OSError):
                    connection.send(b"x")

    @pytest.mark.parametrize(
        ("head", "told"),
        [
            (b"GET /livez HTTP/1.1\r\nX-Slow: ", 408),
            (HEAD_OF_AN_IMAGE + b"Content-Length: 5000000\r\n\r\n\xff\xd8\xff", 408),
            (HEAD_OF_AN_IMAGE + b"Transfer-Encoding: chunked\r\n\r\nfffff\r\n\xff\xd8\xff", 408),
        ],
    )
    def test_two_hundred_clients_byte_by_byte_neither_hold_the_service_nor_stay(
        self, quick: Served, head: bytes, told: int
    ) -> None:
        stop = threading.Event()
        with ExitStack() as stack:
            slow = [stack.enter_context(closing(quick.connect())) for _ in range(200)]
            for connection in slow:
                connection.sendall(head)
            dripping = threading.Thread(target=self.drip, args=(slow, stop))
            dripping.start()
            try:
                assert [quick.ask(LIVEZ)[0] for _ in range(50)] == [200] * 50
                answers = [self.last_words(connection) for connection in slow]
            finally:
                stop.set()
                dripping.join()
        assert answers == [told] * 200

    def last_words(self, connection: socket.socket) -> int:
        """Give the status of the answer, once the connection has ended."""
        status, headers, body = read_answer(connection)
        assert headers["connection"] == "close"
        assert json.loads(body)["code"] == "client_too_slow"
        check_headers(headers)
        assert has_ended(connection)
        return status

    def test_a_quiet_connection_is_closed_without_a_word(self, quick: Served) -> None:
        with closing(quick.connect()) as connection:
            assert connection.recv(1) == b""
        with closing(quick.connect()) as connection:
            connection.sendall(LIVEZ)
            assert read_answer(connection)[0] == 200
            assert connection.recv(1) == b""

    def test_a_body_that_stops_coming_ends_its_connection(self, quick: Served) -> None:
        with closing(quick.connect()) as connection:
            connection.sendall(HEAD_OF_AN_IMAGE + b"Content-Length: 500000\r\n\r\n" + bytes(400_000))
            assert self.last_words(connection) == 408

    def test_a_client_that_does_not_take_its_answer_is_let_go(self, quick: Served) -> None:
        (quick.folder / "uploads").mkdir(exist_ok=True)
        (quick.folder / "uploads" / "large.jpg").write_bytes(b"\xff\xd8\xff" + bytes(30_000_000))
        wait_until(lambda: quick.connections() == 0, "earlier connections have ended")
        with closing(quick.connect()) as connection:
            connection.sendall(b"GET /display/large.jpg HTTP/1.1\r\nHost: localhost\r\n\r\n")
            wait_until(lambda: quick.connections() == 1, "the server has the connection")
            wait_until(lambda: quick.connections() == 0, "the server lets go of the connection")

    def test_uploads_share_the_memory_that_there_is_for_them(self, serve: Serve) -> None:
        patient = {"UPLOAD_TIMEOUT_S": 60, "UPLOAD_PACE_S": 60}
        with (
            serve(REDIS_PORT=1, MAX_UPLOADS_BYTES=1_000_000, **patient) as served,
            closing(served.connect()) as slow,
        ):
            slow.sendall(HEAD_OF_AN_IMAGE + b"Content-Length: 800000\r\n\r\n" + bytes(790_000))
            late = raw_image(b"\xff\xd8\xff" + bytes(300_000))
            wait_until(lambda: json.loads(served.ask(late)[2])["code"] == "uploads_full", "the memory is taken")
            status, headers, _ = served.ask(late)
            assert status == 503
            assert "retry-after" in headers
            slow.close()
            wait_until(lambda: json.loads(served.ask(late)[2])["code"] != "uploads_full", "the memory is free again")

    @pytest.mark.parametrize("is_json", [False, True])
    def test_large_uploads_that_come_at_once_wait_for_each_other(self, tight: Served, *, is_json: bool) -> None:
        content = sample_images.jpeg() + os.urandom(300_000)
        request = json_image(content) if is_json else raw_image(content)
        with ThreadPoolExecutor(32) as pool:
            codes = {json.loads(body)["code"] for _, _, body in pool.map(tight.ask, [request] * 64)}
        assert "uploads_full" not in codes


class TestFairness:
    FLOOD = 3000

    def answered_before_another_client(self, served: Served, request: bytes) -> int:
        """Pipeline a request thousands of times, send one over another connection, and count the answers before its."""
        [worker] = served.workers()
        with closing(served.connect()) as flooding, closing(served.connect()) as other:
            flooding.setblocking(False)
            suspend(worker)
            try:
                assert flooding.send(request * self.FLOOD) == len(request) * self.FLOOD
            finally:
                os.kill(worker, signal.SIGCONT)
            select.select([flooding], [], [], PATIENCE_S)
            other.sendall(LIVEZ)
            answered = 0
            while not select.select([other], [], [], 0.001)[0]:
                with suppress(BlockingIOError):
                    answered += flooding.recv(65536).count(b"HTTP/1.1 ")
            assert read_answer(other)[0] == 200
            return answered

    def test_requests_that_are_sent_together_let_other_clients_go_on_in_between(self, served: Served) -> None:
        assert self.answered_before_another_client(served, LIVEZ) < self.FLOOD / 2

    def test_requests_with_bodies_that_nobody_reads_do_too(self, served: Served) -> None:
        request = b"POST /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n" + bytes(9)
        assert self.answered_before_another_client(served, request) < self.FLOOD / 2

    @pytest.mark.parametrize("sent", [b"", b"GET /livez HT", LIVEZ])
    def test_connections_that_are_held_for_nothing_make_room_for_those_that_ask(
        self, crowded: Served, sent: bytes
    ) -> None:
        wait_until(lambda: crowded.connections() == 0, "earlier connections have ended")
        with ExitStack() as stack:
            for _ in range(10):
                stack.enter_context(closing(crowded.connect())).sendall(sent)
            regular = stack.enter_context(closing(crowded.connect()))
            for _ in range(30):
                stack.enter_context(closing(crowded.connect())).sendall(sent)
                regular.sendall(LIVEZ)
                assert read_answer(regular)[0] == 200
                assert crowded.ask(LIVEZ)[0] == 200

    def test_a_body_of_tiny_chunks_is_refused_with_the_reason(self, served: Served) -> None:
        body = b"3\r\n\xff\xd8\xff\r\n" + b"1\r\nx\r\n" * 20_000 + b"0\r\n\r\n"
        status, _, told = served.ask(HEAD_OF_AN_IMAGE + b"Transfer-Encoding: chunked\r\n\r\n" + body)
        assert (status, json.loads(told)["code"]) == (400, "malformed")
        assert "send larger chunks" in json.loads(told)["detail"]


class TestWithAWorker:
    def test_many_clients_at_once_each_get_the_answer_to_their_own_image(
        self, answering: Served, worker: EchoWorker
    ) -> None:
        contents = [sample_images.jpeg(64, 48, seed=seed) for seed in range(64)]
        with ThreadPoolExecutor(16) as clients:
            ask = [raw_image(content, path="/predict?top_k=1") for content in contents]
            answers = [json.loads(body) for _, _, body in clients.map(answering.ask_patiently, ask)]
        assert [answer["success"] for answer in answers] == [True] * 64
        assert len({answer["filename"] for answer in answers}) == 64
        assert sorted(worker.images) == sorted(answer["filename"] for answer in answers)

    def test_the_job_of_a_client_that_has_gone_is_taken_back(
        self, answering: Served, worker: EchoWorker, redis_process: RedisServer, image: bytes
    ) -> None:
        worker.reply = lambda _: None
        with closing(answering.connect()) as connection:
            connection.sendall(raw_image(image))
            wait_until(lambda: worker.images != [], "the job is in progress")
        wait_until(lambda: redis_process.command("XLEN", "{sightline}:jobs") == b":0\r\n", "the job is taken back")

    @pytest.mark.parametrize("version", [b"1.1", b"1.0"])
    @pytest.mark.parametrize("count", [1, 2])
    def test_a_client_that_has_ended_its_own_side_gets_its_answers(
        self, answering: Served, worker: EchoWorker, image: bytes, version: bytes, count: int
    ) -> None:
        release = threading.Event()
        reply = worker.reply
        worker.reply = lambda delivery: reply(delivery) if release.wait(PATIENCE_S) else None
        request = raw_image(image, headers="Connection: keep-alive\r\n").replace(b"HTTP/1.1", b"HTTP/" + version)
        with closing(answering.connect()) as connection:
            connection.sendall(request * count)
            connection.shutdown(socket.SHUT_WR)
            # Answered once the server has noticed the end a few times.
            first = connection.recv(1) if count == 1 else b""
            time.sleep(LONGER_THAN_A_LOOK_S)
            release.set()
            received = first + b"".join(iter(partial(connection.recv, 65536), b""))
        assert received.startswith(b"HTTP/%b 200" % version)
        assert received.count(b"HTTP/%b 200" % version) == received.count(b'"success": true') == count

    def test_a_batch_of_a_client_that_has_ended_its_own_side_is_answered(
        self, answering: Served, worker: EchoWorker
    ) -> None:
        release = threading.Event()
        reply = worker.reply
        worker.reply = lambda delivery: reply(delivery) if release.wait(PATIENCE_S) else None
        texts = [base64.b64encode(sample_images.jpeg(seed=seed)).decode() for seed in range(5)]
        request = raw_image(json.dumps({"images": texts}).encode()).replace(b"image/jpeg", b"application/json")
        with closing(answering.connect()) as connection:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(1, socket.MSG_PEEK) == b"H"
            release.set()
            status, _, body = read_answer(connection)
        assert (status, [each["success"] for each in json.loads(body)["results"]]) == (200, [True] * 5)

    def test_told_to_stop_it_answers_what_is_under_way_and_lets_the_idle_go(
        self, serve: Serve, worker: EchoWorker, redis_process: RedisServer, image: bytes
    ) -> None:
        release = threading.Event()
        reply = worker.reply
        worker.reply = lambda delivery: reply(delivery) if release.wait(PATIENCE_S) else None
        replies = set(redis_process.command("KEYS", "*replies*").split())
        told = {"REDIS_PORT": worker.port, "REQUEST_TIMEOUT_S": PATIENCE_S, "IDLE_TIMEOUT_S": 3600}
        with serve(**told) as server, ExitStack() as stack:
            wait_until(lambda: server.ask(READYZ)[0] == 200, "the service is ready")
            busy, idle = (stack.enter_context(closing(server.connect())) for _ in range(2))
            idle.sendall(LIVEZ)
            read_answer(idle)
            busy.sendall(raw_image(image))
            wait_until(lambda: worker.images != [], "the job is in progress")
            server.process.send_signal(signal.SIGTERM)
            assert idle.recv(1) == b""
            release.set()
            status, headers, _ = read_answer(busy)
            assert (status, headers["connection"]) == (200, "close")
            assert server.process.wait(PATIENCE_S) == 0
        assert set(redis_process.command("KEYS", "*replies*").split()) == replies

    def test_told_to_stop_it_answers_what_had_come_when_the_last_connections_end(
        self, serve: Serve, worker: EchoWorker, image: bytes
    ) -> None:
        told = {"REDIS_PORT": worker.port, "REQUEST_TIMEOUT_S": PATIENCE_S, "IDLE_TIMEOUT_S": 3600}
        # On a busy machine the process may have closed its connections before it can be stopped: then try again.
        while True:
            with serve(**told) as server, ExitStack() as stack:
                wait_until(lambda: server.ask(READYZ)[0] == 200, "the service is ready")
                connections = [stack.enter_context(closing(server.connect())) for _ in range(16)]
                for idle in connections:
                    idle.sendall(LIVEZ)
                    read_answer(idle)
                [serving] = server.workers()
                server.process.send_signal(signal.SIGTERM)
                wait_until(partial(_refuses, server), "it takes no more connections")
                # As long as it keeps them, it stands still; all that it finds then has come meanwhile.
                suspend(serving)
                try:
                    if not all(map(_is_open, connections)):
                        continue
                    time.sleep(LONGER_THAN_IDLE_GRACE_S)
                    for idle in connections:
                        idle.sendall(raw_image(image))
                finally:
                    os.kill(serving, signal.SIGCONT)
                answers = [read_answer(idle) for idle in connections]
                assert {(status, headers["connection"]) for status, headers, _ in answers} == {(200, "close")}
                assert server.process.wait(PATIENCE_S) == 0
                return

    def test_several_processes_share_the_port_and_the_page_s_cookie(self, answering: Served) -> None:
        _, headers, _ = answering.ask(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
        cookie = headers["set-cookie"].partition(";")[0]
        assert "HttpOnly" in headers["set-cookie"]
        assert "SameSite=Lax" in headers["set-cookie"]
        page = f"GET / HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n".encode()
        assert all(b"Choose an image first" in answering.ask(page)[2] for _ in range(20))

    def test_reports_of_many_clients_are_all_kept(self, answering: Served) -> None:
        bodies = [f"report={{'filename': 'a{number}.jpg', 'prediction': 'x', 'score': 1}}" for number in range(64)]
        head = "POST /feedback HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        requests = [f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode() for body in bodies]
        with ThreadPoolExecutor(16) as clients:
            assert {status for status, _, _ in clients.map(answering.ask, requests)} == {200}
        lines = (answering.folder / "feedback" / "feedback").read_text().splitlines()
        assert sorted(lines) == sorted(body.removeprefix("report=") for body in bodies)
        assert len((answering.folder / "feedback" / "feedback.csv").read_text().splitlines()) == 65


class TestStart:
    def test_nothing_is_warned_of_and_nothing_fails(self, answering: Served, image: bytes) -> None:
        assert answering.ask_patiently(raw_image(image))[0] == 200
        log = answering.log
        assert "Warning" not in log
        assert "Traceback" not in log
        assert "Using worker: server.worker.Worker" in log

    def test_a_setting_that_cannot_be_is_refused_with_its_key_and_value(self) -> None:
        environment = {**os.environ, "PORT": "http"}
        outcome = subprocess.run(
            [sys.executable, "app.py"], cwd=API, env=environment, capture_output=True, text=True, check=False
        )
        assert outcome.returncode != 0
        assert "PORT='http' is not a whole number" in outcome.stderr

    def test_it_starts_from_any_folder_and_keeps_its_files_there(self, tmp_path: Path) -> None:
        with serving(tmp_path, {"REDIS_PORT": 1, "UPLOAD_FOLDER": "up/loads"}, cwd=tmp_path) as served:
            assert served.ask(raw_image(b"\xff\xd8\xff"))[0] == 503
        assert len(list((tmp_path / "up" / "loads").iterdir())) == 1

    def test_the_master_loads_nothing_of_the_application_before_gevent_can_patch_it(self) -> None:
        program = (
            "import runpy, shutil, sys; runpy.run_path('gunicorn.conf.py'); import server.worker, settings\n"
            "shutil.rmtree(settings.metrics_folder())\n"
            "first = ('wire.settings_parser', 'wire.process', 'wire.redis.address')  # none opens a socket\n"
            "print([name for name in sorted(sys.modules) if not name.startswith(first) and name != 'wire.redis'"
            " and (name in {'app', 'flask', 'prometheus_client', 'views'} or name.startswith('wire.'))])"
        )
        outcome = subprocess.run([sys.executable, "-c", program], cwd=API, capture_output=True, text=True, check=True)
        assert outcome.stdout == "[]\n"

    def test_what_the_master_has_loaded_stays_out_of_its_children_s_garbage_collection(self) -> None:
        """A collection writes to each object that it visits, and so makes a copy of its page for each process."""
        program = (
            "import gc, runpy, shutil; names = runpy.run_path('gunicorn.conf.py'); import settings\n"
            "shutil.rmtree(settings.metrics_folder())\n"
            "names['pre_fork'](None, None); print(gc.get_freeze_count() > 1000, len(gc.get_objects()) < 1000)"
        )
        outcome = subprocess.run([sys.executable, "-c", program], cwd=API, capture_output=True, text=True, check=True)
        assert outcome.stdout == "True True\n"

    def test_a_process_reads_once_which_packages_are_installed_and_lets_plugins_of_gevent_have_their_say(
        self, tmp_path: Path
    ) -> None:
        packaged = tmp_path / "plugin-1.dist-info"
        packaged.mkdir()
        (packaged / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1\n")
        (packaged / "entry_points.txt").write_text("[gevent.plugins.monkey.did_patch_module]\nsay = plugin:say\n")
        (tmp_path / "plugin.py").write_text("names = []\ndef say(event): names.append(event.module_name)\n")
        program = (
            f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
            "from importlib import metadata\n"
            "find, distributions, found = metadata.entry_points, metadata.distributions, []\n"
            "metadata.distributions = lambda: found.append(1) or distributions()\n"
            "from server.worker import Worker\n"
            "worker = object.__new__(Worker); worker.sockets = []; worker.patch()\n"
            "import plugin; print(len(found), metadata.entry_points is find, {'socket', 'ssl'} <= {*plugin.names})"
        )
        outcome = subprocess.run([sys.executable, "-c", program], cwd=API, capture_output=True, text=True, check=True)
        assert outcome.stdout == "1 True True\n"


BROKEN_APP = """
import sys
sys.path.insert(0, {api!r})
from app import app

def stream(error, before):
    yield from [b"begun"] * before
    raise RuntimeError("a fault") if error == "fault" else OSError(5, "Input/output error")

@app.get("/broken/<error>/<int:before>")
def broken(error, before):
    return app.response_class(stream(error, before))
"""


@pytest.fixture(scope="module")
def breaking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with responses that break off after so many pieces, by an error of ours or of a disk."""
    folder = tmp_path_factory.mktemp("breaking")
    (folder / "broken.py").write_text(BROKEN_APP.format(api=str(API)))
    configuration = ["--config", str(API / "gunicorn.conf.py"), "--pythonpath", str(folder)]
    command = ["-m", "gunicorn", *configuration, "broken:app"]
    with serving(folder, {"REDIS_PORT": 1}, command=command) as running:
        yield running


@pytest.mark.parametrize("error", ["fault", "disk"])
@pytest.mark.parametrize("before", [1, 2])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_response_that_breaks_off_is_reset_and_gets_no_second_head(
    breaking: Served, error: str, before: int, version: str
) -> None:
    received = b""
    with closing(breaking.connect()) as connection:
        connection.sendall(f"GET /broken/{error}/{before} HTTP/{version}\r\nHost: localhost\r\n\r\n".encode())
        try:
            while data := connection.recv(65536):
                received += data
            is_reset = False
        except ConnectionResetError:
            is_reset = True
    assert is_reset
    assert received.count(b"HTTP/1") <= 1
    assert b"problem" not in received
    assert not received.endswith(b"0\r\n\r\n")
    assert breaking.is_live()


def test_a_response_that_breaks_before_it_began_is_500(breaking: Served) -> None:
    assert breaking.ask(b"GET /broken/fault/0 HTTP/1.1\r\nHost: localhost\r\n\r\n")[0] == 500


def test_a_response_that_a_disk_breaks_before_it_began_ends_its_connection_alone(breaking: Served) -> None:
    with pytest.raises(ConnectionResetError):
        breaking.ask(b"GET /broken/disk/0 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert breaking.is_live()
