import csv
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storage.files import locked
from storage.reports import files as store
from storage.reports import keys
from tests.conftest import Serve
from tests.reports.killed_writer import KEY, OTHER_KEY, KilledWriters
from tests.serving import API, wait_until
from wire.tables.feedback import REPORTS


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "reports" / "feedback", tmp_path / "reports" / "feedback.csv"


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, strict=True))


def row(number: int, comment: str = "") -> dict[str, str]:
    return {"report_id": str(number), "comment": comment}


def test_both_files_are_on_the_disk_before_the_report_counts(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[int, int]] = []

    def sync(file: int, fdatasync: Callable[[int], None] = os.fdatasync) -> None:
        synced.append((os.fstat(file).st_ino, os.fstat(file).st_size))
        fdatasync(file)

    monkeypatch.setattr(os, "fdatasync", sync)
    store.append(*files, "a line", row(1))
    assert synced == [(path.stat().st_ino, path.stat().st_size) for path in files]


def test_a_last_line_that_somebody_left_open_is_ended(files: tuple[Path, Path]) -> None:
    lines, rows = files
    lines.parent.mkdir()
    lines.write_text("written by hand")
    store.append(lines, rows, "the next", None)
    assert lines.read_text() == "written by hand\nthe next\n"


class KilledError(BaseException):
    """The moment at which a writer is killed."""


