from __future__ import annotations

import ast
import importlib.util
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from sightline_testing.redis_server import RedisServer, free_port
from wire import Address, QueueUnavailable
from wire.redis.connection import Connection
from wire.redis.resp import checked, pack


def connect(server: RedisServer, **options: str) -> Connection:
    return Connection(Address(port=server.port, **options), "test")  # type: ignore[arg-type]  # texts only


def test_a_refused_connection_says_where_redis_was_looked_for() -> None:
    port = free_port()
    with pytest.raises(QueueUnavailable, match=f"127.0.0.1:{port}/0"):
        Connection(Address(port=port), "test").exchange(pack("PING"), 1)


def test_a_socket_path_wins_over_host_and_port(redis_server: RedisServer) -> None:
    connection = Connection(Address(port=free_port(), socket_path=redis_server.socket_path), "test")
    assert connection.exchange(pack("PING"), 1) == [b"PONG"]
    connection.close()


def test_a_refused_command_is_an_error_in_its_place(redis_server: RedisServer) -> None:
    connection = connect(redis_server)
    first, second, third = connection.exchange(pack("PING") + pack("XLEN") + pack("PING"), 3)
    assert (first, third) == (b"PONG", b"PONG")
    with pytest.raises(QueueUnavailable, match="wrong number of arguments"):
        checked(second)
    connection.close()


def test_a_command_without_reply_in_time_is_sent_once_and_its_late_reply_is_never_read(
    redis_server: RedisServer,
) -> None:
    connection = connect(redis_server)
    connection.exchange(pack("PING"), 1)
    redis_server.pause()
    with pytest.raises(QueueUnavailable):
        connection.exchange(pack("INCR", "counter"), 1, 0.05)
    assert not connection.is_open
    redis_server.resume()
    assert connection.exchange(pack("GET", "counter"), 1, 10.0) == [b"1"]
    connection.close()


def test_a_connection_that_redis_closed_is_unavailable_once_and_opened_anew(redis_server: RedisServer) -> None:
    connection = connect(redis_server)
    connection.exchange(pack("PING"), 1)
    redis_server.command("CLIENT", "KILL", "TYPE", "normal")
    with pytest.raises(QueueUnavailable):
        connection.exchange(pack("PING"), 1)
    assert connection.exchange(pack("PING"), 1) == [b"PONG"]
    connection.close()


def test_a_wrong_password_is_told_without_showing_it(redis_server: RedisServer) -> None:
    redis_server.command("ACL", "SETUSER", "someone", "on", ">right", "+ping", "+client|setname")
    right = connect(redis_server, username="someone", password="right")  # noqa: S106  a test's own
    assert right.exchange(pack("PING"), 1) == [b"PONG"]
    wrong = Address(port=redis_server.port, username="someone", password="wr0ng")  # noqa: S106  a test's own
    assert "wr0ng" not in repr(wrong)
    with pytest.raises(QueueUnavailable) as caught:
        Connection(wrong, "test").exchange(pack("PING"), 1)
    assert "wr0ng" not in str(caught.value)
    right.close()
    redis_server.command("ACL", "DELUSER", "someone")


def test_another_database_is_another_place(redis_server: RedisServer) -> None:
    other = Connection(Address(port=redis_server.port, db=3), "test")
    other.exchange(pack("SET", "here", 1), 1)
    assert redis_server.command("EXISTS", "here") == b":0\r\n"
    other.close()


def test_no_module_reads_the_wall_clock_of_its_machine() -> None:
    spec = importlib.util.find_spec("wire")
    assert spec is not None
    assert spec.origin is not None
    root = Path(spec.origin).parent
    # What is sent to a collector has the time of this machine; nothing is decided by it.
    for source in set(root.rglob("*.py")) - set((root / "telemetry").iterdir()):
        nodes = list(ast.walk(ast.parse(source.read_text())))
        read = {ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute)}
        imports = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
        imported = {alias.name for node in imports for alias in node.names}
        assert not read & {"time.time", "time.time_ns", "time.localtime", "time.gmtime"}, source
        assert "datetime" not in imported, source


def test_a_name_server_that_is_away_holds_nobody_beyond_the_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The C library waits for up to half a minute, and takes no time-out."""
    is_back, names = threading.Event(), []

    def hanging(host: str, *arguments: Any, **options: Any) -> Any:
        if options.get("flags") == socket.AI_NUMERICHOST:
            raise socket.gaierror("no address")
        names.append(host)
        is_back.wait()
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    connections = [Connection(Address(host="redis.example"), "test") for _ in range(3)]
    begin = time.monotonic()
    for connection in connections * 2:
        with pytest.raises(QueueUnavailable, match="no name server has answered"):
            connection.exchange(pack("PING"), 1, 0.05)
    # 6 times 0.05 s, and not those of a name server.
    assert time.monotonic() - begin < 25
    # All of them wait for the same look-up.
    assert names == ["redis.example"]
    is_back.set()
    with pytest.raises(QueueUnavailable, match="Name or service not known"):
        connections[0].exchange(pack("PING"), 1, 30.0)


def test_a_name_with_several_addresses_is_tried_to_the_end_within_the_time_out(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with full_server() as full:
        places = [("127.0.0.1", full), ("127.0.0.1", free_port()), ("127.0.0.1", redis_server.port)]
        answer = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place) for place in places]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answer)
        connection = Connection(Address(host="redis.example"), "test")
        assert connection.exchange(pack("PING"), 1, 3.0) == [b"PONG"]
        connection.close()
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answer[:1] * 50)
        begin = time.monotonic()
        with pytest.raises(QueueUnavailable, match="timed out"):
            connection.exchange(pack("PING"), 1, 1.0)
        # 50 times the time-out, if each address had it.
        assert time.monotonic() - begin < 25


@contextmanager
def full_server() -> Iterator[int]:
    """Give a port whose backlog is full, so that connecting to it hangs."""
    with socket.socket() as listener, ExitStack() as waiting:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        for _ in range(8):
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
        yield port
