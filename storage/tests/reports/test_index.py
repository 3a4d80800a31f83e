import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest

from storage.errors import IndexUnfinished
from storage.reports import files as store
from storage.reports import index_tables
from storage.reports.index import FILE_NAME, ReportIndex
from storage.reports.port import Decision
from wire.tables.feedback import DECISIONS_FILE, REPORTS, REPORTS_FILE

IMAGE = "0123456789abcdef0123456789abcdef.jpg"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "feedback"


@pytest.fixture
def index(folder: Path) -> ReportIndex:
    return ReportIndex(folder)


def report(folder: Path, name: str, **cells: str) -> None:
    given = {"report_id": name, "image_path": f"uploads/{IMAGE}", "prediction": "tabby", "score": "0.5", **cells}
    store.append(folder / "feedback", folder / REPORTS_FILE, name, given)


def decide(folder: Path, name: str, kind: str, label: str = "") -> None:
    store.append_decision(folder, Decision(name, kind, label, "ann"))


def statuses(index: ReportIndex) -> dict[str, tuple[str, str]]:
    query = "SELECT report_id, status, final_label FROM reports ORDER BY seq"
    rows = index.read(lambda database: database.execute(query).fetchall())
    return {name: (status, label) for name, status, label in rows}


def test_what_was_reported_is_found_with_all_that_was_said(folder: Path, index: ReportIndex) -> None:
    assert index.find("a") is None
    report(folder, "a", label="=lynx", comment="\"big\", 'cat'", model="net", model_version="7", image_sha256="ab")
    found = index.find("a")
    assert found is not None
    assert (found["filename"], found["prediction"], found["score"]) == (IMAGE, "tabby", 0.5)
    assert (found["label"], found["comment"], found["status"]) == ("=lynx", "\"big\", 'cat'", "open")


def test_the_last_decision_about_a_report_counts(folder: Path, index: ReportIndex) -> None:
    for name in "abcd":
        report(folder, name)
    decide(folder, "a", "accept", "lynx")
    decide(folder, "b", "correct", "puma")
    decide(folder, "nobody", "accept", "lynx")
    assert statuses(index) == {
        "a": ("accepted", "lynx"),
        "b": ("corrected", "puma"),
        "c": ("open", ""),
        "d": ("open", ""),
    }
    decide(folder, "a", "reject")
    decide(folder, "c", "reject")
    decide(folder, "c", "correct", "lynx")
    assert statuses(index) == {
        "a": ("rejected", ""),
        "b": ("corrected", "puma"),
        "c": ("corrected", "lynx"),
        "d": ("open", ""),
    }


def test_a_missing_index_is_made_anew(folder: Path, index: ReportIndex) -> None:
    report(folder, "a")
    decide(folder, "a", "accept", "lynx")
    before = statuses(index)
    index.remove()
    assert statuses(index) == before == {"a": ("accepted", "lynx")}


@pytest.mark.parametrize("damage", [b"", b"no database at all" * 100, None])
def test_a_damaged_index_is_made_anew(folder: Path, index: ReportIndex, damage: bytes | None) -> None:
    report(folder, "a")
    assert statuses(index)
    index.path.with_name(FILE_NAME + "-wal").unlink(missing_ok=True)
    content = index.path.read_bytes()
    index.path.write_bytes(content[: len(content) // 2] + bytes(len(content)) if damage is None else damage)
    assert statuses(index) == {"a": ("open", "")}


@pytest.mark.parametrize("name", [REPORTS_FILE, DECISIONS_FILE])
def test_a_file_that_is_not_the_one_it_was_is_read_again(folder: Path, index: ReportIndex, name: str) -> None:
    for each in "abc":
        report(folder, each)
        decide(folder, each, "accept", each)
    assert len(statuses(index)) == 3
    path = folder / name
    header, _, *rest = path.read_text().splitlines(keepends=True)
    path.write_text(header + "".join(rest))
    expected = {"b": ("accepted", "b"), "c": ("accepted", "c")}
    assert statuses(index) == (expected if name == REPORTS_FILE else {"a": ("open", ""), **expected})


def test_a_row_that_was_taken_back_is_forgotten(folder: Path, index: ReportIndex) -> None:
    report(folder, "a")
    size = (folder / REPORTS_FILE).stat().st_size
    report(folder, "b")
    assert list(statuses(index)) == ["a", "b"]
    os.truncate(folder / REPORTS_FILE, size)
    assert list(statuses(index)) == ["a"]


def test_a_row_that_is_being_written_is_read_once_it_is_whole(folder: Path, index: ReportIndex) -> None:
    report(folder, "a")
    line = REPORTS.line({"report_id": "b", "image_path": IMAGE}).encode() + b"\n"
    with (folder / REPORTS_FILE).open("ab", buffering=0) as file:
        # Never in pieces that leave nothing but the line's end out: such a row is whole.
        for at in range(0, len(line), 10):
            assert list(statuses(index)) == ["a"]
            file.write(line[at : at + 10])
    assert list(statuses(index)) == ["a", "b"]


def test_what_is_no_row_is_left_out(folder: Path, index: ReportIndex) -> None:
    report(folder, "a")
    with (folder / REPORTS_FILE).open("ab") as file:
        file.write(b'nonsense\n\n"unclosed\n\xff\xfe,,,,,,,,,\n,,,,,,,,,\n')
    report(folder, "a", label="doubled")
    report(folder, "b")
    assert {"a", "b"} <= set(statuses(index))
    assert "" not in statuses(index)
    found = index.find("a")
    assert found is not None
    assert found["label"] == ""


def test_readers_that_come_at_once_all_see_everything(folder: Path) -> None:
    for number in range(50):
        report(folder, str(number))

    def look(number: int) -> int:
        report(folder, f"more-{number}")
        return len(statuses(ReportIndex(folder)))

    with ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(look, range(24)))
    assert min(counts) >= 51
    assert len(statuses(ReportIndex(folder))) == 74


FOLLOW = """
import pathlib, sys
from storage.reports.index import ReportIndex
index = ReportIndex(pathlib.Path(sys.argv[1]))
while True:
    index.read(lambda database: print(flush=True))
"""


def test_a_reader_that_is_killed_while_it_reads_leaves_an_index_that_works(folder: Path, index: ReportIndex) -> None:
    report(folder, "0")
    for number in range(6):
        reader = subprocess.Popen([sys.executable, "-c", FOLLOW, str(folder)], stdout=subprocess.PIPE)
        assert reader.stdout is not None
        assert reader.stdout.readline(), "it reads"
        for step in range(30):
            report(folder, f"{number}-{step}")
        reader.kill()
        reader.communicate()
        if number % 2:
            index.remove()
    assert len(statuses(index)) == 1 + 6 * 30


def test_an_index_of_many_reports_is_made_in_steps_each_of_which_says_how_far_it_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(40):
        report(folder, str(number))
        decide(folder, str(number), "accept", "lynx")
    monkeypatch.setattr(index_tables, "ROWS_AT_ONCE", 10)
    index, told = ReportIndex(folder, max_step_s=2.5), list[str]()
    monkeypatch.setattr("time.monotonic", count(1).__next__)  # each look at the clock is a second
    while True:
        try:
            found = statuses(index)
            break
        except IndexUnfinished as stuck:
            told.append(str(stuck))
    assert len(told) > 1
    percents = [int(re.findall(r"(\d+) %", each)[0]) for each in told]
    assert percents == sorted(percents)
    assert found == {str(number): ("accepted", "lynx") for number in range(40)}
    assert statuses(ReportIndex(folder)) == found