def cut(
    files: tuple[Path, Path], number: int, monkeypatch: pytest.MonkeyPatch, *, line: int, row_bytes: int = 0
) -> None:
    """Append as a writer does that is killed once it has written so many bytes of its line and of its row."""
    lines, rows = files
    left = [line, row_bytes]
    write = os.write

    def partly(file: int, data: bytes) -> int:
        allowed = left.pop(0)
        write(file, data[:allowed])
        if allowed < len(data):
            raise KilledError
        return len(data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", partly)
        # A dead process takes nothing back and ends no intent.
        patch.setattr(os, "ftruncate", lambda *_: None)
        patch.setattr(os, "pwrite", lambda file, data, at, put=os.pwrite: put(file, data, at) if any(data) else 0)
        with pytest.raises(KilledError):
            store.append(lines, rows, TEXT, row(number, TEXT))


TEXT = 'with "quotes", commas and =SUM(A1) to be cut anywhere'
WHOLE = len(REPORTS.line(row(2, TEXT)))


@pytest.mark.parametrize("kept", range(1, len(TEXT) + 1, 4))
def test_a_line_that_a_killed_writer_did_not_finish_is_taken_back(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    lines, rows = files
    store.append(lines, rows, "the first", None)
    cut(files, 2, monkeypatch, line=kept)
    assert lines.read_text() == "the first\n" + TEXT[:kept]
    store.append(lines, rows, "the next", None)
    assert lines.read_text() == "the first\nthe next\n"


@pytest.mark.parametrize("kept", [*range(1, WHOLE - 8, 4), *range(WHOLE - 8, WHOLE + 1)])
@pytest.mark.parametrize("follower", [None, row(3)], ids=["line", "row"])
def test_a_row_that_a_killed_writer_did_not_finish_is_taken_back(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, kept: int, follower: dict[str, str] | None
) -> None:
    lines, rows = files
    store.append(lines, rows, "1", row(1))
    cut(files, 2, monkeypatch, line=len(TEXT) + 1, row_bytes=kept)
    store.append(lines, rows, "3", follower)
    assert [kept_row["report_id"] for kept_row in rows_of(rows)] == ["1", "3"][: 1 if follower is None else 2]


@pytest.mark.parametrize("lost", range(2, 60, 3))
def test_after_a_power_cut_what_is_left_of_a_row_does_not_swallow_the_next(files: tuple[Path, Path], lost: int) -> None:
    lines, rows = files
    store.append(lines, rows, "1", row(1))
    store.append(lines, rows, "2", row(2, "no quotes in this one, but commas; to be cut anywhere in between"))
    os.truncate(rows, rows.stat().st_size - lost)
    store.append(lines, rows, "3", row(3))
    assert [kept["report_id"] for kept in rows_of(rows)] == ["1", "3"]


def test_a_last_line_whose_end_an_editor_has_removed_is_kept(files: tuple[Path, Path]) -> None:
    lines, rows = files
    store.append(lines, rows, "1", row(1))
    os.truncate(rows, rows.stat().st_size - 1)
    os.truncate(lines, lines.stat().st_size - 1)
    store.append(lines, rows, "2", row(2))
    assert [kept["report_id"] for kept in rows_of(rows)] == ["1", "2"]
    assert lines.read_text() == "1\n2\n"


@pytest.mark.parametrize("kept", [0, 1, 40, len(REPORTS.header_line) - 1, len(REPORTS.header_line)])
def test_a_header_cut_short_is_made_anew(files: tuple[Path, Path], kept: int) -> None:
    lines, rows = files
    store.append(lines, rows, "1", row(1))
    os.truncate(rows, kept)
    store.append(lines, rows, "2", row(2))
    assert [kept["report_id"] for kept in rows_of(rows)] == ["2"]


def test_a_full_disk_leaves_both_files_as_they_were_and_they_work_again(files: tuple[Path, Path]) -> None:
    lines, rows = files
    store.append(lines, rows, "1", row(1))
    pid = os.fork()
    if pid == 0:
        # The size limit simulates the full disk; it would bind the whole test run, so a child process sets it.
        resource.setrlimit(resource.RLIMIT_FSIZE, (lines.stat().st_size + 300, lines.stat().st_size + 300))
        try:
            # The line fits and the row does not.
            store.append(lines, rows, "2", row(2, "x" * 1000))
        except OSError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert lines.read_text() == "1\n"
    store.append(lines, rows, "3", row(3))
    assert lines.read_text() == "1\n3\n"
    assert [kept["report_id"] for kept in rows_of(rows)] == ["1", "3"]


WRITER = """
import sys
from storage.reports import files as store
lines, rows, name, ledger = map(__import__("pathlib").Path, sys.argv[1:])
with ledger.open("a", buffering=1) as done:
    for number in range(int(1e9)):
        comment = f"{name}-{number} " + "payload " * (number % 7 * 300)
        row = {"report_id": f"{name}-{number}", "comment": comment}
        store.append(lines, rows, comment, row)
        print(f"{name}-{number}", file=done)
"""


def test_sixteen_writers_killed_at_any_moment_lose_tear_and_double_nothing(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    lines, rows = files
    ledgers = [tmp_path / f"w{number}.ledger" for number in range(16)]
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(lines), str(rows), ledger.stem, str(ledger)], cwd=API)
        for ledger in ledgers
    ]
    try:
        wait_for_more(ledgers)
        for victim, ledger in zip(writers[:-2], ledgers, strict=False):
            wait_for_more([ledger])
            victim.send_signal(signal.SIGKILL)
        wait_for_more(ledgers[-2:])
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
    store.append(lines, rows, "the last", row(0))
    acknowledged = {line for ledger in ledgers for line in ledger.read_text().splitlines()}
    check_lines(lines.read_text().splitlines()[:-1], acknowledged)
    check_rows(rows_of(rows)[:-1], acknowledged)


def wait_for_more(ledgers: list[Path]) -> None:
    """Come back once each of these writers has one more report acknowledged."""
    before = [size_of(ledger) for ledger in ledgers]
    wait_until(
        lambda: all(size_of(ledger) > size for ledger, size in zip(ledgers, before, strict=True)), "more reports"
    )


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def check_lines(lines: list[str], acknowledged: set[str]) -> None:
    names = [line.split(" ")[0] for line in lines]
    assert acknowledged <= set(names), "an acknowledged line is lost"
    assert len(names) == len(set(names)), "a line is doubled"
    assert [line for line in lines if line != expected_comment(line.split(" ")[0])] == [], "a line is torn"


def check_rows(kept: list[dict[str, str]], acknowledged: set[str]) -> None:
    names = [cells["report_id"] for cells in kept]
    assert acknowledged <= set(names), "an acknowledged row is lost"
    assert len(names) == len(set(names)), "a row is doubled"
    assert [cells for cells in kept if cells["comment"] != expected_comment(cells["report_id"])] == [], "a row is torn"


