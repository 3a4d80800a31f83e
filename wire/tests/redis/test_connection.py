from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import pytest

from sightline_testing.redis_server import RedisServer, free_port
from wire import Address, QueueUnavailable
from wire.redis.connection import Connection, checked, pack


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
    for source in Path(spec.origin).parent.rglob("*.py"):
        nodes = list(ast.walk(ast.parse(source.read_text())))
        read = {ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute)}
        imports = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
        imported = {alias.name for node in imports for alias in node.names}
        assert not read & {"time.time", "time.time_ns", "time.localtime", "time.gmtime"}, source
        assert "datetime" not in imported, source
