from pathlib import Path

import pytest

from evaluation import batch_prediction
from inference.errors import CasesError
from wire.tables.labels import Spelling


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "n01440764_7.jpg").write_bytes(b"")
    return tmp_path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_list_of_classes_is_read_as_a_spreadsheet_saves_it(folder: Path, encoding: str, delimiter: str) -> None:
    lines = ("index,wnid,label", "0,n01440764,Schleie (größer)", "1,n01443537,goldfish")
    text = "\r\n".join(line.replace(",", delimiter) for line in lines)
    (folder / batch_prediction.CLASSES_FILE).write_bytes(text.encode(encoding))
    assert [label for _, label in batch_prediction.labelled_images(folder, Spelling())] == ["Schleie (größer)"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [("id,name,no\n0,tench,1\n", "line 1 has no column wnid, label"), ("wnid,label\nn1,a,b\n", "line 2 has 3 cells")],
)
def test_a_list_that_is_none_is_refused_with_its_line(folder: Path, text: str, reason: str) -> None:
    (folder / batch_prediction.CLASSES_FILE).write_text(text)
    with pytest.raises(CasesError, match=reason):
        list(batch_prediction.labelled_images(folder, Spelling()))


def test_folders_are_named_as_people_write_labels(tmp_path: Path) -> None:
    for number, name in enumerate(("Tiger  cat", "tiger_cat", "TABBY", "tiger%20cat")):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{number}.jpg").write_bytes(b"")
    found = batch_prediction.labelled_images(tmp_path, Spelling(["tabby", "tiger_cat"]))
    assert {path.name: label for path, label in found} == {
        "0.jpg": "tiger_cat",
        "1.jpg": "tiger_cat",
        "2.jpg": "tabby",
        "3.jpg": "tiger%20cat",  # no export has this name
    }
