"""The address of Redis as a URL, in the syntax of other clients."""
# ruff: noqa: S106  a test has no secrets

from __future__ import annotations

from pathlib import Path

import pytest

from wire.redis.address import Address, Place, Sentinels, Tls, parse
from wire.settings_parser import Declarations, SettingError


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://", Address()),
        ("redis://redis.example", Address("redis.example")),
        ("REDIS://redis.example:7000/3", Address("redis.example", 7000, 3)),
        ("redis://redis.example?db=3", Address("redis.example", db=3)),
        ("redis://[2001:db8::7]:7000", Address("2001:db8::7", 7000)),
        ("redis://:secret@redis.example", Address("redis.example", password="secret")),
        ("redis://user:p%40ss%2Fw%3Ard%23@h", Address("h", username="user", password="p@ss/w:rd#")),
        ("redis://user:a@b@h", Address("h", username="user", password="a@b")),
        ("redis://a:1,b,[::1]:3/0", Address("a", 1, more_places=(Place("b", 6379), Place("::1", 3)))),
        ("rediss://h", Address("h", tls=Tls())),
        ("rediss://h?ssl_cert_reqs=none", Address("h", tls=Tls(verifies=False, checks_host=False))),
        ("rediss://h?ssl_cert_reqs=CERT_REQUIRED", Address("h", tls=Tls())),
        ("rediss://h?ssl_check_hostname=false", Address("h", tls=Tls(checks_host=False))),
        (
            "rediss://h?ssl_ca_certs=/a%20b/ca.crt&ssl_certfile=/c.crt&ssl_keyfile=/c.key",
            Address("h", tls=Tls("/a b/ca.crt", "/c.crt", "/c.key")),
        ),
        ("unix:///run/redis.sock", Address(socket_path="/run/redis.sock")),
        (
            "unix://user:secret@/run/my%20redis.sock?db=2",
            Address(socket_path="/run/my redis.sock", db=2, username="user", password="secret"),
        ),
        (
            "redis+sentinel://a,b:1,c/main",
            Address(sentinels=Sentinels("main", (Place("a", 26379), Place("b", 1), Place("c", 26379)))),
        ),
        (
            "rediss+sentinel://user:secret@a/main/2",
            Address(
                db=2,
                username="user",
                password="secret",
                tls=Tls(),
                sentinels=Sentinels("main", (Place("a", 26379),)),
            ),
        ),
    ],
)
def test_a_url_is_read_as_other_clients_read_it(url: str, address: Address) -> None:
    assert parse(url) == address


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("redis.example:6379", "does not begin with one of redis://"),
        ("http://h", "does not begin with one of redis://"),
        ("redis+tls://h", "does not begin with one of redis://"),
        ("redis://h:99999", "host and port that cannot be read: 'h:99999'"),
        ("redis://h:port", "host and port that cannot be read"),
        ("redis://2001:db8::7:7000", "an IPv6 address in brackets"),
        ("redis://a,,b:0", "host and port that cannot be read"),
        ("redis://h/main", "the database 'main'"),
        ("redis://h/1?db=2", "names two databases: 1 and 2"),
        ("redis://h?timeout=3", "unknown parameter 'timeout': known are db, ssl_ca_certs"),
        ("redis://h?db=1&db=2", "the parameter db twice"),
        ("redis://h?ssl_ca_certs=/ca.crt", "ssl_ca_certs without TLS: write rediss://"),
        ("rediss://h?ssl_keyfile=/c.key", "ssl_keyfile without ssl_certfile"),
        ("rediss://h?ssl_cert_reqs=maybe", "ssl_cert_reqs='maybe': give one of required"),
        ("rediss://h?ssl_check_hostname=maybe", "ssl_check_hostname='maybe'"),
        ("redis://h#1", "write # as %23"),
        ("unix://run/redis.sock", "write three slashes"),
        ("unix://", "write three slashes"),
        ("unix:///run/redis.sock?ssl_cert_reqs=none", "no TLS on a unix socket"),
        ("redis+sentinel://a,b", "redis+sentinel://HOST,HOST,HOST/NAME"),
        ("redis+sentinel:///main", "redis+sentinel://HOST,HOST,HOST/NAME"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_with_what_to_write(url: str, reason: str) -> None:
    with pytest.raises(SettingError) as caught:
        Declarations({"REDIS_URL": url}).redis()
    assert str(caught.value).startswith("REDIS_URL=")
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "url", ["redis://u:s3cret@h:x", "rediss://:s3cret@h?a=b", "redis://u:s3cret@h/x", "http://u:s3cret@h"]
)
def test_no_message_shows_the_password_of_a_url(url: str) -> None:
    with pytest.raises(SettingError) as caught:
        Declarations({"REDIS_URL": url}).redis()
    assert "s3cret" not in str(caught.value)
    assert "***@h" in str(caught.value)


def test_no_text_of_an_address_shows_a_password() -> None:
    address = parse("redis+sentinel://u:s3cret@a/main", sentinel_password="0ther")
    assert address.sentinels is not None
    assert address.sentinels.password
    for text in (str(address), repr(address)):
        assert "s3cret" not in text
        assert "0ther" not in text


@pytest.mark.parametrize(
    ("name", "value"),
    [("REDIS_IP", "redis"), ("REDIS_PORT", "6380"), ("REDIS_DB_ID", "0"), ("REDIS_SOCKET", "/run/redis.sock")],
)
def test_a_url_beside_another_place_is_refused(name: str, value: str) -> None:
    with pytest.raises(SettingError, match=f"REDIS_URL and {name}='{value}' both name.*unset one of them"):
        Declarations({"REDIS_URL": "redis://h", name: value}).redis()


def test_what_an_orchestrator_sets_or_what_is_blank_is_no_other_place() -> None:
    beside = {"REDIS_PORT": "tcp://10.0.0.1:6379", "REDIS_IP": "", "REDIS_SOCKET": " "}
    assert Declarations({"REDIS_URL": " redis://h ", **beside}).redis()[0].strip() == "redis://h"


def test_logins_of_settings_go_with_a_url_that_has_none(tmp_path: Path) -> None:
    assert parse("redis://h", "user", "secret") == Address("h", username="user", password="secret")
    assert parse("redis://user@h", "", "secret") == Address("h", username="user", password="secret")
    found = parse("redis+sentinel://a/main", "", "", "watcher", "other").sentinels
    assert found is not None
    assert (found.username, found.password) == ("watcher", "other")
    (tmp_path / "url").write_text("redis://:secret@h\n")
    told = {"REDIS_URL_FILE": f"{tmp_path / 'url'}"}
    assert Declarations(told).redis()[0] == "redis://:secret@h"
    for more in ({"REDIS_PASSWORD": "x"}, {"REDIS_SENTINEL_PASSWORD": "x"}):
        with pytest.raises(SettingError, match="unset"):
            Declarations(told | more).redis()
    with pytest.raises(SettingError, match="REDIS_USERNAME"):
        Declarations({"REDIS_URL": "redis://user:x@h", "REDIS_USERNAME": "user"}).redis()


def test_a_file_of_tls_that_cannot_be_read_is_told_at_start(tmp_path: Path) -> None:
    url = f"rediss://:s3cret@h?ssl_ca_certs={tmp_path}/none.crt"
    with pytest.raises(SettingError, match=r"none\.crt cannot be read: No such file") as caught:
        Declarations({"REDIS_URL": url}).redis()
    assert "s3cret" not in str(caught.value)
