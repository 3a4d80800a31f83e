import errno
import hashlib
import os
import stat
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import settings
from images import store
from problems import Problem

JPEG = b"\xff\xd8\xff\xe0 a picture"
NAME = hashlib.md5(JPEG, usedforsecurity=False).hexdigest() + ".jpg"
# Two contents of one MD5: the pair published by X. Wang and others in 2004.
COLLIDING = [
    bytes.fromhex(
        f"d131dd02c5e6eec4693d9a0698aff95c2fcab5{first}12467eab4004583eb8fb7f8955ad340609f4b30283e4888325{second}415a"
        f"085125e8f7cdc99fd91dbd{third}280373c5b{fourth}8823e3156348f5bae6dacd436c919c6dd53e2{fifth}487da03fd02396306d"
        f"248cda0e99f33420f577ee8ce54b67080{sixth}80d1ec69821bcb6a8839396f965{seventh}b6ff72a70"
    )
    for first, second, third, fourth, fifth, sixth, seventh in (
        ("87", "71", "f", "d", "b", "a", "2"),
        ("07", "f1", "7", "d", "3", "2", "a"),
    )
]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "some" / "uploads"
    yield folder
    leftovers = [path.name for path in folder.glob(".*")] if folder.exists() else []
    assert leftovers == [], "a temporary file was left behind"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_bytes_are_stored_as_they_are_and_the_folder_is_made(folder: Path) -> None:
    assert store.store(folder, NAME, JPEG) == NAME
    assert (folder / NAME).read_bytes() == JPEG
    assert stat.S_IMODE((folder / NAME).stat().st_mode) & 0o137 == 0


def test_the_same_picture_again_is_kept_and_counts_as_new(folder: Path) -> None:
    store.store(folder, NAME, JPEG)
    os.utime(folder / NAME, (1, 1))
    inode = (folder / NAME).stat().st_ino
    assert store.store(folder, NAME, JPEG) == NAME
    assert (folder / NAME).stat().st_ino == inode
    assert (folder / NAME).stat().st_mtime > 1
    assert names(folder) == [NAME]


def test_other_bytes_of_the_same_md5_get_a_name_of_their_own(folder: Path) -> None:
    first, second = COLLIDING
    digest = hashlib.md5(first, usedforsecurity=False).hexdigest()
    assert first != second
    assert digest == hashlib.md5(second, usedforsecurity=False).hexdigest()
    assert store.store(folder, f"{digest}.png", first) == f"{digest}.png"
    other = store.store(folder, f"{digest}.png", second)
    assert uuid.UUID(other.removesuffix(".png")).version == 4
    assert (folder / f"{digest}.png").read_bytes() == first
    assert (folder / other).read_bytes() == second
    # However often they come: the name is made of what they are.
    assert store.store(folder, f"{digest}.png", second) == other
    assert len(names(folder)) == 2


@pytest.mark.parametrize("planted", ["link", "link to the same bytes", "link to nothing", "pipe"])
def test_what_somebody_planted_under_a_pictures_name_is_neither_followed_nor_waited_for(
    folder: Path, tmp_path: Path, planted: str
) -> None:
    store.store(folder, "other.jpg", JPEG)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(JPEG if planted.endswith("bytes") else b"secret")
    if planted == "pipe":
        os.mkfifo(folder / NAME)
    else:
        (folder / NAME).symlink_to(elsewhere if planted != "link to nothing" else tmp_path / "missing")
    content = elsewhere.read_bytes()
    assert store.store(folder, NAME, JPEG) == NAME
    assert not (folder / NAME).is_symlink()
    assert (folder / NAME).read_bytes() == JPEG
    assert elsewhere.read_bytes() == content


def test_a_damaged_file_is_replaced_by_the_picture_it_should_be(folder: Path) -> None:
    store.store(folder, NAME, JPEG)
    (folder / NAME).write_bytes(JPEG[:5])
    assert store.store(folder, NAME, JPEG) == NAME
    assert (folder / NAME).read_bytes() == JPEG


def test_a_picture_that_would_leave_too_little_space_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "MIN_FREE_BYTES", 2**60)
    with pytest.raises(Problem) as refusal:
        store.store(folder, NAME, JPEG)
    assert (refusal.value.status, refusal.value.code) == (507, "storage_full")
    assert names(folder) == []


