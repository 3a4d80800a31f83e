"""A form's file is what its content is: no name, and no lack of one, keeps an image from being answered."""

import hashlib
from typing import Any

import pytest
from flask.testing import FlaskClient

import settings
from sightline_testing import sample_images
from tests.serving import EchoWorker, wait_until

# What follows `form-data; name="file"`, by who sends it so.
NAMES = (
    b'; filename="blob"',  # FormData.append("file", new Blob(...))
    b'; filename="file"',  # requests with bytes in place of a file
    b'; filename="image"',
    b'; filename="content://media/external/images/media/42"',  # Android
    b'; filename="photo.jfif"',
    b'; filename="photo.jpe"',
    b'; filename="photo.pjpeg"',
    b'; filename="photo.mpo"',
    b'; filename="photo.dib"',
    b'; filename="photo.jpg?w=8"',
    b'; filename="photo.HEIC"',
    b'; filename="photo.txt"',
    b'; filename="photo.jpg.exe"',
    b'; filename="photo.jpg "',
    b'; filename="photo.jpg."',
    b'; filename=".jpg"',
    b'; filename="photos/"',
    b'; filename="C:\\fakepath\\photo"',
    b'; filename="../../etc/passwd"',
    b'; filename=""',
    b"; filename=",
    b"",
    b'; filename="=?UTF-8?B?Y2F0LmpwZw==?="',  # RFC 2047
    b'; filename="=?utf-8?Q?cat.jpg?="',
    b"; filename*=UTF-8''caf%C3%A9",  # RFC 5987
    b"; filename*=unknown''photo",
    b"; filename=\"photo.jpg\"; filename*=UTF-8''caf%C3%A9",
    b'; filename*0="pho"; filename*1="to"',  # RFC 2231
    b"; filename=my photo",
    b"; filename=my;photo.jpg",
    b'; filename="a \\"quoted\\" name"',
    b'; filename="photo\0"',
    b'; filename="photo.jpg\0"',
    b'; filename="\xff\xfe"',
    b'; filename="' + "кот".encode() + b'"',
    b'; filename="' + b"n" * 20_000 + b'"',
)
PART_TYPES = (b"image/jpeg", b"text/plain", b"")


def body(name: bytes, content: bytes, part_type: bytes = b"", field: bytes = b"file") -> bytes:
    """Return a form of one part with just this name."""
    head = b'Content-Disposition: form-data; name="' + field + b'"' + name
    if part_type:
        head += b"\r\nContent-Type: " + part_type
    return b"--x\r\n" + head + b"\r\n\r\n" + content + b"\r\n--x--\r\n"


def send(client: FlaskClient, data: bytes, path: str = "/predict", **told: Any) -> int:
    return client.post(path, data=data, content_type="multipart/form-data; boundary=x", **told).status_code


@pytest.mark.parametrize("path", ["/predict", "/", "/invocations"])
@pytest.mark.parametrize("part_type", PART_TYPES)
def test_an_image_is_answered_whatever_its_name_and_stored_under_the_suffix_of_its_kind(
    client: FlaskClient, asked: list[str], image: bytes, path: str, part_type: bytes
) -> None:
    refused = [name for name in NAMES if send(client, body(name, image, part_type), path) != 200]
    assert refused == []
    assert set(asked) == {hashlib.md5(image, usedforsecurity=False).hexdigest() + ".jpg"}


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [
        *(("JPEG", ".jpg"), ("PNG", ".png"), ("GIF", ".gif"), ("BMP", ".bmp"), ("WEBP", ".webp")),
        *(("HEIF", ".heic"), ("AVIF", ".avif"), ("TIFF", ".tiff")),
    ],
)
@pytest.mark.parametrize("name", [b'; filename="blob"', b""])
def test_every_kind_has_a_suffix_of_its_own(
    client: FlaskClient, asked: list[str], kind: str, suffix: str, name: bytes
) -> None:
    content = sample_images.encode(sample_images.scene(64, 48), kind)
    assert send(client, body(name, content)) == 200
    assert asked == [hashlib.md5(content, usedforsecurity=False).hexdigest() + suffix]
    assert client.get(f"/display/{asked[0]}").data == content


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_image_and_does_not_claim_to_be_one_is_a_request_without_a_usable_file(
    client: FlaskClient, asked: list[str], name: bytes
) -> None:
    for content in (b"words", b"<svg/>", b"", b"BMW is a make of cars", b"GIF89a is a format"):
        if name and content[:3] in {b"BMW", b"GIF"}:
            continue  # a file with the signature of an image: whether it is one is the worker's affair
        assert send(client, body(name, content)) == 400
        assert send(client, body(name, content), "/") == 302
    assert asked == []


def test_a_name_of_an_image_around_something_else_is_415(client: FlaskClient, asked: list[str]) -> None:
    assert send(client, body(b'; filename="photo.jpeg"', b"words")) == 415
    assert send(client, body(b'; filename="photo.jpeg"', b"")) == 400
    assert asked == []


def test_a_format_that_is_left_out_is_415_and_not_stored(
    client: FlaskClient, asked: list[str], image: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "FORMATS", "jpeg,webp")
    scanned = sample_images.encode(sample_images.scene(64, 48), "TIFF")
    for name in (b'; filename="a.tiff"', b'; filename="a.jpg"', b""):
        assert send(client, body(name, scanned)) == 415
        assert send(client, body(name, image)) == 200
    answer = client.post("/predict", data=scanned, content_type="image/tiff")
    assert (answer.status_code, answer.get_json()["detail"][-22:]) == (415, "Choose a JPEG or WebP.")
    assert 'data-formats="jpeg webp"' in client.get("/").text


@pytest.mark.parametrize("text", ["BMW is wrong", "GIF89a", "RIFF WEBP"])
def test_a_text_that_begins_like_an_image_is_still_a_text(client: FlaskClient, text: str) -> None:
    assert (
        "Thank"
        in client.post(
            "/feedback", data=body(b"", text.encode(), field=b"report"), content_type="multipart/form-data; boundary=x"
        ).text
    )


@pytest.mark.parametrize("field", [b"data", b"body", b"file"])
def test_clients_of_other_systems_need_no_name_either(
    client: FlaskClient, asked: list[str], image: bytes, field: bytes
) -> None:
    for name in NAMES:
        assert send(client, body(name, image, field=field), "/predictions/default") == 200
    assert len(asked) == len(NAMES)


def test_a_job_and_several_images_at_once_need_no_names(client: FlaskClient, worker: EchoWorker, image: bytes) -> None:
    wait_until(lambda: client.get("/readyz").status_code == 200, "the worker is registered")
    assert send(client, body(b"", image), headers={"Prefer": "respond-async"}) == 202
    parts = [body(name, image).removesuffix(b"--x--\r\n") for name in NAMES[:12]]
    answer = client.post(
        "/predict", data=b"".join(parts) + b"--x--\r\n", content_type="multipart/form-data; boundary=x"
    )
    assert [each["success"] for each in answer.get_json()["results"]] == [True] * 12
