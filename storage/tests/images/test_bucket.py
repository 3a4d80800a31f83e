"""What a bucket does beyond the contract: expiry by the server, objects of other programs."""

import hashlib
import secrets

import obstore
import pytest

from sightline_testing.s3_server import S3Server
from storage.errors import ImageMissing
from storage.images import bucket as image_bucket
from storage.images.bucket import ImageBucket
from storage.s3 import Bucket

JPEG = b"\xff\xd8\xff\xe0 an image"
SHA256 = hashlib.sha256(JPEG).hexdigest()


@pytest.fixture
def bucket(s3_server: S3Server) -> Bucket:
    return s3_server.bucket(f"s3://images/{secrets.token_hex(4)}")


def expire(bucket: Bucket, name: str) -> None:
    obstore.delete(bucket._opened(), f"images/{name}")


def test_an_image_that_a_report_is_about_outlives_its_expiry_and_others_do_not(bucket: Bucket) -> None:
    images = ImageBucket(bucket)
    for name in ("reported.jpg", "other.jpg"):
        images.put(name, JPEG)
    images.keep("reported.jpg")
    for name in ("reported.jpg", "other.jpg"):
        expire(bucket, name)
    assert images.read("reported.jpg") == JPEG
    with pytest.raises(ImageMissing):
        images.read("other.jpg")
    assert list(images.names()) == ["reported.jpg"]


def test_an_image_that_is_gone_is_stored_again_once_it_is_no_longer_trusted_to_be_there(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = ImageBucket(bucket)
    identity = images.identify(images.put("a.jpg", JPEG), SHA256)
    expire(bucket, "a.jpg")
    assert images.renew("a.jpg", identity) is not None
    monkeypatch.setattr(image_bucket, "TRUSTED_S", 0.0)
    assert images.renew("a.jpg", identity) is None
    assert images.put("a.jpg", JPEG) == "a.jpg"
    assert images.read("a.jpg") == JPEG


def test_an_image_that_is_sent_again_after_long_lives_on_from_then(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, written = ImageBucket(bucket), list[str]()
    images.put("a.jpg", JPEG)
    usual = bucket.replace

    def replace(key: str, data: bytes, etag: str, sha256: str = "") -> bool:
        written.append(key)
        return usual(key, data, etag, sha256)

    monkeypatch.setattr(bucket, "replace", replace)
    images.put("a.jpg", JPEG)
    assert written == []
    monkeypatch.setattr(image_bucket, "REWRITE_S", -60.0)
    images.put("a.jpg", JPEG)
    assert written == ["images/a.jpg"]


def test_an_object_of_another_program_is_compared_by_its_bytes_and_gets_its_sha256(bucket: Bucket) -> None:
    images = ImageBucket(bucket)
    bucket.put("images/a.jpg", JPEG)
    bucket.put("images/b.jpg", b"\xff\xd8\xff\xe0 another")
    assert images.put("a.jpg", JPEG) == "a.jpg"
    facts = bucket.facts("images/a.jpg")
    assert facts is not None
    assert facts.sha256 == SHA256
    assert images.put("b.jpg", JPEG) != "b.jpg"
