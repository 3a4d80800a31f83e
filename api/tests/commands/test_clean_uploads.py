import hashlib
import os
import time
from pathlib import Path

import pytest

import settings
from commands import clean_uploads
from commands.clean_uploads import Outcome, clean
from images import store
from sightline_testing import pictures

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
    """Store a picture as the service does, used for the last time so many days ago."""
    name = store.store(folder, hashlib.md5(content, usedforsecurity=False).hexdigest() + ".jpg", content)
    then = time.time() - days * DAY_S
    os.utime(folder / name, (then, then))
    return name


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_what_nobody_used_for_long_goes_and_the_rest_stays(folder: Path, reports: Path) -> None:
    keep(folder, b"old", 31)
    young = keep(folder, b"young", 29)
    assert clean(folder, reports) == Outcome(1, 3, 1, 5)
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


def test_beyond_the_quota_the_longest_unused_go_first(
    folder: Path, reports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = [keep(folder, bytes([number]) * 100, 5 - number) for number in range(5)]
    monkeypatch.setattr(settings, "KEEP_UPLOADS_BYTES", 250)
    assert clean(folder, reports) == Outcome(3, 300, 2, 200)
    assert names(folder) == set(stored[3:])


def test_of_tiny_pictures_no_more_stay_than_the_quota_has_blocks(
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
    content = pictures.jpeg(64, 48)
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


def test_a_picture_whose_md5_was_taken_is_known_by_its_other_name(folder: Path, reports: Path) -> None:
    content = b"collides"
    name = store.collision_stem(hashlib.sha256(content).digest()) + ".jpg"
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


def test_a_picture_that_is_used_while_it_is_looked_at_stays(
    folder: Path, reports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = keep(folder, b"wanted", 100)
    is_ours = clean_uploads.is_ours

    def looked_at(path: Path) -> bool:
        store.store(folder, name, b"wanted")
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
    assert clean(tmp_path / "missing", tmp_path / "none") == Outcome(0, 0, 0, 0)
