"""The client against servers that behave as some do: they answer early, break connections, or are something else."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from sightline import Client, ServiceError, Unreachable

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