def test_a_picture_is_refused_where_the_disk_has_hardly_a_file_left(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.mkdir(parents=True)
    disk = os.statvfs(folder)
    monkeypatch.setattr(store, "MIN_FREE_FILES", disk.f_favail + 1000)
    if not disk.f_files:
        assert store.store(folder, NAME, JPEG) == NAME
        return
    with pytest.raises(Problem) as refusal:
        store.store(folder, NAME, JPEG)
    assert (refusal.value.status, refusal.value.code) == (507, "storage_full")


def test_a_picture_that_is_there_needs_no_space(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.store(folder, NAME, JPEG)
    monkeypatch.setattr(settings, "MIN_FREE_BYTES", 2**60)
    assert store.store(folder, NAME, JPEG) == NAME


def test_a_disk_that_is_full_leaves_no_half_picture(folder: Path) -> None:
    pid = os.fork()
    if pid == 0:
        # The size limit stands for the full disk; it would bind the whole test run, so a child takes it on.
        os._exit(_store_with_a_limit(folder))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == errno.EFBIG
    assert names(folder) == []


def _store_with_a_limit(folder: Path) -> int:
    import resource  # noqa: PLC0415  in the child only

    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    try:
        store.store(folder, NAME, JPEG + bytes(100_000))
    except OSError as error:
        return error.errno or 0
    return 0


def test_a_link_in_the_folder_is_neither_followed_nor_written_through(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.write_bytes(b"\xff\xd8\xff secret")
    folder.mkdir(parents=True)
    (folder / NAME).symlink_to(target)
    assert store.open_stored(folder, NAME) is None
    assert store.store(folder, NAME, JPEG) == NAME
    assert target.read_bytes() == b"\xff\xd8\xff secret"
    assert (folder / NAME).read_bytes() == JPEG


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x.jpg", "/etc/passwd", "a/b.jpg", "x.jpg\0", "x.txt", "missing.jpg", "x" * 300 + ".jpg"]
)
def test_only_plain_names_of_pictures_that_are_there_open(folder: Path, name: str) -> None:
    folder.mkdir(parents=True)
    (folder / "x.txt").write_bytes(JPEG)
    assert store.open_stored(folder, name) is None


def test_what_is_no_picture_does_not_open_whatever_its_name(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "page.jpg").write_bytes(b"<script>alert(1)</script>")
    (folder / "folder.jpg").mkdir()
    os.mkfifo(folder / "pipe.jpg")
    assert [store.open_stored(folder, name) for name in ("page.jpg", "folder.jpg", "pipe.jpg")] == [None] * 3


def test_a_folder_under_an_images_name_leaves_no_descriptor_open(folder: Path) -> None:
    (folder / f"{'0' * 32}.jpg").mkdir(parents=True)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        assert store.open_stored(folder, f"{'0' * 32}.jpg") is None
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_the_sha256_of_a_stored_picture_is_known_and_that_of_another_is_empty(folder: Path) -> None:
    store.store(folder, NAME, JPEG)
    assert store.sha256_of(folder, NAME) == hashlib.sha256(JPEG).hexdigest()
    assert store.sha256_of(folder, "../" + NAME) == ""


COLLIDING_NAME = hashlib.md5(COLLIDING[0], usedforsecurity=False).hexdigest() + ".bmp"
ROUNDS = 100
STORING = """
import os, sys, time
from pathlib import Path
from images import store
folder, name, data, rounds, fault = Path(sys.argv[1]), sys.argv[2], bytes.fromhex(sys.argv[3]), *map(int, sys.argv[4:])
def fail(*_, **__):
    raise OSError(fault, "no links here")
if fault:
    os.link = fail
print("ready", flush=True)
begin = float(input())
for number in range(rounds):
    while time.time() < begin + number / 400:
        pass
    print(store.store(folder / str(number), name, data))
"""


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


def stored_at_once(folder: Path, contents: Sequence[bytes], link_fault: int = 0) -> list[list[str]]:
    """Store each content by a process of its own, in many folders at the same moments; return the names by process."""
    return printed_at_once(
        *([STORING, folder, COLLIDING_NAME, content.hex(), ROUNDS, link_fault] for content in contents)
    )


def printed_at_once(*programs: Sequence[object]) -> list[list[str]]:
    """Run programs at the same moment, each with its arguments, and return the words that each printed."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", *map(str, program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for program in programs
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    with ThreadPoolExecutor(len(processes)) as pool:
        begin = f"{time.time() + 0.05}\n"
        return [output.split() for output, _ in pool.map(lambda process: process.communicate(begin), processes)]


@pytest.mark.parametrize("link_fault", [0, errno.EPERM, errno.EXDEV])
def test_images_of_one_md5_that_processes_store_at_once_never_share_a_name(folder: Path, link_fault: int) -> None:
    names = stored_at_once(folder, COLLIDING, link_fault)
    shared = [
        number
        for number in range(ROUNDS)
        if [(folder / str(number) / each[number]).read_bytes() for each in names] != COLLIDING
    ]
    assert shared == []
    assert all(COLLIDING_NAME in pair for pair in zip(*names, strict=True)), "nobody got the free name"


@pytest.mark.parametrize("link_fault", [0, errno.EPERM])
def test_one_image_that_processes_store_at_once_is_one_file(folder: Path, link_fault: int) -> None:
    assert stored_at_once(folder, [COLLIDING[0]] * 2, link_fault) == [[COLLIDING_NAME] * ROUNDS] * 2


@pytest.mark.parametrize("error", [errno.EACCES, errno.EIO])
def test_a_file_that_cannot_be_read_is_not_written_over(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    store.store(folder, NAME, JPEG)
    inode = (folder / NAME).stat().st_ino
    monkeypatch.setattr(os, "open", failing_on(folder / NAME, error))
    other = store.store(folder, NAME, JPEG)
    assert other == store.collision_name(NAME, JPEG)
    assert (folder / NAME).stat().st_ino == inode
    assert (folder / other).read_bytes() == JPEG


def test_a_folder_under_an_image_s_name_costs_the_image_its_name_only(folder: Path) -> None:
    (folder / NAME).mkdir(parents=True)
    other = store.store(folder, NAME, JPEG)
    assert (folder / other).read_bytes() == JPEG


@pytest.mark.parametrize("damage", [b"", COLLIDING[0][:50]])
def test_of_two_images_of_one_md5_that_find_a_damaged_file_each_has_its_own_bytes(folder: Path, damage: bytes) -> None:
    for number in range(ROUNDS):
        (folder / str(number)).mkdir(parents=True)
        (folder / str(number) / COLLIDING_NAME).write_bytes(damage)
    names = stored_at_once(folder, COLLIDING)
    for number, pair in enumerate(zip(*names, strict=True)):
        assert [(folder / str(number) / name).read_bytes() for name in pair] == COLLIDING


def test_clean_up_takes_no_name_from_an_image_that_is_sent_again_at_that_moment(folder: Path) -> None:
    for number in range(ROUNDS):
        store.store(folder / str(number), COLLIDING_NAME, COLLIDING[0])
        os.utime(folder / str(number) / COLLIDING_NAME, (1, 1))
    programs = ([STORING, folder, COLLIDING_NAME, content.hex(), ROUNDS, 0] for content in COLLIDING)
    *names, removed = printed_at_once(*programs, [CLEANING, folder, ROUNDS])
    for number, pair in enumerate(zip(*names, strict=True)):
        assert [(folder / str(number) / name).read_bytes() for name in pair] == COLLIDING, (number, removed[number])


def test_a_damaged_file_stays_while_somebody_else_holds_the_lock(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "LOCK_ATTEMPTS", 2)
    store.store(folder, NAME, JPEG)
    (folder / NAME).write_bytes(JPEG[:5])
    with store.folder_lock(folder) as is_held:
        assert is_held
        other = store.store(folder, NAME, JPEG)
    assert other != NAME
    assert (folder / other).read_bytes() == JPEG
    assert (folder / NAME).read_bytes() == JPEG[:5]
    assert store.store(folder, NAME, JPEG) == NAME


def failing_on(path: Path, error: int) -> Callable[..., int]:
    """Open files as the system does, but for one path."""
    usual = os.open

    def opened(name: str | Path, *arguments: Any, **told: Any) -> int:
        if Path(name) == path:
            raise OSError(error, os.strerror(error), str(path))
        return usual(name, *arguments, **told)

    return opened
