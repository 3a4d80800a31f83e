import errno
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import pytest

import settings
from commands import clean_uploads
from commands.clean_uploads import Outcome, clean
from reports import record
from sightline_testing import sample_images
from sightline_testing.redis_server import free_port
from sightline_testing.waiting import wait_until
from storage.images.folder import ImageFolder
from storage.images.names import collision_stem
from storage.reports.port import Report
from storage.reports.postgres.database import Database
from storage.reports.postgres.reports import PostgresReports

DAY_S = 86_400


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "uploads"
    folder.mkdir()
    return folder


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    folder = tmp_path / "feedback"
    folder.mkdir()
    return folder


def keep(folder: Path, content: bytes, days: float) -> str:
    """Store an image as the service does, used for the last time so many days ago."""
    name = ImageFolder(folder).put(hashlib.md5(content, usedforsecurity=False).hexdigest() + ".jpg", content)
    then = time.time() - days * DAY_S
    os.utime(folder / name, (then, then))
    return name


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_what_nobody_used_for_long_goes_and_the_rest_stays(folder: Path, reports: Path) -> None:
    keep(folder, b"old", 31)
    young = keep(folder, b"young", 29)
    assert clean(folder, reports) == Outcome(1, 3, 1)
    assert names(folder) == {young}


def test_what_a_report_names_stays_however_old(folder: Path, reports: Path) -> None:
    kept = [keep(folder, str(number).encode(), 400) for number in range(6)]
    (reports / "feedback").write_text(f"{{'filename': '{kept[0]}', 'prediction': 'cat', 'score': 0.5}}\n")
    (reports / "feedback.csv").write_text(f'"1","/src/static/uploads/{kept[1]}"\n')
    (reports / "decisions").mkdir()
    (reports / "decisions" / "2026.jsonl").write_text("x" * (clean_uploads.CHUNK_BYTES - 20) + kept[2])
    (reports / "little.csv").write_bytes(f"1\tuploads/{kept[3]}\r\n".encode("utf-16-le"))
    (reports / "big.csv").write_bytes(f"1\tuploads/{kept[4]}\r\n".encode("utf-16"))
    assert clean(folder, reports).removed == 1
    assert names(folder) == set(kept[:5])


