import hashlib
import os
from pathlib import Path

import pytest

from images.stored import open_stored, sha256_of
from sightline_testing.colliding import COLLIDING, COLLIDING_NAME, ROUNDS, STORING, printed_at_once
from storage.images.folder import ImageFolder

JPEG = b"\xff\xd8\xff\xe0 an image"
NAME = hashlib.md5(JPEG, usedforsecurity=False).hexdigest() + ".jpg"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "uploads"


CLEANING = """
import sys, time
from pathlib import Path
from commands import clean_uploads
folder, rounds = Path(sys.argv[1]), int(sys.argv[2])
print("ready", flush=True)
begin = float(input())
for number in range(rounds):
    while time.time() < begin + number / 400:
        pass
    print(clean_uploads.clean(folder / str(number), folder / "no reports").removed)
"""


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x.jpg", "/etc/passwd", "a/b.jpg", "x.jpg\0", "x.txt", "missing.jpg", "x" * 300 + ".jpg"]
)
def test_only_plain_names_of_images_that_are_there_open(folder: Path, name: str) -> None:
    folder.mkdir(parents=True)
    (folder / "x.txt").write_bytes(JPEG)
    assert open_stored(ImageFolder(folder), name) is None


def test_what_is_no_image_does_not_open_whatever_its_name(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "page.jpg").write_bytes(b"<script>alert(1)</script>")
    (folder / "folder.jpg").mkdir()
    os.mkfifo(folder / "pipe.jpg")
    assert [open_stored(ImageFolder(folder), name) for name in ("page.jpg", "folder.jpg", "pipe.jpg")] == [None] * 3


def test_the_sha256_of_a_stored_image_is_known_and_that_of_another_is_empty(folder: Path) -> None:
    ImageFolder(folder).put(NAME, JPEG)
    assert sha256_of(ImageFolder(folder), NAME) == hashlib.sha256(JPEG).hexdigest()
    assert sha256_of(ImageFolder(folder), "../" + NAME) == ""


def test_clean_up_takes_no_name_from_an_image_that_is_sent_again_at_that_moment(folder: Path) -> None:
    for number in range(ROUNDS):
        ImageFolder(folder / str(number)).put(COLLIDING_NAME, COLLIDING[0])
        os.utime(folder / str(number) / COLLIDING_NAME, (1, 1))
    programs = ([STORING, folder, COLLIDING_NAME, content.hex(), ROUNDS, 0] for content in COLLIDING)
    *names, removed = printed_at_once(*programs, [CLEANING, folder, ROUNDS])
    for number, pair in enumerate(zip(*names, strict=True)):
        assert [(folder / str(number) / name).read_bytes() for name in pair] == COLLIDING, (number, removed[number])
