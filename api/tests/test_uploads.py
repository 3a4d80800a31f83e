import errno
import hashlib
import os
import stat
import uuid
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from werkzeug.datastructures import FileStorage
from werkzeug.test import EnvironBuilder

import settings
import uploads
from forms import MemoryRequest
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
    assert uploads.store(folder, NAME, JPEG) == NAME
    assert (folder / NAME).read_bytes() == JPEG
    assert stat.S_IMODE((folder / NAME).stat().st_mode) & 0o137 == 0


def test_the_same_picture_again_is_kept_and_counts_as_new(folder: Path) -> None:
    uploads.store(folder, NAME, JPEG)
    os.utime(folder / NAME, (1, 1))
    inode = (folder / NAME).stat().st_ino
    assert uploads.store(folder, NAME, JPEG) == NAME
    assert (folder / NAME).stat().st_ino == inode
    assert (folder / NAME).stat().st_mtime > 1
    assert names(folder) == [NAME]


def test_other_bytes_of_the_same_md5_get_a_name_of_their_own(folder: Path) -> None:
    first, second = COLLIDING
    digest = hashlib.md5(first, usedforsecurity=False).hexdigest()
    assert first != second
    assert digest == hashlib.md5(second, usedforsecurity=False).hexdigest()
    assert uploads.store(folder, f"{digest}.png", first) == f"{digest}.png"
    other = uploads.store(folder, f"{digest}.png", second)
    assert uuid.UUID(other.removesuffix(".png")).version == 4
    assert (folder / f"{digest}.png").read_bytes() == first
    assert (folder / other).read_bytes() == second
    # However often they come: the name is made of what they are.
    assert uploads.store(folder, f"{digest}.png", second) == other
    assert len(names(folder)) == 2


@pytest.mark.parametrize("planted", ["link", "link to the same bytes", "link to nothing", "pipe"])
def test_what_somebody_planted_under_a_pictures_name_is_neither_followed_nor_waited_for(
    folder: Path, tmp_path: Path, planted: str
) -> None:
    uploads.store(folder, "other.jpg", JPEG)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(JPEG if planted.endswith("bytes") else b"secret")
    if planted == "pipe":
        os.mkfifo(folder / NAME)
    else:
        (folder / NAME).symlink_to(elsewhere if planted != "link to nothing" else tmp_path / "missing")
    content = elsewhere.read_bytes()
    assert uploads.store(folder, NAME, JPEG) == NAME
    assert not (folder / NAME).is_symlink()
    assert (folder / NAME).read_bytes() == JPEG
    assert elsewhere.read_bytes() == content


def test_a_damaged_file_is_replaced_by_the_picture_it_should_be(folder: Path) -> None:
    uploads.store(folder, NAME, JPEG)
    (folder / NAME).write_bytes(JPEG[:5])
    assert uploads.store(folder, NAME, JPEG) == NAME
    assert (folder / NAME).read_bytes() == JPEG


def test_a_picture_that_would_leave_too_little_space_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "MIN_FREE_BYTES", 2**60)
    with pytest.raises(Problem) as refusal:
        uploads.store(folder, NAME, JPEG)
    assert (refusal.value.status, refusal.value.code) == (507, "storage_full")
    assert names(folder) == []