def expected_comment(name: str) -> str:
    return f"{name} " + "payload " * (int(name.split("-")[1]) % 7 * 300)


def test_a_writer_waits_for_the_one_before(files: tuple[Path, Path]) -> None:
    lines, rows = files
    store.append(lines, rows, "1", None)
    with locked(lines.with_name(store.LOCK_NAME)):
        waiting = threading.Thread(target=store.append, args=(lines, rows, "2", None))
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
        assert lines.read_text() == "1\n"
    waiting.join()
    assert lines.read_text() == "1\n2\n"


def kept_in(files: tuple[Path, Path]) -> tuple[list[str], list[str]]:
    """What each file holds: the first word of each line, and of each row's comment."""
    lines, rows = files
    kept = lines.read_text().splitlines() if lines.exists() else []
    comments = [cells["comment"] for cells in rows_of(rows)] if rows.exists() else []
    return [text.split()[0] for text in kept], [text.split()[0] for text in comments]


@pytest.fixture(scope="module")
def writers() -> Iterator[KilledWriters]:
    with KilledWriters() as running:
        yield running


@pytest.mark.parametrize("is_first", [True, False], ids=["first", "later"])
@pytest.mark.parametrize("moment", ["before", "half", "after"])
def test_reports_are_in_both_files_or_in_none_whenever_their_writer_is_killed(
    writers: KilledWriters, tmp_path: Path, moment: str, is_first: bool
) -> None:
    outcomes: list[tuple[bool, bool]] = []
    before = [] if is_first else ["first"]
    for at in range(1, 200):
        folder = tmp_path / str(at)
        files = folder / "feedback", folder / "feedback.csv"
        for name in before:
            store.append(*files, name, row(1, name))
        if not writers.kill(files, moment, at):
            break
        store.heal(*files)
        is_kept = "second" in kept_in(files)[0]
        expected = [*before, "second", "with"] if is_kept else before
        assert kept_in(files) == (expected, expected), f"killed at step {at}"
        are_keys_kept = [keys.find_key(folder, each.report_id) is not None for each in (KEY, OTHER_KEY)]
        assert is_kept or not any(are_keys_kept)
        outcomes.append((is_kept, all(are_keys_kept)))
        store.append(*files, "third", row(3, "third"))
        assert kept_in(files) == ([*expected, "third"],) * 2
    assert len(outcomes) > 15
    assert {(False, False), (True, True)} <= set(outcomes)


def test_a_process_that_starts_takes_back_what_a_killed_one_has_written(
    writers: KilledWriters, serve: Serve, tmp_path: Path
) -> None:
    folder = tmp_path / "feedback"
    files = folder / "feedback", folder / "feedback.csv"
    store.append(*files, "first", row(1, "first"))
    at = next(at for at in range(1, 200) if writers.kill(files, "half", at) and kept_in(files)[0] != ["first"])
    assert kept_in(files) != (["first"], ["first"]), f"killed at step {at}"
    with serve():
        wait_until(lambda: kept_in(files) == (["first"], ["first"]), "the files agree")


def test_what_a_person_has_written_since_is_not_taken_back(writers: KilledWriters, files: tuple[Path, Path]) -> None:
    store.append(*files, "first", row(1, "first"))
    at = next(at for at in range(1, 200) if writers.kill(files, "after", at) and len(kept_in(files)[0]) == 3)
    assert len(kept_in(files)[1]) == 1, f"killed at step {at}"
    for path in files:
        with path.open("a") as file:
            file.write('"by hand"\n' * 100)
    store.heal(*files)
    store.append(*files, "third", row(3, "third"))
    assert [path.read_text().count("by hand") for path in files] == [100, 100]


def test_a_report_that_was_taken_back_is_not_taken_back_again(writers: KilledWriters, files: tuple[Path, Path]) -> None:
    store.append(*files, "first", row(1, "first"))
    next(at for at in range(1, 200) if writers.kill(files, "half", at) and kept_in(files)[0] != ["first"])
    store.heal(*files)
    with files[0].open("a") as file:
        file.write("x\n")
    store.heal(*files)
    assert files[0].read_text() == "first\nx\n"
