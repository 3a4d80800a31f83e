import errno
import hashlib
import os
import stat
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sightline_testing.colliding import COLLIDING, COLLIDING_NAME, ROUNDS, stored_at_once
from storage.errors import ImageMissing, ImageTooLarge, StorageFull
from storage.images import folder as image_folder
from storage.images.folder import ImageFolder
from storage.images.names import collision_name
from wire.process.limits import MAX_IMAGE_BYTES

JPEG = b"\xff\xd8\xff\xe0 an image"
NAME = hashlib.md5(JPEG, usedforsecurity=False).hexdigest() + ".jpg"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "some" / "uploads"
    yield folder
    leftovers = [path.name for path in folder.glob(".*")] if folder.exists() else []
    assert leftovers == [], "a temporary file was left behind"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_bytes_are_stored_as_they_are_and_the_folder_is_made(folder: Path) -> None:
    assert ImageFolder(folder).put(NAME, JPEG) == NAME
    assert (folder / NAME).read_bytes() == JPEG
    assert stat.S_IMODE((folder / NAME).stat().st_mode) & 0o137 == 0


def test_the_same_image_again_is_kept_and_counts_as_new(folder: Path) -> None:
    ImageFolder(folder).put(NAME, JPEG)
    os.utime(folder / NAME, (1, 1))
    inode = (folder / NAME).stat().st_ino
    assert ImageFolder(folder).put(NAME, JPEG) == NAME
    assert (folder / NAME).stat().st_ino == inode
    assert (folder / NAME).stat().st_mtime > 1
    assert names(folder) == [NAME]


def test_other_bytes_of_the_same_md5_get_a_name_of_their_own(folder: Path) -> None:
    first, second = COLLIDING
    digest = hashlib.md5(first, usedforsecurity=False).hexdigest()
    assert first != second
    assert digest == hashlib.md5(second, usedforsecurity=False).hexdigest()
    assert ImageFolder(folder).put(f"{digest}.png", first) == f"{digest}.png"
    other = ImageFolder(folder).put(f"{digest}.png", second)
    assert uuid.UUID(other.removesuffix(".png")).version == 4
    assert (folder / f"{digest}.png").read_bytes() == first
    assert (folder / other).read_bytes() == second
    # However often they come: the name is made of what they are.
    assert ImageFolder(folder).put(f"{digest}.png", second) == other
    assert len(names(folder)) == 2


@pytest.mark.parametrize("planted", ["link", "link to the same bytes", "link to nothing", "pipe"])
def test_what_somebody_planted_under_an_images_name_is_neither_followed_nor_waited_for(
    folder: Path, tmp_path: Path, planted: str
) -> None:
    ImageFolder(folder).put("other.jpg", JPEG)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(JPEG if planted.endswith("bytes") else b"secret")
    if planted == "pipe":
        os.mkfifo(folder / NAME)
    else:
        (folder / NAME).symlink_to(elsewhere if planted != "link to nothing" else tmp_path / "missing")
    content = elsewhere.read_bytes()
    assert ImageFolder(folder).put(NAME, JPEG) == NAME
    assert not (folder / NAME).is_symlink()
    assert (folder / NAME).read_bytes() == JPEG
    assert elsewhere.read_bytes() == content


def test_a_damaged_file_is_replaced_by_the_image_it_should_be(folder: Path) -> None:
    ImageFolder(folder).put(NAME, JPEG)
    (folder / NAME).write_bytes(JPEG[:5])
    assert ImageFolder(folder).put(NAME, JPEG) == NAME
    assert (folder / NAME).read_bytes() == JPEG


def test_an_image_that_would_leave_too_little_space_is_refused(folder: Path) -> None:
    with pytest.raises(StorageFull):
        ImageFolder(folder, 2**60).put(NAME, JPEG)
    assert names(folder) == []


