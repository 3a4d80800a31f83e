"""Redis over TLS: the same as without, and the error if the settings of both sides differ."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from sightline_testing.certificates import Authority, Certificate
from sightline_testing.plugin import missing
from sightline_testing.redis_server import RedisServer, free_port, redis_binaries
from sightline_testing.waiting import WAIT_S
from wire import Address, QueueUnavailable
from wire.redis.address import parse
from wire.redis.connection import Connection
from wire.redis.pipeline import Pipeline
from wire.redis.resp import pack

CALLERS, ROUNDS = 8, 40
LARGE = 300_000


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.made(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def client(authority: Authority) -> Certificate:
    return authority.sign("client")


@pytest.fixture(scope="module")
def port(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a Redis that takes clients with a certificate only."""
    binary = redis_binaries().get("7.0")
    if binary is None:
        missing("no redis-server 7.0, which knows TLS")
        return
    own, port = authority.sign("server"), free_port()
    # All of 127.0.0.0/8, of which the certificate names one address.
    server = RedisServer(
        binary,
        tmp_path_factory.mktemp("redis"),
        *("--bind", "0.0.0.0", "--protected-mode", "no", "--tls-port", f"{port}"),  # noqa: S104  while the tests run
        *("--tls-cert-file", f"{own.file}", "--tls-key-file", f"{own.key}", "--tls-ca-cert-file", f"{authority.file}"),
    )
    server.start()
    yield port
    server.close()


def url(port: int, authority: Authority, client: Certificate | None, host: str = "127.0.0.1", more: str = "") -> str:
    own = f"&ssl_certfile={client.file}&ssl_keyfile={client.key}" if client is not None else ""
    return f"rediss://{host}:{port}?ssl_ca_certs={authority.file}{own}{more}"


@pytest.fixture
def address(port: int, authority: Authority, client: Certificate) -> Address:
    return parse(url(port, authority, client))


def fault_of(address: Address, timeout_s: float = WAIT_S) -> str:
    """Return the error of a connection that cannot be made."""
    with closing(Connection(address, "test")) as opened, pytest.raises(QueueUnavailable) as caught:
        opened.exchange(pack("PING"), 1, timeout_s)
    return str(caught.value)


def test_many_callers_send_and_receive_at_once(address: Address) -> None:
    """Each thread writes while another one reads, and both large and small pieces are in the right order."""

    def work(number: int) -> None:
        for at in range(ROUNDS):
            size = LARGE if at % 8 == 0 else at
            text = b"%d" % number * size
            key = f"key{number}"
            assert line.exchange(pack("SET", key, text) + pack("GET", key), 2, WAIT_S) == [b"OK", text]

    with closing(Pipeline(address, "test")) as line, ThreadPoolExecutor(CALLERS) as pool:
        list(pool.map(work, range(CALLERS)))


def test_a_read_that_blocks_is_answered_and_ends_in_time(address: Address) -> None:
    with closing(Connection(address, "test")) as connection:
        assert connection.exchange(pack("BLPOP", "none", "0.05"), 1, WAIT_S) == [None]
        with pytest.raises(QueueUnavailable, match="timed out"):
            connection.exchange(pack("BLPOP", "none", "30"), 1, 0.05)
        assert connection.exchange(pack("PING"), 1, WAIT_S) == [b"PONG"]


def test_the_name_of_the_certificate_is_checked(port: int, authority: Authority, client: Certificate) -> None:
    by_name = parse(url(port, authority, client, "localhost"))
    with closing(Connection(by_name, "test")) as connection:
        assert connection.exchange(pack("PING"), 1, WAIT_S) == [b"PONG"]
    other = url(port, authority, client, "127.0.0.2")
    assert "for another name" in fault_of(parse(other))
    for more in ("&ssl_check_hostname=false", "&ssl_cert_reqs=none"):
        with closing(Connection(parse(other + more), "test")) as connection:
            assert connection.exchange(pack("PING"), 1, WAIT_S) == [b"PONG"]


def test_what_does_not_agree_is_told_with_what_to_write(
    port: int, authority: Authority, client: Certificate, redis_server: RedisServer, tmp_path: Path
) -> None:
    unknown = Authority.made(tmp_path / "unknown")
    assert "name its CA with ssl_ca_certs" in fault_of(parse(url(port, unknown, client)))
    assert "with ssl_certfile and ssl_keyfile" in fault_of(parse(url(port, authority, None)))
    assert "set REDIS_URL=rediss://" in fault_of(Address(port=port))
    assert "write redis:// instead" in fault_of(parse(url(redis_server.port, authority, client)), 0.3)
    (tmp_path / "broken.crt").write_text("none")
    broken = Certificate(tmp_path / "broken.crt", client.key)
    assert "check the paths and rights" in fault_of(parse(url(port, authority, broken)))


def test_a_renewed_certificate_is_used_by_the_next_connection(
    port: int, authority: Authority, client: Certificate, tmp_path: Path
) -> None:
    mounted = Certificate(tmp_path / "client.crt", tmp_path / "client.key")
    stranger = Authority.made(tmp_path / "unknown").sign("stranger")
    place(mounted, stranger)
    address = parse(url(port, authority, mounted))
    assert "certificate" in fault_of(address)
    place(mounted, client)
    with closing(Connection(address, "test")) as connection:
        assert connection.exchange(pack("PING"), 1, WAIT_S) == [b"PONG"]


def place(mounted: Certificate, other: Certificate) -> None:
    for to, of in zip(mounted, other, strict=True):
        to.write_bytes(of.read_bytes())