def test_a_picture_that_is_there_needs_no_space(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uploads.store(folder, NAME, JPEG)
    monkeypatch.setattr(settings, "MIN_FREE_BYTES", 2**60)
    assert uploads.store(folder, NAME, JPEG) == NAME


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
        uploads.store(folder, NAME, JPEG + bytes(100_000))
    except OSError as error:
        return error.errno or 0
    return 0


def test_a_link_in_the_folder_is_neither_followed_nor_written_through(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.write_bytes(b"\xff\xd8\xff secret")
    folder.mkdir(parents=True)
    (folder / NAME).symlink_to(target)
    assert uploads.open_stored(folder, NAME) is None
    assert uploads.store(folder, NAME, JPEG) == NAME
    assert target.read_bytes() == b"\xff\xd8\xff secret"
    assert (folder / NAME).read_bytes() == JPEG


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x.jpg", "/etc/passwd", "a/b.jpg", "x.jpg\0", "x.txt", "missing.jpg", "x" * 300 + ".jpg"]
)
def test_only_plain_names_of_pictures_that_are_there_open(folder: Path, name: str) -> None:
    folder.mkdir(parents=True)
    (folder / "x.txt").write_bytes(JPEG)
    assert uploads.open_stored(folder, name) is None


def test_what_is_no_picture_does_not_open_whatever_its_name(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "page.jpg").write_bytes(b"<script>alert(1)</script>")
    (folder / "folder.jpg").mkdir()
    os.mkfifo(folder / "pipe.jpg")
    assert [uploads.open_stored(folder, name) for name in ("page.jpg", "folder.jpg", "pipe.jpg")] == [None] * 3


def test_the_sha256_of_a_stored_picture_is_known_and_that_of_another_is_empty(folder: Path) -> None:
    uploads.store(folder, NAME, JPEG)
    assert uploads.sha256_of(folder, NAME) == hashlib.sha256(JPEG).hexdigest()
    assert uploads.sha256_of(folder, "../" + NAME) == ""


def request_with(body: bytes, content_type: str | None) -> MemoryRequest:
    return MemoryRequest(EnvironBuilder(method="POST", data=body, content_type=content_type).get_environ())


def form_request(content: bytes, name: str, field: str = "file") -> MemoryRequest:
    file = FileStorage(BytesIO(content), name)
    return MemoryRequest(EnvironBuilder(method="POST", data={field: file}).get_environ())


@pytest.mark.parametrize(
    "content_type", ["image/jpeg", "image/png", "image/x-whatever", "application/octet-stream", None]
)
def test_a_raw_picture_is_told_by_its_signature_whatever_its_type_says(folder: Path, content_type: str | None) -> None:
    assert uploads.receive(request_with(JPEG, content_type), folder, raw=True).name == NAME


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", None),
        (b"", "image/jpeg"),
        (b"words", None),
        (b"words", "application/octet-stream"),
        (JPEG, "application/json"),
        (JPEG, "text/plain"),
        (JPEG, "application/x-www-form-urlencoded"),
        (b"--x\r\n", "multipart/form-data; boundary=x"),
        (b"", "multipart/form-data"),
    ],
)
def test_a_body_without_a_usable_picture_is_said_to_be_so(folder: Path, body: bytes, content_type: str | None) -> None:
    with pytest.raises(uploads.UnusableFile):
        uploads.receive(request_with(body, content_type), folder, raw=True)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("content", "name", "field"),
    [
        (JPEG, "a.jpg", "other"),
        (JPEG, "", "file"),
        (JPEG, "a.txt", "file"),
        (JPEG, "a", "file"),
        (b"", "a.jpg", "file"),
    ],
)
def test_a_form_without_a_usable_file_is_said_to_be_so(folder: Path, content: bytes, name: str, field: str) -> None:
    with pytest.raises(uploads.UnusableFile):
        uploads.receive(form_request(content, name, field), folder, raw=True)


@pytest.mark.parametrize(
    "request_", [lambda: form_request(b"words", "a.jpg"), lambda: request_with(b"words", "image/png")]
)
def test_what_only_claims_to_be_a_picture_is_415(folder: Path, request_) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(Problem) as refusal:
        uploads.receive(request_(), folder, raw=True)
    assert (refusal.value.status, refusal.value.code) == (415, "unsupported_type")


def test_a_picture_over_the_limit_is_413_and_names_both_numbers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "MAX_UPLOAD_BYTES", 1000)
    uploads.receive(form_request(JPEG.ljust(1000), "a.jpg"), folder, raw=True)
    with pytest.raises(Problem) as refusal:
        uploads.receive(form_request(JPEG.ljust(1001), "a.jpg"), folder, raw=True)
    assert refusal.value.status == 413
    assert "1001" in refusal.value.detail
    assert "1000" in refusal.value.detail


def test_the_server_hears_once_the_bytes_are_let_go(folder: Path) -> None:
    heard: list[bool] = []
    request = form_request(JPEG, "a.jpg")
    request.environ["sightline.forget_body"] = lambda: heard.append(request.files["file"].stream.closed)
    uploads.receive(request, folder, raw=True)
    assert heard == [True]


def test_a_large_picture_is_stored_alike(folder: Path) -> None:
    content = JPEG + bytes(uploads.BLOCKING_BYTES)
    name = uploads.receive(request_with(content, None), folder, raw=True).name
    assert (folder / name).read_bytes() == content


def test_where_no_raw_picture_is_taken_a_body_holds_no_file(folder: Path) -> None:
    with pytest.raises(uploads.UnusableFile, match="No file was sent"):
        uploads.receive(request_with(JPEG, "image/jpeg"), folder, raw=False)
    assert uploads.receive(form_request(JPEG, "a.jpg"), folder, raw=False).name == NAME