def test_what_a_report_of_another_host_names_stays(
    folder: Path, reports: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, _ = keep(folder, b"reported", 400), keep(folder, b"not reported", 400)
    database = Database(database_url)
    cells = {"report_id": str(UUID(int=1)), "image_path": f"elsewhere/{kept}", "score": "0.5"}
    PostgresReports(database, reports.parent / "other" / "feedback", 1024**3).add(Report(str(UUID(int=1)), "", cells))
    database.close()
    monkeypatch.setattr(settings, "DATABASE_URL", database_url)
    clean(folder, reports)
    record.database().close()
    assert names(folder) == {kept}


def test_beyond_the_quota_the_longest_unused_go_first(
    folder: Path, reports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = [keep(folder, bytes([number]) * 100, 5 - number) for number in range(5)]
    monkeypatch.setattr(settings, "KEEP_UPLOADS_BYTES", 250)
    assert clean(folder, reports) == Outcome(3, 300, 2)
    assert names(folder) == set(stored[3:])


def test_of_tiny_images_no_more_stay_than_the_quota_has_blocks(
    folder: Path, reports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = [keep(folder, bytes([number]), 5 - number) for number in range(5)]
    monkeypatch.setattr(settings, "KEEP_UPLOADS_BYTES", 3 * clean_uploads.BLOCK_BYTES)
    assert clean(folder, reports).removed == 0
    monkeypatch.setattr(clean_uploads, "FEWEST", 2)
    assert clean(folder, reports).removed == 2
    assert names(folder) == set(stored[2:])


def test_what_was_just_used_stays_however_much_it_is(
    folder: Path, reports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(folder, b"just now", 0)
    monkeypatch.setattr(settings, "KEEP_UPLOADS_BYTES", 0)
    assert clean(folder, reports).removed == 0


def test_what_the_service_has_not_made_is_never_touched(folder: Path, reports: Path, tmp_path: Path) -> None:
    content = sample_images.jpeg(64, 48)
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    others = {
        "holiday.jpg": content,
        f"{digest}.txt": content,
        f"{'0' * 32}.jpg": content,  # a name like ours, of other bytes
        "0b5d2c1e-7a52-4f0e-9d3c-2f1c6a1b7e55.jpg": content,
        f"{digest.upper()}.jpg": content,
        f"{digest}.jpg.part": content,
    }
    for name, data in others.items():
        (folder / name).write_bytes(data)
        os.utime(folder / name, (1, 1))
    target = tmp_path / f"{digest}.jpg"
    target.write_bytes(content)
    (folder / f"{digest}.jpg").symlink_to(target)
    (folder / f"{'1' * 32}.jpg").mkdir()
    before = names(folder)
    assert clean(folder, reports).removed == 0
    assert names(folder) == before
    assert target.exists()


def test_an_image_whose_md5_was_taken_is_known_by_its_other_name(folder: Path, reports: Path) -> None:
    content = b"collides"
    name = collision_stem(hashlib.sha256(content).digest()) + ".jpg"
    (folder / name).write_bytes(content)
    os.utime(folder / name, (1, 1))
    assert clean(folder, reports).removed == 1


def test_halves_that_killed_writers_left_go_after_a_day(folder: Path, reports: Path) -> None:
    old, young = (f".{'a' * 32}.jpg.{digit * 16}.part" for digit in "12")
    for name in (old, young, ".notes.part"):
        (folder / name).write_bytes(b"half")
    os.utime(folder / old, (1, 1))
    clean(folder, reports)
    assert names(folder) == {young, ".notes.part"}


def test_an_image_that_is_used_while_it_is_looked_at_stays(
    folder: Path, reports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = keep(folder, b"wanted", 100)
    is_ours = clean_uploads.is_ours

    def looked_at(path: Path) -> bool:
        ImageFolder(folder).put(name, b"wanted")
        return is_ours(path)

    monkeypatch.setattr(clean_uploads, "is_ours", looked_at)
    assert clean(folder, reports).removed == 0
    assert names(folder) == {name}


def test_a_dry_run_says_it_and_does_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    name = keep(folder, b"old", 31)
    monkeypatch.setattr(settings, "UPLOAD_FOLDER", str(folder))
    monkeypatch.setattr(settings, "FEEDBACK_FILEPATH", str(tmp_path / "feedback" / "feedback"))
    assert clean_uploads.main(["--dry-run"]) == 0
    assert "1 images (3 bytes) would be removed" in capsys.readouterr().out
    assert names(folder) == {name}
    assert clean_uploads.main([]) == 0
    assert names(folder) == set()


def test_a_folder_that_is_not_there_is_clean(tmp_path: Path) -> None:
    assert clean(tmp_path / "missing", tmp_path / "none") == Outcome(0, 0, 0)


CHURN = """
import itertools, pathlib, sqlite3, sys
uploads, reports = map(pathlib.Path, sys.argv[1:])
for number in itertools.count():
    with sqlite3.connect(reports / "index.sqlite") as index:
        index.execute("pragma journal_mode=wal")
        index.execute("create table if not exists t (x)")
        index.execute("insert into t values (1)")
    index.close()  # removes the -wal and the -shm
    draft = reports / f"draft{number}"
    draft.write_text(sys.stdin.readline() if number == 0 else "x")
    draft.rename(reports / f"decisions{number % 2}") if number else draft.rename(reports / "kept0")
    reports.joinpath(f"kept{number % 2}").rename(reports / f"kept{(number + 1) % 2}")
    part = uploads / f".{'a' * 32}.jpg.{number:016x}.part"
    part.write_bytes(b"half")
    part.unlink()
    folder = reports / f"folder{number}"
    folder.mkdir()
    folder.rmdir()
"""


def test_it_works_while_other_programs_remove_and_rename_files(folder: Path, reports: Path) -> None:
    kept = keep(folder, b"reported", 400)
    with subprocess.Popen([sys.executable, "-c", CHURN, folder, reports], stdin=subprocess.PIPE, text=True) as program:
        assert program.stdin is not None
        print(kept, file=program.stdin, flush=True)
        wait_until(lambda: any(reports.glob("decisions*")), "the other program has started")
        try:
            for number in range(200):
                gone = keep(folder, str(number).encode(), 400)
                assert clean(folder, reports).removed == 1
                assert not (folder / gone).exists()
            assert (folder / kept).exists()
            assert program.poll() is None
        finally:
            program.kill()


@pytest.mark.parametrize("place", ["", "sub"])
def test_nothing_is_removed_while_a_file_of_the_feedback_folder_cannot_be_read(
    folder: Path, reports: Path, place: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = keep(folder, b"perhaps reported", 400)
    unreadable = reports / place / "notes"
    unreadable.parent.mkdir(exist_ok=True)
    unreadable.symlink_to(unreadable)  # links are passed over
    monkeypatch.setattr(settings, "UPLOAD_FOLDER", str(folder))
    monkeypatch.setattr(settings, "FEEDBACK_FILEPATH", str(reports / "feedback"))

    def failing(path: Path) -> list[str]:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    (reports / place / "a.csv").write_text("x")
    monkeypatch.setattr(clean_uploads, "_names_in", failing)
    assert clean_uploads.main([]) == 1
    assert "clean-up: stopped: [Errno 13] Permission denied" in capsys.readouterr().err
    assert names(folder) == {name}


def test_a_folder_that_cannot_be_listed_ends_the_clean_up(folder: Path, reports: Path) -> None:
    name = keep(folder, b"perhaps reported", 400)
    (reports / "sub").mkdir(mode=0)
    with as_nobody_special(folder.parent, folder, reports), pytest.raises(PermissionError):
        clean(folder, reports)
    assert names(folder) == {name}


@contextmanager
def as_nobody_special(*given: Path) -> Iterator[None]:
    """Give up root's right to read everything, where the tests run as root."""
    if os.geteuid():
        yield
        return
    for path in (*given, *given[0].parents[:-1]):
        path.chmod(path.stat().st_mode | 0o755)
    for path in given:
        os.chown(path, 65_534, -1)
    os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_bucket_that_cannot_be_reached_ends_one_clean_up_with_the_reason(
    reports: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(settings, "FEEDBACK_FILEPATH", str(reports / "feedback"))
    monkeypatch.setattr(settings, "IMAGE_STORE", "s3://images/x")
    monkeypatch.setattr(settings, "S3_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setattr(settings, "S3_ACCESS_KEY_ID", "key")
    monkeypatch.setattr(settings, "S3_SECRET_ACCESS_KEY", "secret")
    assert clean_uploads.main([]) == 1
    assert "clean-up: stopped: s3://images/x: " in capsys.readouterr().err


def test_sigterm_ends_the_repeated_clean_up_with_status_0(folder: Path, tmp_path: Path) -> None:
    """Also as process 1 of a container, which has no default action for it."""
    told = {"UPLOAD_FOLDER": str(folder), "FEEDBACK_FILEPATH": str(tmp_path / "feedback"), "PYTHONPATH": "."}
    command = [sys.executable, "-m", "commands.clean_uploads", "--every", "3600"]
    with subprocess.Popen(command, env=told, stdout=subprocess.PIPE, text=True) as janitor:
        assert janitor.stdout is not None
        assert "0 kept" in janitor.stdout.readline()
        janitor.terminate()
        assert janitor.wait(60) == 0
