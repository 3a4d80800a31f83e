"""The client against servers that behave as some do: they answer early, break connections, or are something else."""

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from sightline import AsyncClient, Client, Prediction, Refused, ServiceError, Unreachable

Answer = Callable[[socket.socket], None]
LARGE = b"\xff\xd8\xff" + bytes(8 * 1024**2)


def answer(status: str, document: object) -> bytes:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def head_of(connection: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(4096)
        if not piece:
            break
        received += piece
    return received


def early(connection: socket.socket) -> None:
    """Answer before the body is read, then stop reading, and wait until the client has noticed."""
    head_of(connection)
    connection.sendall(answer("413 Content Too Large", {"code": "too_large", "detail": "the limit is 7 bytes"}))
    connection.shutdown(socket.SHUT_RD)
    connection.settimeout(0.2)


@contextmanager
def serving(*answers: Answer) -> Iterator[str]:
    """Serve one connection after another with these answers; give the address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for each in answers:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    each(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_an_answer_that_comes_before_the_body_is_sent_is_read() -> None:
    with serving(early) as url, Client(url) as client, pytest.raises(ServiceError) as refused:
        client.classify(LARGE)
    assert (refused.value.status, refused.value.code) == (413, "too_large")


@pytest.mark.parametrize(
    "document", [b"<html>", b"[1]", {}, {"prediction": "tabby"}, {"predictions": 3, "prediction": "a"}, b"null"]
)
def test_another_server_at_the_address_is_told_from_a_service(document: object) -> None:
    def other(connection: socket.socket) -> None:
        head_of(connection)
        connection.sendall(answer("200 OK", document))

    asks: list[Callable[[Client], object]] = [lambda c: c.classify(b"x"), lambda c: c.ready(), lambda c: c.report("x")]
    for ask in asks:
        with serving(other) as url, Client(url) as client, pytest.raises(ServiceError, match="no Sightline"):
            ask(client)


def test_a_report_that_is_sent_again_has_the_same_key() -> None:
    keys: list[str] = []

    def keep(connection: socket.socket) -> str:
        [key] = [line for line in head_of(connection).decode().splitlines() if line.startswith("Idempotency-Key: ")]
        keys.append(key)
        return key

    def first(connection: socket.socket) -> None:
        # Kept open, then closed under the next request.
        head_of(connection)
        body = b'{"model_version": "a/1"}'
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        keep(connection)

    def second(connection: socket.socket) -> None:
        keep(connection)
        connection.sendall(answer("201 Created", {"report_id": "7"}))

    with serving(first, second) as url, Client(url) as client:
        client.ready()
        assert client.report("an-id") == "7"
    assert len(keys) == 2
    assert len(set(keys)) == 1


def test_an_absent_service_is_told_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with Client(url) as client:
        assert not client.is_alive()
        with pytest.raises(Unreachable, match="refused"):
            client.classify(b"x")


def kept_then(rest: Answer) -> tuple[Answer, list[int]]:
    """Return a server that keeps a connection after its first answer, and a list with an entry for each request."""
    requests: list[int] = []

    def serve(connection: socket.socket) -> None:
        for number in range(2):
            if head_of(connection):
                requests.append(number)
            if number:
                rest(connection)
            else:
                body = b'{"model_version": "a/1"}'
                connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)

    return serve, requests


def half(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
    connection.shutdown(socket.SHUT_WR)
    connection.recv(4096)


def slow(connection: socket.socket) -> None:
    while connection.recv(4096):
        pass


@pytest.mark.parametrize(("rest", "timeout_s"), [(slow, 0.2), (half, 60.0)])
def test_a_request_that_the_service_has_is_not_sent_again(rest: Answer, timeout_s: float) -> None:
    """It is slow, or its answer broke off: the image would be computed twice."""
    serve, requests = kept_then(rest)
    with serving(serve, serve) as url, Client(url) as client:
        client.ready()
        client._own.connection.sock.settimeout(timeout_s)
        with pytest.raises(Unreachable):
            client.classify(b"x")
    assert requests == [0, 1]


FOUND = {
    "prediction": "tabby", "score": 0.5, "predictions": [{"label": "tabby", "score": 0.5}],
    "prediction_id": "p", "model_version": "m/1",
}  # fmt: skip


def replies(status: str, document: object, *, retry_after: str = "") -> Answer:
    def reply(connection: socket.socket) -> None:
        head_of(connection)
        head, _, body = answer(status, document).partition(b"\r\n")
        more = f"Retry-After: {retry_after}\r\n".encode() if retry_after else b""
        connection.sendall(head + b"\r\n" + more + body)

    return reply


BUSY = replies("503 Service Unavailable", {"code": "queue_full"}, retry_after="2")


def test_what_is_refused_as_busy_is_sent_again_when_its_time_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("sightline.client.time.sleep", slept.append)
    with serving(BUSY, BUSY, replies("200 OK", FOUND)) as url, Client(url, retries=2) as client:
        assert client.classify(b"image").label == "tabby"
    assert len(slept) == 2
    assert all(2 <= seconds <= 4 for seconds in slept)
    with serving(BUSY, BUSY) as url, Client(url, retries=1) as client, pytest.raises(Refused):
        client.classify(b"image")
    broken = replies("422 Unprocessable", {"code": "image_broken"})
    with serving(broken) as url, Client(url, retries=5) as client, pytest.raises(ServiceError):
        client.classify(b"image")
    assert len(slept) == 3


def test_many_requests_of_asyncio_wait_at_once() -> None:
    async def ask(url: str) -> list[str]:
        async with AsyncClient(url, at_once=4) as client:
            return [found.label for found in await asyncio.gather(*(client.classify(b"image") for _ in range(6)))]

    with serving(*[replies("200 OK", FOUND)] * 6) as url:
        assert asyncio.run(ask(url)) == ["tabby"] * 6


def item(label: str) -> dict[str, object]:
    return {**FOUND, "file": "image", "prediction": label, "predictions": [{"label": label, "score": 0.5}]}


def failed(status: int, code: str) -> dict[str, object]:
    return {"file": "image", "success": False, "problem": {"status": status, "code": code, "detail": "so it is"}}


def test_several_images_of_a_request_have_an_outcome_each() -> None:
    bodies: list[bytes] = []

    def service(connection: socket.socket) -> None:
        head = head_of(connection).decode()
        length = int(next(line.split()[1] for line in head.splitlines() if line.startswith("Content-Length")))
        body = head.encode().partition(b"\r\n\r\n")[2]
        while len(body) < length:
            body += connection.recv(4096)
        bodies.append(body)
        results = [item("tabby"), failed(422, "image_broken"), failed(503, "queue_full")]
        connection.sendall(answer("200 OK", {"results": results}))

    with serving(service) as url, Client(url) as client:
        good, broken, refused = client.classify_batch([b"one", b"two", b"three"])
    assert isinstance(good, Prediction)
    assert good.label == "tabby"
    assert isinstance(broken, ServiceError)
    assert (broken.status, broken.code, str(broken)) == (422, "image_broken", "so it is")
    assert isinstance(refused, Refused)
    boundary = bodies[0].partition(b"\r\n")[0]
    parts = bodies[0].removesuffix(b"--\r\n").split(boundary)[1:-1]
    assert [part.partition(b"\r\n\r\n")[2] for part in parts] == [b"one\r\n", b"two\r\n", b"three\r\n"]
    assert all(b'name="file"; filename=' in part for part in parts)


def test_an_answer_for_other_images_than_were_sent_is_of_another_server() -> None:
    documents: list[object] = [{"results": [item("tabby")]}, {"results": [{}, {}]}, {"results": 3}, FOUND]
    for document in documents:
        reply = replies("200 OK", document)
        with serving(reply) as url, Client(url) as client, pytest.raises(ServiceError, match="no Sightline"):
            client.classify_batch([b"one", b"two"])
