import json
import re
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from problems import Problem
from server.load_shedding import LoadShedder, Refusal, refusal_of
from server.messages import DEFAULT_HEADERS, SECURITY_HEADERS
from sightline_testing import sample_images
from sightline_testing.redis_server import RedisServer
from tests.serving import PATIENCE_S, EchoWorker, Served, raw_image, read_answer, serving, wait_until
from wire import QueueFull

FULL = Problem(503, "queue_full", "The service is busy.", retry_after_s=2)
LARGE = b"\xff\xd8\xff" + bytes(20_000)


def refused(request: bytes) -> Refusal:
    found = refusal_of(request, FULL)
    assert found is not None
    return found


def shedder(fault: QueueFull | None = None, bound: int | None = 100) -> LoadShedder:
    return LoadShedder(lambda count, client: fault, lambda: bound)


class TestProblem:
    def test_a_queue_without_room_refuses_with_its_numbers(self) -> None:
        assert shedder().problem(lag_s=0.0, connections=500) is None
        problem = shedder(QueueFull(100, 100, 1.5)).problem(lag_s=0.0, connections=500)
        assert problem is not None
        assert (problem.status, problem.code) == (503, "queue_full")
        assert "100 jobs" in problem.detail

    def test_a_process_that_is_behind_is_overloaded_where_it_holds_many_connections(self) -> None:
        for bound, connections in ((None, 1), (100, 101)):
            problem = shedder(bound=bound).problem(lag_s=60.0, connections=connections)
            assert problem is not None
            assert problem.code == "overloaded"

    def test_a_process_that_is_behind_with_few_connections_is_not_flooded(self) -> None:
        assert shedder(bound=100).problem(lag_s=60.0, connections=100) is None


class TestRefusalOf:
    def test_a_plain_image_is_refused_with_every_header_and_the_rest_of_its_body_is_known(self) -> None:
        request = raw_image(LARGE, headers="X-Request-Id: mine-7\r\n")
        found = refused(request[:8192])
        head, _, body = found.response.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        assert lines[0] == "HTTP/1.1 503 Service Unavailable"
        headers = dict(line.split(": ", 1) for line in lines[1:])
        assert headers.items() >= dict((*SECURITY_HEADERS, *DEFAULT_HEADERS)).items()
        assert headers["X-Request-Id"] == "mine-7"
        assert headers["Connection"] == "keep-alive"
        assert 1 <= int(headers["Retry-After"]) <= 5
        problem = json.loads(body)
        assert (problem["code"], problem["request_id"], problem["instance"]) == ("queue_full", "mine-7", "/predict")
        assert (found.unread, found.closes) == (len(request) - 8192, False)

    @pytest.mark.parametrize("request_id", ["a", "mine-7", "_." * 64])
    def test_each_request_is_refused_with_its_own_id(self, request_id: str) -> None:
        answers = [refused(raw_image(LARGE, headers=f"X-Request-Id: {each}\r\n")) for each in (request_id, "other")]
        for each, found in zip((request_id, "other"), answers, strict=True):
            head, _, body = found.response.partition(b"\r\n\r\n")
            headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
            assert headers["X-Request-Id"] == json.loads(body)["request_id"] == each
            assert int(headers["Content-Length"]) == len(body)

    def test_a_request_without_an_id_is_given_one(self) -> None:
        given = [json.loads(refused(raw_image(LARGE)).response.partition(b"\r\n\r\n")[2])["request_id"] for _ in "ab"]
        assert given[0] != given[1]
        assert all(re.fullmatch(r"[0-9a-f]{32}", each) for each in given)

    def test_what_came_of_the_next_request_is_known_too(self) -> None:
        small = raw_image(b"\xff\xd8\xff" + bytes(100))
        assert refused(small + b"GET ").unread == -4

    @pytest.mark.parametrize("header", ["Connection: close", "Connection: Close", "Expect: 100-continue"])
    def test_who_may_not_send_the_rest_is_told_to_come_by_another_connection(self, header: str) -> None:
        found = refused(raw_image(LARGE, headers=f"{header}\r\n"))
        assert found.closes
        assert b"\r\nConnection: close\r\n" in found.response

    @pytest.mark.parametrize(
        "request_",
        [
            raw_image(LARGE, path="/"),
            raw_image(LARGE, path="/predict?top_k=5"),
            raw_image(LARGE).replace(b"HTTP/1.1", b"HTTP/1.0"),
            raw_image(LARGE).replace(b"Host: localhost\r\n", b""),
            raw_image(LARGE, headers="Content-Length: 7\r\n"),
            raw_image(LARGE, headers="Transfer-Encoding: chunked\r\n"),
            raw_image(LARGE, headers="Origin: https://elsewhere.example\r\n"),
            raw_image(LARGE, headers="Sec-Fetch-Site: cross-site\r\n"),
            raw_image(LARGE, headers="Connection: upgrade\r\n"),
            raw_image(LARGE, headers="X-Request-Timeout-Ms: soon\r\n"),
            raw_image(LARGE, headers="X-Folded: a\r\n b\r\n"),
            raw_image(LARGE, headers="X-Space : a\r\n"),
            raw_image(LARGE, headers="no colon\r\n"),
            raw_image(LARGE).replace(b"Content-Length: ", b"Content-Length: +"),
            raw_image(LARGE).replace(b"\r\n", b"\n"),
            raw_image(LARGE)[:40],
            raw_image(b"no image"),
            raw_image(LARGE[:4000]).replace(b"image/jpeg", b"multipart/form-data; boundary=x"),
            b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n",
        ],
    )
    def test_whatever_is_in_doubt_is_left_to_the_application(self, request_: bytes) -> None:
        assert refusal_of(request_, FULL) is None

    def test_a_process_that_is_far_behind_refuses_without_knowing_the_queue(self) -> None:
        assert shedder(bound=None).refuse(raw_image(LARGE), lag_s=0.01, connections=1, closes=False) is None
        found = shedder(bound=None).refuse(raw_image(LARGE), lag_s=60.0, connections=1, closes=True)
        assert found is not None
        assert b'"code": "overloaded"' in found.response
        assert found.closes

    def test_a_problem_is_told_as_it_is(self) -> None:
        found = refusal_of(raw_image(LARGE), Problem(503, "overloaded", "Too much."))
        assert found is not None
        assert b"Too much." in found.response


