import csv
import hashlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import settings
from reports import record, schema, submission
from reports.submission import Submission
from storage.images.folder import image_folder
from wire.settings_parser import SettingError
from wire.tables.csv_table import one_line
from wire.tables.feedback import REPORTS

REPORT = "{'filename': 'a.jpg', 'prediction': 'tabby', 'score': 0.5}"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "reports" / "feedback", tmp_path / "reports" / "feedback.csv"


@pytest.fixture
def saved_to(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    monkeypatch.setattr(settings, "FEEDBACK_FILEPATH", str(files[0]))
    return files


def save(text: str, folder: Path, details: dict[str, str]) -> None:
    submission.save(Submission(text, schema.parse(text), details), image_folder(folder))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, strict=True))


def test_a_report_is_kept_in_both_files(saved_to: tuple[Path, Path], tmp_path: Path) -> None:
    lines, rows = saved_to
    save(REPORT, tmp_path, {"model": "net", "model_version": "7", "label": "lynx", "comment": "not a cat"})
    assert lines.read_text() == REPORT + "\n"
    [kept] = rows_of(rows)
    assert tuple(kept) == REPORTS.columns
    assert kept["image_path"] == str(tmp_path / "a.jpg")
    assert (kept["prediction"], kept["score"], kept["label"]) == ("tabby", "0.5", "lynx")
    assert (kept["model"], kept["model_version"], kept["comment"]) == ("net", "7", "not a cat")
    assert len(kept["report_id"]) == 36
    assert kept["reported_at"].endswith("+00:00")


def test_free_text_is_a_line_and_no_row(saved_to: tuple[Path, Path], tmp_path: Path) -> None:
    lines, rows = saved_to
    save("no cat at all", tmp_path, {})
    assert lines.read_text() == "no cat at all\n"
    assert not rows.exists()


def test_what_a_report_says_goes_before_what_the_form_says(saved_to: tuple[Path, Path], tmp_path: Path) -> None:
    save(REPORT, tmp_path, {"prediction": "dog", "image_path": "/etc/passwd"})
    assert rows_of(saved_to[1])[0]["prediction"] == "tabby"
    assert rows_of(saved_to[1])[0]["image_path"] == str(tmp_path / "a.jpg")


def test_the_stored_image_s_sha256_is_in_the_row(saved_to: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff")
    save(REPORT, tmp_path, {})
    assert rows_of(saved_to[1])[0]["image_sha256"] == hashlib.sha256(b"\xff\xd8\xff").hexdigest()


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(codec="utf-8"), min_size=1))
def test_every_report_is_one_line_verbatim(saved_to: tuple[Path, Path], tmp_path: Path, text: str) -> None:
    lines = saved_to[0]
    lines.unlink(missing_ok=True)
    save(text, tmp_path, {})
    save("the next", tmp_path, {})
    content = lines.read_bytes().decode("utf-8")
    assert content == one_line(text) + "\nthe next\n"


@pytest.mark.parametrize("path", ["feedback.csv", "./feedback.csv", "x/../feedback.csv"])
def test_one_path_for_both_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setattr(settings, "FEEDBACK_FILEPATH", f"{tmp_path}/{path}")
    with pytest.raises(SettingError, match=r"FEEDBACK_FILEPATH=.*feedback\.csv"):
        save(REPORT, tmp_path, {})


def test_the_csv_under_another_name_is_refused_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "reports").symlink_to(tmp_path / "feedback.csv")
    monkeypatch.setattr(settings, "FEEDBACK_FILEPATH", str(tmp_path / "reports"))
    with pytest.raises(SettingError):
        record.lines_path()
