"""A bucket with a failing server, key or address: one error with the reason, and no stored data is lost."""

import os
from collections.abc import Iterator

import pytest

from sightline_testing.s3_server import KEY, SECRET, S3Server
from sightline_testing.waiting import wait_until
from storage.errors import StorageError, StorageUnavailable
from storage.s3 import Bucket, Server, parse

PLACE = "s3://images/prefix"
# The second is for what fails.
TIMEOUT_S, SHORT_TIMEOUT_S = 60.0, 1.0
BIG = os.urandom(256 * 1024)


@pytest.fixture(scope="module")
def frail(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A server to be killed and paused, which is full after a few megabytes."""
    server = S3Server(tmp_path_factory.mktemp("frail"), volumes=7, volume_mb=1)
    server.start()
    yield server
    server.kill()


def serves(bucket: Bucket) -> bool:
    try:
        bucket.put("probe", b"\0")
    except StorageError:
        return False
    return True


@pytest.mark.parametrize(
    ("place", "changes", "says", "timeout_s"),
    [
        (PLACE, {"secret_access_key": "another"}, "SignatureDoesNotMatch", TIMEOUT_S),
        (PLACE, {"access_key_id": "nobody"}, "InvalidAccessKeyId", TIMEOUT_S),
        (PLACE, {"endpoint": "http://127.0.0.1:1"}, "Connect", SHORT_TIMEOUT_S),
        (PLACE, {"endpoint": "http://nowhere.invalid:9000"}, "Connect", SHORT_TIMEOUT_S),
        ("s3://nowhere", {}, "no bucket 'nowhere'", TIMEOUT_S),
    ],
)
def test_what_cannot_be_used_is_unavailable_and_named(
    frail: S3Server, place: str, changes: dict[str, str], says: str, timeout_s: float
) -> None:
    told = {"endpoint": frail.url, "region": "us-east-1", "access_key_id": KEY, "secret_access_key": SECRET} | changes
    server = Server(**told, timeout_s=timeout_s)
    with pytest.raises(StorageUnavailable, match=says) as caught:
        Bucket(place, server).get("image.jpg")
    assert place in str(caught.value)
    assert SECRET not in f"{caught.value} {server!r}"


@pytest.mark.parametrize("fault", ["frozen", "killed"])
def test_a_server_that_goes_away_is_unavailable_and_loses_nothing(frail: S3Server, fault: str) -> None:
    bucket, hasty = (frail.bucket(PLACE, timeout_s) for timeout_s in (TIMEOUT_S, SHORT_TIMEOUT_S))
    keys = [f"{fault}-{number}" for number in range(20)]
    for key in keys:
        bucket.put_new(key, key.encode(), "")
    (frail.pause if fault == "frozen" else frail.kill)()
    for work in (lambda: hasty.get(keys[0]), lambda: hasty.put("new", b"new"), lambda: hasty.facts(keys[0])):
        with pytest.raises(StorageUnavailable):
            work()
    (frail.resume if fault == "frozen" else frail.launch)()
    wait_until(lambda: serves(hasty), "the server serves again")
    assert [(bucket.get(key) or [b""])[0] for key in keys] == [key.encode() for key in keys]


def test_a_full_server_refuses_and_keeps_what_it_has(frail: S3Server) -> None:
    bucket, hasty = (frail.bucket(PLACE, timeout_s) for timeout_s in (TIMEOUT_S, SHORT_TIMEOUT_S))
    bucket.put_new("big", BIG, "")
    stored = ["big"]

    def fill() -> None:
        for number in range(200):
            hasty.put_new(f"big-{number}", BIG, "")
            stored.append(f"big-{number}")

    with pytest.raises(StorageError):
        fill()
    assert all((bucket.get(key) or [b""])[0] == BIG for key in stored)


@pytest.mark.parametrize("place", ["", "bucket", "s3://", "s3://B", "s3://a", "http://bucket/x", "s3://bucket/a b"])
def test_what_is_no_place_in_a_bucket_is_refused(place: str) -> None:
    with pytest.raises(ValueError, match="s3://bucket"):
        parse(place)


def test_a_place_has_a_bucket_and_a_prefix() -> None:
    assert [parse("s3://bucket"), parse("s3://bucket/a/b/")] == [("bucket", ""), ("bucket", "a/b")]
