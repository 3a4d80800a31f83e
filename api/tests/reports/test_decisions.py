import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from storage.reports import files as store
from storage.reports.port import Decision
from tests.serving import API, wait_until
from wire.tables.feedback import DECISIONS, DECISIONS_FILE

DECISION = Decision("1f-2", "correct", 'a "bar", chart', "Ann")
LINE = DECISIONS.line({"time": "now", "report_id": "1f-2", "decision": "correct", "label": DECISION.label})


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / DECISIONS_FILE).open(newline="") as file:
        return list(csv.DictReader(file, strict=True))


def test_a_decision_is_a_row_with_its_time(tmp_path: Path) -> None:
    store.append_decision(tmp_path / "feedback", DECISION)
    [row] = rows_of(tmp_path / "feedback")
    assert (row["report_id"], row["decision"], row["label"], row["reviewer"]) == tuple(DECISION)
    assert row["time"].endswith("+00:00")


@pytest.mark.parametrize("kept", range(1, len(LINE) - 1, 5))
def test_half_a_decision_is_taken_back_by_the_next(tmp_path: Path, kept: int) -> None:
    store.append_decision(tmp_path, DECISION)
    with (tmp_path / DECISIONS_FILE).open("a") as file:
        file.write(LINE[:kept])
    store.append_decision(tmp_path, DECISION)
    assert [row["label"] for row in rows_of(tmp_path)] == [DECISION.label] * 2


def test_earlier_decisions_are_never_rewritten(tmp_path: Path) -> None:
    store.append_decision(tmp_path, DECISION)
    before = (tmp_path / DECISIONS_FILE).read_bytes()
    store.append_decision(tmp_path, DECISION._replace(kind="reject", label=""))
    assert (tmp_path / DECISIONS_FILE).read_bytes().startswith(before)


def test_a_decision_is_on_the_disk_before_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", lambda file: synced.append(os.fstat(file).st_size))
    store.append_decision(tmp_path, DECISION)
    assert synced == [(tmp_path / DECISIONS_FILE).stat().st_size]


WRITER = """
import pathlib, sys
from storage.reports import files, port
folder, name, ledger = pathlib.Path(sys.argv[1]), sys.argv[2], open(sys.argv[3], "a", buffering=1)
for number in range(int(1e9)):
    files.append_decision(folder, port.Decision(f"{name}-{number}", "correct", "x" * (number % 7 * 300), name))
    print(f"{name}-{number}", file=ledger)
"""


def test_reviewers_whose_processes_are_killed_lose_tear_and_double_nothing(tmp_path: Path) -> None:
    ledgers = [tmp_path / f"w{number}" for number in range(6)]
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), ledger.name, str(ledger)], cwd=API)
        for ledger in ledgers
    ]
    for writer, ledger in zip(writers, ledgers, strict=True):
        wait_until(lambda ledger=ledger: ledger.exists() and ledger.stat().st_size > 200, "decisions are kept")  # type: ignore[misc]
        writer.kill()
        writer.wait()
    store.append_decision(tmp_path, DECISION)
    kept = rows_of(tmp_path)[:-1]
    names = [row["report_id"] for row in kept]
    assert {line for ledger in ledgers for line in ledger.read_text().splitlines()} <= set(names)
    assert len(names) == len(set(names))
    assert all(row["label"] == "x" * (int(row["report_id"].split("-")[1]) % 7 * 300) for row in kept)
