import csv
import json
from pathlib import Path

import pytest

from sightline.results import COLUMNS, JsonLines, Results, Row


def test_what_has_a_row_is_done(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    with Results(path) as results:
        results.add(Row("a, b.jpg", 'carpenter"s kit', "0.5"))
        results.add(Row("two\nlines.jpg", error="image_broken: it ends early"))
    with Results(path) as results:
        assert results.has("a, b.jpg")
        assert not results.failed("a, b.jpg")
        assert results.has("two\nlines.jpg")
        assert results.failed("two\nlines.jpg")
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
        assert results.has("a.jpg")
        assert not results.has("b.jpg")
    assert path.read_bytes() == whole


@pytest.mark.parametrize("content", ["a" * 200_000, "a\rb\n"])
def test_a_table_that_is_damaged_is_left_as_it_is(tmp_path: Path, content: str) -> None:
    path = tmp_path / "results.csv"
    damaged = f"{','.join(COLUMNS)}\n{content}\n".encode()
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match="no table of results"):
        Results(path)
    assert path.read_bytes() == damaged


def test_a_device_is_written_to_and_not_read() -> None:
    with Results(Path("/dev/zero")) as results:
        results.add(Row("a.jpg"))
        assert results.has("a.jpg")


def test_another_file_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "notes.csv"
    path.write_text("my,own,notes\n")
    with pytest.raises(ValueError, match="no table of results"):
        Results(path)
    assert path.read_text() == "my,own,notes\n"


NAMES = ["two\nlines.jpg", "two\\nlines.jpg", "cr\r.jpg", "ls\u2028.jpg", "nel\x85.jpg", "vt\x0b.jpg", "ff\x0c.jpg"]
NAMES += ["nul\0.jpg", "fs\x1c.jpg", '"quoted",.jpg', " blank ", "\udcff.jpg", "\\", "\\\\", "=1+1.jpg"]


def test_every_name_is_found_again_by_the_next_run(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    for name in NAMES:
        with Results(path) as results:
            assert not results.has(name)
            results.add(Row(name, "tabby", "0.5"))
    with Results(path) as results:
        assert all(map(results.has, NAMES))
    assert path.read_bytes().count(b"\n") == len(NAMES) + 1


def test_a_cell_stays_short_enough_to_be_read_again(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    with Results(path) as results:
        results.add(Row("a.jpg", error="x" * 500_000))
    with Results(path) as results:
        assert results.failed("a.jpg")


def test_as_json_each_image_is_a_line_without_what_is_empty(capfd: pytest.CaptureFixture[str]) -> None:
    with JsonLines() as results:
        results.add(Row("a\n.jpg", "cat", "0.5000", "", "1.x", "m/1"))
        results.add(Row("b\udcff.jpg", error="image_broken: it ends too early"))
        assert results.failed("b\udcff.jpg")
        assert not results.failed("a\n.jpg")
    first, second = map(json.loads, capfd.readouterr().out.splitlines())
    assert first == {
        "file": "a\n.jpg", "prediction": "cat", "score": 0.5, "prediction_id": "1.x", "model_version": "m/1"
    }  # fmt: skip
    assert second == {"file": "b\udcff.jpg", "error": "image_broken: it ends too early"}