@pytest.fixture(scope="module")
def full(redis_process: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server whose queue takes two jobs, and both places are taken by jobs that are never answered."""
    redis_process.command("FLUSHALL")
    told = {"REDIS_PORT": redis_process.port, "REQUEST_TIMEOUT_S": 600, "MAX_QUEUE_SIZE": 2}
    served = serving(tmp_path_factory.mktemp("full"), told)
    with EchoWorker(redis_process.port) as worker, served as running, ExitStack() as stack:
        worker.reply = lambda _: None
        for seed in range(2):
            stack.enter_context(closing(running.connect())).sendall(raw_image(sample_images.jpeg(seed=seed)))
        wait_until(lambda: len(worker.images) == 2, "both places are taken")
        wait_until(lambda: running.ask(raw_image(LARGE))[0] == 503, "the queue is full")
        yield running


class TestOverTheWire:
    # First: a service that answers nothing for long is not ready.
    def test_health_is_answered_all_the_same(self, full: Served) -> None:
        assert full.is_live()
        assert full.ask(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")[0] == 200

    def test_a_connection_serves_on_after_refusals_whatever_came_with_them(self, full: Served) -> None:
        with closing(full.connect()) as connection, connection.makefile("rb") as stream:
            for size in (9_000, 100, 60_000):
                connection.sendall(raw_image(b"\xff\xd8\xff" + bytes(size)) * 2)
                assert [read_answer(stream)[0] for _ in range(2)] == [503, 503]
            connection.sendall(raw_image(LARGE) + b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert [read_answer(stream)[0] for _ in range(2)] == [503, 200]

    def test_a_large_rest_ends_the_connection_after_the_answer(self, full: Served) -> None:
        def answer_to_a_large_rest() -> tuple[int, str, bytes]:
            with closing(full.connect()) as connection, connection.makefile("rb") as stream:
                connection.sendall(raw_image(b"\xff\xd8\xff" + bytes(500_000))[:20_000])
                status, headers, _ = read_answer(stream)
                return status, headers["connection"], stream.read()

        # While the last look at the queue is too old on a busy machine, the rest is waited for: 408.
        wait_until(lambda: answer_to_a_large_rest() == (503, "close", b""), "it is refused before its rest")

    @pytest.mark.parametrize("header", ["Connection: close", "Connection: keep-alive", "Expect: 100-continue"])
    def test_who_sends_the_rest_all_the_same_reads_the_answer_after_that(self, full: Served, header: str) -> None:
        for size in (20_000, 3_000_000):
            request = raw_image(b"\xff\xd8\xff" + bytes(size), headers=f"{header}\r\n")
            with closing(full.connect()) as connection, connection.makefile("rb") as stream:
                connection.sendall(request[:9_000])
                assert select.select([connection], [], [], PATIENCE_S)[0]
                for begin in range(9_000, len(request), len(request) // 8):
                    connection.sendall(request[begin : begin + len(request) // 8])
                connection.shutdown(socket.SHUT_WR)
                assert read_answer(stream)[0] == 503

    def test_a_body_that_looks_like_a_request_is_no_request(self, full: Served) -> None:
        inner = raw_image(LARGE)
        with closing(full.connect()) as connection, connection.makefile("rb") as stream:
            connection.sendall(raw_image(inner, headers="Origin: http://localhost\r\n"))
            assert read_answer(stream)[0] in (415, 503)
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert read_answer(stream)[0] == 200

    def test_a_malformed_request_is_told_so_before_the_queue_is_looked_at(self, full: Served) -> None:
        assert full.ask(raw_image(b"no image").replace(b"image/jpeg", b"text/plain"))[0] == 400

    def test_who_was_refused_is_counted(self, full: Served) -> None:
        def refused_so_far() -> float:
            counts = full.ask(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")[2].decode()
            [count] = re.findall(r'^sightline_dropped_total\{reason="rejected"\} (.*)$', counts, re.MULTILINE)
            return float(count)

        before = refused_so_far()
        answers = [full.ask(raw_image(LARGE))[0] for _ in range(5)]
        assert refused_so_far() - before == answers.count(503)
