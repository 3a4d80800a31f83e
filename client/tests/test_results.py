import csv
from pathlib import Path

import pytest

from sightline.results import COLUMNS, Results, Row


def test_what_has_a_row_is_done(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    with Results(path) as results:
        results.add(Row("a, b.jpg", 'carpenter"s kit', "0.5"))
        results.add(Row("two\nlines.jpg", error="image_broken: it ends early"))
    with Results(path) as results:
        assert results.done == {"a, b.jpg", "two\\nlines.jpg"}
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == list(COLUMNS)
    assert rows[1][:3] == ["a, b.jpg", 'carpenter"s kit', "0.5"]


def test_half_a_row_is_taken_away(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    with Results(path) as results:
        results.add(Row("a.jpg", "tabby", "0.5"))
    whole = path.read_bytes()
    path.write_bytes(whole + b"b.jpg,tab")
    with Results(path) as results:
        assert results.done == {"a.jpg"}
    assert path.read_bytes() == whole


def test_another_file_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "notes.csv"
    path.write_text("my,own,notes\n")
    with pytest.raises(ValueError, match="no table of results"):
        Results(path)
    assert path.read_text() == "my,own,notes\n"
