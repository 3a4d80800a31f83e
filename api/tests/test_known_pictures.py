import os
from pathlib import Path

import pytest
from werkzeug.test import EnvironBuilder

import settings
import uploads
from forms import MemoryRequest
from known_pictures import KnownPictures

JPEG = b"\xff\xd8\xff\xe0 a picture"
SHA256 = "ab" * 32


@pytest.fixture
def known(tmp_path: Path) -> KnownPictures:
    """One that knows of a stored picture."""
    (tmp_path / "a.jpg").write_bytes(JPEG)
    known = KnownPictures(most=2)
    known.add(tmp_path, SHA256, ".jpg", "a.jpg")
    return known


def test_a_picture_that_is_still_there_has_its_name_and_counts_as_new(known: KnownPictures, tmp_path: Path) -> None:
    os.utime(tmp_path / "a.jpg", (1, 1))
    assert known.find(tmp_path, SHA256, ".jpg", len(JPEG)) == "a.jpg"
    assert (tmp_path / "a.jpg").stat().st_mtime > 1


def test_one_that_is_gone_or_of_another_size_has_to_be_stored_again(known: KnownPictures, tmp_path: Path) -> None:
    assert known.find(tmp_path, SHA256, ".jpg", len(JPEG) + 1) is None
    (tmp_path / "a.jpg").unlink()
    assert known.find(tmp_path, SHA256, ".jpg", len(JPEG)) is None


@pytest.mark.parametrize(
    ("folder", "sha256", "extension"), [("elsewhere", SHA256, ".jpg"), (".", "cd" * 32, ".jpg"), (".", SHA256, ".png")]
)
def test_another_picture_folder_or_extension_is_not_known(
    known: KnownPictures, tmp_path: Path, folder: str, sha256: str, extension: str
) -> None:
    assert known.find(tmp_path / folder, sha256, extension, len(JPEG)) is None


def test_the_oldest_are_forgotten(known: KnownPictures, tmp_path: Path) -> None:
    for sha256 in ("b", "c"):
        known.add(tmp_path, sha256, ".jpg", "a.jpg")
    found = [known.find(tmp_path, sha256, ".jpg", len(JPEG)) for sha256 in (SHA256, "b", "c")]
    assert found == [None, "a.jpg", "a.jpg"]


def received(folder: Path) -> uploads.Picture:
    builder = EnvironBuilder(method="POST", data=JPEG, content_type="image/jpeg")
    return uploads.receive(MemoryRequest(builder.get_environ()), folder, raw=True)


def test_with_the_cache_on_a_picture_comes_with_its_sha256_and_is_stored_as_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "RESULT_CACHE", False)
    usual = received(tmp_path / "usual")
    monkeypatch.setattr(settings, "RESULT_CACHE", True)
    pictures = [received(tmp_path / "cached") for _ in range(2)]
    (tmp_path / "cached" / usual.name).write_bytes(JPEG[:5])
    pictures.append(received(tmp_path / "cached"))
    assert {picture.name for picture in pictures} == {usual.name}
    assert {picture.sha256 for picture in pictures} == {
        "99e3da308f4130cccd5b2a43b8065c57225754310ac1b577769d354aa3637859"
    }
    assert usual.sha256 == ""
    assert (tmp_path / "cached" / usual.name).read_bytes() == JPEG
