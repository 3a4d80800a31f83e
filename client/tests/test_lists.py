import io
import sys
from pathlib import Path

import pytest

from sightline.lists import paths_in


def test_a_list_names_paths_from_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes("\ufeffa.jpg\r\n\n /b/c d.jpg \nünï.jpg".encode())
    assert paths_in(str(tmp_path / "list.txt")) == [tmp_path / "a.jpg", Path("/b/c d.jpg"), tmp_path / "ünï.jpg"]


def test_a_column_of_a_table_names_paths(tmp_path: Path) -> None:
    (tmp_path / "cases.csv").write_text('label,image\ncat,"a, b.jpg"\ndog,\nowl,sub/c.jpg\nbat\n')
    assert paths_in(str(tmp_path / "cases.csv"), "image") == [tmp_path / "a, b.jpg", tmp_path / "sub" / "c.jpg"]
    with pytest.raises(ValueError, match=r"no column 'path'; it has 'label', 'image'"):
        paths_in(str(tmp_path / "cases.csv"), "path")


def test_an_empty_list_is_said_to_be_so(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("\n \n")
    with pytest.raises(ValueError, match="names no images"):
        paths_in(str(tmp_path / "list.txt"))
    (tmp_path / "list.txt").write_text("")
    with pytest.raises(ValueError, match="has no column 'a'; it has none"):
        paths_in(str(tmp_path / "list.txt"), "a")


def test_standard_input_is_a_list_from_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a.jpg\n/b.jpg\n")))
    assert paths_in("-") == [Path("a.jpg"), Path("/b.jpg")]


def test_a_list_that_is_no_table_or_does_not_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "list.csv").write_text("path\n" + "a" * 200_000)
    with pytest.raises(ValueError, match="cannot be read as CSV"):
        paths_in(str(tmp_path / "list.csv"), "path")
    monkeypatch.setattr("sightline.reading.MAX_FILE_BYTES", 1000)
    with pytest.raises(OSError, match="more than 1000 bytes"):
        paths_in("/dev/zero")