def test_an_image_is_refused_where_the_disk_has_hardly_a_file_left(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.mkdir(parents=True)
    disk = os.statvfs(folder)
    monkeypatch.setattr(image_folder, "MIN_FREE_FILES", disk.f_favail + 1000)
    if not disk.f_files:
        assert ImageFolder(folder).put(NAME, JPEG) == NAME
        return
    with pytest.raises(StorageFull):
        ImageFolder(folder).put(NAME, JPEG)


def test_an_image_that_is_there_needs_no_space(folder: Path) -> None:
    ImageFolder(folder).put(NAME, JPEG)
    assert ImageFolder(folder, 2**60).put(NAME, JPEG) == NAME


def test_a_disk_that_is_full_leaves_no_half_image(folder: Path) -> None:
    pid = os.fork()
    if pid == 0:
        # The size limit simulates the full disk; it would bind the whole test run, so a child process sets it.
        os._exit(_store_with_a_limit(folder))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == errno.EFBIG
    assert names(folder) == []


def _store_with_a_limit(folder: Path) -> int:
    import resource  # noqa: PLC0415  in the child only

    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    try:
        ImageFolder(folder).put(NAME, JPEG + bytes(100_000))
    except OSError as error:
        return error.errno or 0
    return 0


def test_a_link_in_the_folder_is_neither_followed_nor_written_through(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.write_bytes(b"\xff\xd8\xff secret")
    folder.mkdir(parents=True)
    (folder / NAME).symlink_to(target)
    assert ImageFolder(folder).open(NAME) is None
    assert ImageFolder(folder).put(NAME, JPEG) == NAME
    assert target.read_bytes() == b"\xff\xd8\xff secret"
    assert (folder / NAME).read_bytes() == JPEG


def test_a_folder_under_an_images_name_leaves_no_descriptor_open(folder: Path) -> None:
    (folder / f"{'0' * 32}.jpg").mkdir(parents=True)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        assert ImageFolder(folder).open(f"{'0' * 32}.jpg") is None
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("link_fault", [0, errno.EPERM, errno.EXDEV])
def test_images_of_one_md5_that_processes_store_at_once_never_share_a_name(folder: Path, link_fault: int) -> None:
    names = stored_at_once(folder, COLLIDING, link_fault)
    shared = [
        number
        for number in range(ROUNDS)
        if [(folder / str(number) / each[number]).read_bytes() for each in names] != COLLIDING
    ]
    assert shared == []
    assert all(COLLIDING_NAME in pair for pair in zip(*names, strict=True)), "no thread got the free name"


@pytest.mark.parametrize("link_fault", [0, errno.EPERM])
def test_one_image_that_processes_store_at_once_is_one_file(folder: Path, link_fault: int) -> None:
    assert stored_at_once(folder, [COLLIDING[0]] * 2, link_fault) == [[COLLIDING_NAME] * ROUNDS] * 2


@pytest.mark.parametrize("error", [errno.EACCES, errno.EIO])
def test_a_file_that_cannot_be_read_is_not_written_over(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    ImageFolder(folder).put(NAME, JPEG)
    inode = (folder / NAME).stat().st_ino
    monkeypatch.setattr(os, "open", failing_on(folder / NAME, error))
    other = ImageFolder(folder).put(NAME, JPEG)
    assert other == collision_name(NAME, JPEG)
    assert (folder / NAME).stat().st_ino == inode
    assert (folder / other).read_bytes() == JPEG


def test_a_folder_under_an_image_s_name_costs_the_image_its_name_only(folder: Path) -> None:
    (folder / NAME).mkdir(parents=True)
    other = ImageFolder(folder).put(NAME, JPEG)
    assert (folder / other).read_bytes() == JPEG


@pytest.mark.parametrize("damage", [b"", COLLIDING[0][:50]])
def test_of_two_images_of_one_md5_that_find_a_damaged_file_each_has_its_own_bytes(folder: Path, damage: bytes) -> None:
    for number in range(ROUNDS):
        (folder / str(number)).mkdir(parents=True)
        (folder / str(number) / COLLIDING_NAME).write_bytes(damage)
    names = stored_at_once(folder, COLLIDING)
    for number, pair in enumerate(zip(*names, strict=True)):
        assert [(folder / str(number) / name).read_bytes() for name in pair] == COLLIDING


def test_a_damaged_file_stays_while_somebody_else_holds_the_lock(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_folder, "LOCK_ATTEMPTS", 2)
    ImageFolder(folder).put(NAME, JPEG)
    (folder / NAME).write_bytes(JPEG[:5])
    with image_folder.folder_lock(folder) as is_held:
        assert is_held
        other = ImageFolder(folder).put(NAME, JPEG)
    assert other != NAME
    assert (folder / other).read_bytes() == JPEG
    assert (folder / NAME).read_bytes() == JPEG[:5]
    assert ImageFolder(folder).put(NAME, JPEG) == NAME


def failing_on(path: Path, error: int) -> Callable[..., int]:
    """Open files as the system does, but for one path."""
    usual = os.open

    def opened(name: str | Path, *arguments: Any, **told: Any) -> int:
        if Path(name) == path:
            raise OSError(error, os.strerror(error), str(path))
        return usual(name, *arguments, **told)

    return opened


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    inside = tmp_path / "uploads"
    inside.mkdir()
    (inside / "image.jpg").write_bytes(b"pixels")
    (inside / "deeper").mkdir()
    (inside / "deeper" / "image.jpg").write_bytes(b"not to be read")
    (tmp_path / "secret").write_bytes(b"not to be read")
    (inside / "link.jpg").symlink_to(tmp_path / "secret")
    os.mkfifo(inside / "pipe.jpg")
    return inside


def test_a_stored_image_is_read_whole(planted: Path) -> None:
    assert ImageFolder(planted).read("image.jpg") == b"pixels"


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "nowhere.jpg", "../secret", "deeper/image.jpg", "/etc/hostname", "deeper", "link.jpg", "pipe.jpg",
     "image.jpg\0", "a" * 300, "\ud800.jpg", "ä" * 200],
)  # fmt: skip
def test_nothing_is_read_but_regular_files_of_the_folder(planted: Path, name: str) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(ImageMissing) as caught:
        ImageFolder(planted).read(name)
    assert repr(name) in str(caught.value)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_file_beyond_the_limit_is_refused_unread(planted: Path) -> None:
    with (planted / "huge.jpg").open("wb") as file:
        file.truncate(MAX_IMAGE_BYTES + 1)
    with pytest.raises(ImageTooLarge):
        ImageFolder(planted).read("huge.jpg")
