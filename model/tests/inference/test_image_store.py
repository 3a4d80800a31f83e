import os
from pathlib import Path

import pytest

from inference import image_store
from inference.errors import IMAGE_MISSING, IMAGE_TOO_LARGE, ImageError
from inference.limits import MAX_BYTES


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inside = tmp_path / "uploads"
    inside.mkdir()
    (inside / "picture.jpg").write_bytes(b"pixels")
    (inside / "deeper").mkdir()
    (inside / "deeper" / "picture.jpg").write_bytes(b"not to be read")
    (tmp_path / "secret").write_bytes(b"not to be read")
    (inside / "link.jpg").symlink_to(tmp_path / "secret")
    os.mkfifo(inside / "pipe.jpg")
    return inside


def test_a_stored_picture_is_read_whole(folder: Path) -> None:
    assert image_store.read(folder, "picture.jpg") == b"pixels"


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "nowhere.jpg", "../secret", "deeper/picture.jpg", "/etc/hostname", "deeper", "link.jpg", "pipe.jpg",
     "picture.jpg\0", "a" * 300, "\ud800.jpg", "ä" * 200],
)  # fmt: skip
def test_nothing_is_read_but_regular_files_of_the_folder(folder: Path, name: str) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(ImageError) as caught:
        image_store.read(folder, name)
    assert caught.value.code == IMAGE_MISSING
    assert repr(name) in str(caught.value)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_file_beyond_the_limit_is_refused_unread(folder: Path) -> None:
    with (folder / "huge.jpg").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(ImageError) as caught:
        image_store.read(folder, "huge.jpg")
    assert caught.value.code == IMAGE_TOO_LARGE
