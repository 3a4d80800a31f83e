import csv
import json
import os
import resource
import signal
import zipfile
from pathlib import Path

import pytest

from cli import export
from evaluation import batch_prediction
from inference.errors import CasesError
from sightline_testing import sample_images
from sightline_testing.reviewed import FeedbackFiles
from wire.tables.feedback import folder_name
from wire.tables.labels import Spelling


@pytest.fixture
def files(tmp_path: Path) -> FeedbackFiles:
    return FeedbackFiles(tmp_path / "uploads", tmp_path / "feedback")


def run(files: FeedbackFiles, folder: Path) -> int:
    return export.main([str(folder), "--feedback", str(files.feedback), "--uploads", str(files.uploads)])


def test_reviewed_images_lie_in_a_folder_for_each_label_with_both_lists(
    files: FeedbackFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files.accept([(b"one", "pie_chart"), (b"two", "'=cmd()")])
    files.report(b"not reviewed", "pie_chart")
    assert run(files, tmp_path / "out") == 0
    assert "\n2 images in " in capsys.readouterr().out
    with (tmp_path / "out" / "cases.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    lines = [json.loads(line) for line in (tmp_path / "out" / "metadata.jsonl").read_text().splitlines()]
    assert rows == lines
    assert [row["label"] for row in rows] == ["pie_chart", "=cmd()"]
    assert [(tmp_path / "out" / row["file_name"]).read_bytes() for row in rows] == [b"one", b"two"]
    assert {path.parent.name for path in (tmp_path / "out").glob("*/*")} == {"pie_chart", "=cmd()"}


def test_an_archive_holds_what_the_folder_does_and_replaces_nothing(
    files: FeedbackFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files.accept([(b"one", "pie_chart"), (b"two", "../'=cmd()")])
    archive = tmp_path / "out.zip"
    assert run(files, archive) == 0
    assert run(files, tmp_path / "out") == 0
    with zipfile.ZipFile(archive) as opened:
        inside = {name: opened.read(name) for name in opened.namelist()}
    folder = tmp_path / "out"
    written = (path for path in folder.rglob("*") if path.is_file())
    assert inside == {path.relative_to(folder).as_posix(): path.read_bytes() for path in written}
    assert run(files, archive) == 1
    assert "exists" in capsys.readouterr().err
    assert [path.name for path in tmp_path.glob("*out.zip*")] == ["out.zip"]


def test_an_archive_that_the_disk_has_no_room_for_leaves_nothing(
    files: FeedbackFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files.accept([(b"one", "pie_chart")])
    monkeypatch.setattr(export, "MIN_FREE_BYTES", 2**62)
    assert run(files, tmp_path / "out.zip") == 1
    assert "is full" in capsys.readouterr().err
    assert list(tmp_path.glob("*out.zip*")) == []


@pytest.mark.parametrize(
    "label", ["../up", "/etc", "..", ".hidden", "a/b", "nul\0", "100%", "x" * 300, "ü" * 200, "😀" * 200]
)
def test_no_label_leads_out_of_the_folder(files: FeedbackFiles, tmp_path: Path, label: str) -> None:
    name = folder_name(label)
    assert name not in ("", ".", "..")
    assert not set(name) & set("/\\\0")
    assert len(name.encode()) <= 255


def test_different_labels_have_different_folders() -> None:
    labels = ["a/b", "a%2Fb", "a%b", "a b", "ü" * 199, "ü" * 200]
    assert len({folder_name(label) for label in labels}) == len(labels)


def test_an_image_that_was_named_twice_is_there_once_as_it_was_named_last(files: FeedbackFiles, tmp_path: Path) -> None:
    report = files.report(b"one", "x")
    files.decide(report, "accept", "x")
    files.decide(report, "correct", "y")
    assert run(files, tmp_path / "out") == 0
    assert [path.parent.name for path in (tmp_path / "out").glob("*/*")] == ["y"]


def test_what_is_gone_or_altered_is_counted(
    files: FeedbackFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files.accept([(b"one", "x"), (b"two", "x"), (b"three", "x")])
    (files.uploads / files.upload(b"one")).unlink()
    (files.uploads / files.upload(b"two")).write_bytes(b"other")
    assert run(files, tmp_path / "out") == 0
    assert "1 images in " in (out := capsys.readouterr().out)
    assert "2 images are gone or altered" in out


def test_a_folder_that_holds_something_is_left_alone(
    files: FeedbackFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("")
    assert run(files, tmp_path / "out") == 1
    assert "is not empty" in capsys.readouterr().err


def test_any_label_and_any_comment_is_exported(files: FeedbackFiles, tmp_path: Path) -> None:
    labels = ["ü" * 200, "cases.csv", "metadata.jsonl", "."]
    files.accept([(label.encode(), label) for label in labels])
    path = files.feedback / "feedback.csv"
    path.write_text(path.read_text().replace('"."', f'"{"." * 140_000}"'))
    assert run(files, tmp_path / "out") == 0
    with (tmp_path / "out" / "cases.csv").open(newline="") as file:
        assert [row["label"] for row in csv.DictReader(file)] == labels


def test_where_the_export_fails_nothing_is_left(
    files: FeedbackFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table that breaks off, a full disk: the error is right, and the folder can be used again."""
    files.accept([(b"one" * 1000, "x"), (b"two" * 1000, "y")])
    for is_new in (True, False):
        pid = os.fork()
        if pid == 0:
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))  # simulates the full disk
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            os._exit(run(files, tmp_path / "out"))
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
        assert (tmp_path / "out").exists() != is_new
        (tmp_path / "out").mkdir(exist_ok=True)
        assert list((tmp_path / "out").iterdir()) == []
    assert run(files, tmp_path / "out") == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"x", "y", "cases.csv", "metadata.jsonl"}


def test_what_others_put_into_the_folder_meanwhile_is_kept(files: FeedbackFiles, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    files.accept([(b"one", "x")])
    with pytest.raises(OSError, match="not empty"), export._all_or_nothing(folder) as draft:  # noqa: PT012  the block
        (draft / "x").mkdir()
        (draft / "y").mkdir()
        (folder / "y").mkdir()
        (folder / "y" / "mine").write_text("")
    assert [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*"))] == ["y", "y/mine"]


def test_what_is_exported_has_the_name_of_its_class(files: FeedbackFiles, tmp_path: Path) -> None:
    labels = ["Tiger  cat", "tiger_cat", "Bar chart", "bar_chart", "\u200bBAR chart"]
    files.accept([(label.encode(), label) for label in labels])
    assert run(files, tmp_path / "out") == 0
    assert {path.name for path in (tmp_path / "out").iterdir() if path.is_dir()} == {"tiger_cat", "Bar chart"}


LABELS = [
    "\u5716" * 90,
    "\u5716" * 89 + "\u8868",
    "..",
    "CON",
    "a/b",
    "100%",
    "a%2Fb",
    ".x",
    "Cases.csv",
    "tabby",
    "\u00e9=x" * 90,
]


def test_an_export_is_read_back_with_its_labels(files: FeedbackFiles, tmp_path: Path) -> None:
    content = sample_images.jpeg(40, 30)
    files.accept([(content + label.encode(), label) for label in LABELS])
    assert run(files, tmp_path / "out") == 0
    found = batch_prediction.labelled_images(tmp_path / "out", Spelling())
    assert sorted(label for _, label in found) == sorted(LABELS)
    (tmp_path / "out" / "cases.csv").unlink()
    with pytest.raises(CasesError, match=r"was cut, and no cases\.csv has its label"):
        batch_prediction.labelled_images(tmp_path / "out", Spelling())
