"""The error that an operator gets if Redis runs but cannot be used."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from typing import Any

import pytest

from sightline_testing.queue_probe import QueueProbe
from sightline_testing.redis_server import RedisServer
from sightline_testing.waiting import wait_until
from wire import Address, QueueUnavailable
from wire.redis.connection import Connection
from wire.redis.faults import RedisRefusal, advice_on, unavailable
from wire.redis.pipeline import Pipeline
from wire.redis.resp import checked, pack

Start = Callable[..., QueueProbe]
WRITE = pack("XADD", "jobs", "*", "a", "b")


def advice(address: Address, packet: bytes = WRITE) -> str:
    """Return the advice that both kinds of connection give, once they agree."""
    found = []
    for opened in (Connection(address, "test"), Pipeline(address, "test")):
        with closing(opened), pytest.raises(QueueUnavailable) as caught:
            checked(opened.exchange(packet, 1, 10.0)[0])
        assert caught.value.advice in str(caught.value)
        found.append(caught.value.advice)
    assert found[0] == found[1]
    return found[0]


def test_a_wrong_name_or_password_is_reported_as_such(start_redis: Start) -> None:
    server = start_redis().server
    server.command("CONFIG", "SET", "requirepass", "right")
    place = Address(port=server.port)
    for told in ({"password": "wrong"}, {"username": "nobody", "password": "right"}):
        fault = advice(Address(port=server.port, **told))  # type: ignore[arg-type]  # texts only
        assert "refuses the user name or the password: set REDIS_USERNAME" in fault
        assert "right" not in fault
    assert "requires a password" in advice(place)
    server.kill()


def test_a_password_that_redis_does_not_have_is_reported_as_such(start_redis: Start) -> None:
    address = Address(port=start_redis().server.port, password="any")  # noqa: S106  a test's own
    assert "no password for the default user: unset REDIS_PASSWORD" in advice(address)


def test_a_user_without_rights_is_reported_as_such(start_redis: Start) -> None:
    server = start_redis().server
    server.command("ACL", "SETUSER", "someone", "on", ">right", "+ping")
    password = "right"  # noqa: S105  a test's own
    assert "lacks a right" in advice(Address(port=server.port, username="someone", password=password))
    server.command("ACL", "SETUSER", "someone", "+client|setname", "~other", "+xadd")
    assert "lacks a right" in advice(Address(port=server.port, username="someone", password=password))


def test_a_replica_is_reported_as_such_for_commands_and_scripts(start_redis: Start) -> None:
    server = start_redis().server
    server.command("REPLICAOF", "127.0.0.1", "1")
    address = Address(port=server.port)
    assert "is a replica" in advice(address)
    script = "return redis.call('SET', KEYS[1], 'x')"
    assert "is a replica" in advice(address, pack("EVAL", script, 1, "key"))


def test_a_replica_without_its_primary_is_reported_as_such(start_redis: Start) -> None:
    server = start_redis().server
    server.command("CONFIG", "SET", "replica-serve-stale-data", "no")
    server.command("REPLICAOF", "127.0.0.1", "1")
    assert "replica without its primary" in advice(Address(port=server.port), pack("GET", "key"))


def test_a_redis_that_still_loads_is_reported_as_such(start_redis: Start) -> None:
    server = start_redis().server
    server.command("CONFIG", "SET", "rdbcompression", "no")
    # While it loads, Redis answers after each 2 MiB.
    for number in range(40):
        server.command("SET", f"key{number}", b"x" * 2_200_000)
    server.command("SAVE")
    server.stop()
    server.options += ("--key-load-delay", "200000")
    with ThreadPoolExecutor(1) as pool:
        started = pool.submit(server.start)
        wait_until(lambda: is_loading(server), "Redis loads")
        assert "is still loading its data" in advice(Address(port=server.port))
        server.kill()
        with pytest.raises(RuntimeError):
            started.result()


def is_loading(server: RedisServer) -> bool:
    try:
        return b"LOADING" in server.command("GET", "key0")
    except OSError:
        return False


def test_a_database_that_does_not_exist_is_reported_as_such(start_redis: Start) -> None:
    assert "set REDIS_DB_ID" in advice(Address(port=start_redis().server.port, db=99))


def test_redis_without_memory_is_reported_as_such(start_redis: Start) -> None:
    server = start_redis("--maxmemory", "1").server
    assert "raise its maxmemory" in advice(Address(port=server.port))


@contextmanager
def answering(answer: Callable[[socket.socket], Any]) -> Iterator[Address]:
    """Run a server that is not Redis."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    with client, suppress(OSError):
                        answer(client)

        thread = threading.Thread(target=serve)
        thread.start()
        yield Address(port=listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def speak_tls(client: socket.socket) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.wrap_socket(client, server_side=True)


def speak_http(client: socket.socket) -> None:
    client.recv(1000)
    client.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def reset(client: socket.socket) -> None:
    """End the connection as Redis does on a port for TLS."""
    client.recv(1000)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def speak_redis_until_it_has_greeted(client: socket.socket) -> None:
    client.recv(1000)
    client.sendall(b"+OK\r\n")


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (speak_tls, "port that requires TLS does: set REDIS_URL=rediss://"),
        (reset, "port that requires TLS does: set REDIS_URL=rediss://"),
        (speak_http, "does not speak Redis' protocol: name a port of Redis"),
    ],
)
def test_a_server_that_does_not_speak_redis_is_reported_as_such(
    answer: Callable[[socket.socket], None], told: str
) -> None:
    with answering(answer) as address:
        assert told in advice(address)


def test_a_redis_that_goes_away_later_needs_no_advice() -> None:
    with answering(speak_redis_until_it_has_greeted) as address:
        assert advice(address) == ""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("ERR Error running script (call to f_0a): @user_script:1: @user_script: 1: -READONLY You can't", "replica"),
        ("DENIED Redis is running in protected mode because", "protected mode"),
        ("CLUSTERDOWN Hash slot not served", "cluster"),
        ("MOVED 1234 192.0.2.1:6379", "cluster"),
        ("NOGROUP No such key", ""),
        ("ERR wrong number of arguments", ""),
    ],
)
def test_what_cannot_be_had_here_is_known_by_its_text(text: str, told: str) -> None:
    found = advice_on(RedisRefusal(text))
    assert told in found
    assert bool(told) == bool(found)


def test_a_fault_of_the_network_has_no_advice() -> None:
    fault = unavailable("redis:6379/0", ConnectionRefusedError("OOM"))
    assert (str(fault), fault.advice) == ("Redis at redis:6379/0 is not available: OOM", "")
