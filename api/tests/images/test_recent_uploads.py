import hashlib
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import pytest
from werkzeug.datastructures import FileStorage
from werkzeug.test import EnvironBuilder

import settings
from images import uploads
from images.multipart import MemoryRequest
from images.uploads import RecentUploads, StoredImage
from sightline_testing.colliding import COLLIDING, COLLIDING_NAME
from storage.images.folder import FRESH_S, ImageFolder, image_folder

JPEG = b"\xff\xd8\xff\xe0 an image"
NAME = hashlib.md5(JPEG, usedforsecurity=False).hexdigest() + ".jpg"
LONG_AGO_S = 10 * FRESH_S


def stored(recent: RecentUploads, folder: Path, content: bytes = JPEG, name: str = "a.jpg") -> str:
    """Store what a client sent under a name; check what is returned, and return the stored name."""
    image = recent.store(image_folder(folder), FileStorage(BytesIO(content), name), content)
    assert image.sha256 == hashlib.sha256(content).hexdigest()
    return image.name


@pytest.fixture
def recent() -> RecentUploads:
    return RecentUploads(max_entries=2)


def test_an_image_that_is_still_there_is_neither_read_nor_written(
    recent: RecentUploads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(recent, tmp_path)
    monkeypatch.setattr(ImageFolder, "put", None)
    assert [stored(recent, tmp_path) for _ in range(2)] == [NAME] * 2


def test_one_that_was_not_used_for_long_counts_as_used_now(recent: RecentUploads, tmp_path: Path) -> None:
    stored(recent, tmp_path)
    long_ago = time.time() - LONG_AGO_S
    os.utime(tmp_path / NAME, (long_ago, long_ago))
    assert stored(recent, tmp_path) == NAME
    assert (tmp_path / NAME).stat().st_mtime > long_ago + LONG_AGO_S / 2


def test_one_that_is_gone_is_stored_again(recent: RecentUploads, tmp_path: Path) -> None:
    stored(recent, tmp_path)
    (tmp_path / NAME).unlink()
    assert stored(recent, tmp_path) == NAME
    assert (tmp_path / NAME).read_bytes() == JPEG


def test_one_whose_file_was_changed_is_stored_again_though_its_size_and_times_are_the_same(
    recent: RecentUploads, tmp_path: Path
) -> None:
    stored(recent, tmp_path)
    before = (tmp_path / NAME).stat()
    time.sleep(0.02)  # longer than the file system's clock ticks
    with (tmp_path / NAME).open("r+b") as file:
        file.write(JPEG[:-1] + b"!")
    os.utime(tmp_path / NAME, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert stored(recent, tmp_path) == NAME
    assert (tmp_path / NAME).read_bytes() == JPEG


def test_one_that_was_cleaned_away_is_not_taken_for_another_of_its_md5_that_has_its_name_now(
    recent: RecentUploads, tmp_path: Path
) -> None:
    first, second = COLLIDING
    assert stored(recent, tmp_path, first, "a.bmp") == COLLIDING_NAME
    (tmp_path / COLLIDING_NAME).unlink()
    assert stored(RecentUploads(), tmp_path, second, "a.bmp") == COLLIDING_NAME
    again = stored(recent, tmp_path, first, "a.bmp")
    assert (tmp_path / again).read_bytes() == first


def test_another_folder_or_extension_is_another_image(recent: RecentUploads, tmp_path: Path) -> None:
    for folder, name in ((tmp_path, "a.jpg"), (tmp_path / "other", "a.jpg"), (tmp_path, "a.jpeg")):
        stored_name = stored(recent, folder, name=name)
        assert (folder / stored_name).read_bytes() == JPEG
        assert Path(stored_name).suffix == Path(name).suffix


def test_the_oldest_are_forgotten(recent: RecentUploads, tmp_path: Path) -> None:
    for number in range(5):
        stored(recent, tmp_path, JPEG + bytes([number]))
    assert len(recent._entries) == 2


def test_threads_that_store_different_images_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    recent = RecentUploads(max_entries=3)

    def add(thread: int) -> None:
        for number in range(20_000):
            recent._add((image_folder(tmp_path), str(number % 7), str(thread)), NAME, number)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(add, range(8)))
    finally:
        sys.setswitchinterval(before)
    assert len(recent._entries) <= 3 + 8


def received(folder: Path) -> StoredImage:
    builder = EnvironBuilder(method="POST", data=JPEG, content_type="image/jpeg")
    return uploads.store_file(uploads.file_of(MemoryRequest(builder.get_environ())), image_folder(folder))


def test_with_the_cache_on_an_image_comes_with_its_sha256_and_is_stored_as_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "RESULT_CACHE", False)
    usual = received(tmp_path / "usual")
    monkeypatch.setattr(settings, "RESULT_CACHE", True)
    images = [received(tmp_path / "cached") for _ in range(2)]
    (tmp_path / "cached" / usual.name).write_bytes(JPEG[:5])
    images.append(received(tmp_path / "cached"))
    assert {image.name for image in images} == {usual.name}
    assert {image.sha256 for image in images} == {"df1240c6e5d43293c3159298f1d8dc5119cb2b98fa9066b9d4a14792d57e9896"}
    assert usual.sha256 == ""
    assert (tmp_path / "cached" / usual.name).read_bytes() == JPEG
