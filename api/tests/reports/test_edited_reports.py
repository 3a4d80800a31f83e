"""The CSV files after people have saved them with spreadsheets, edited them by hand, or had them rotated away."""

import csv
import io
import logging
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from html import unescape
from pathlib import Path
from typing import Literal

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

import settings
from reports.record import report_store
from tests.serving import API

KEY = "the operator's key"
HEADERS = {"X-API-Key": KEY}
COLUMNS = (
    *("report_id", "reported_at", "image_path", "image_sha256", "prediction"),
    *("score", "model", "model_version", "label", "comment"),
)
REPORT = "{'filename': 'a.jpg', 'prediction': 'tabby', 'score': 0.73}"
# Each has what makes a cell hard: a formula, a quote, all delimiters, letters beyond ASCII.
COMMENTS = ("=SUM(A1)", 'it "says"; so, too', "größer\tund älter", "plain", "'quoted'")
Edit = Callable[[Path], None]


@pytest.fixture(autouse=True)
def _operator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "OPERATOR_KEY", KEY)


def report(client: FlaskClient, comment: str, **more: str) -> None:
    data = {"report": REPORT, "label": "lynx", "comment": comment, "model": "net", "model_version": "7", **more}
    assert client.post("/feedback", data=data).status_code == 200


def report_json(client: FlaskClient, said: str, key: str, comment: str = "") -> TestResponse:
    return client.post("/feedback", json={"prediction_id": said, "comment": comment}, headers={"Idempotency-Key": key})


@pytest.fixture
def said(client: FlaskClient, asked: list[str], image: bytes) -> str:
    return client.post("/predict", data=image, content_type="image/jpeg").headers["X-Prediction-Id"]


def shown(client: FlaskClient) -> list[str]:
    """The comments of the reports, oldest first; the page of the inbox shows those of its images."""
    answer = client.get("/review?status=all", headers=HEADERS)
    assert answer.status_code == 200, answer.text
    found = re.findall(r'class="case-comment"[^>]*>(.*?)</blockquote>', answer.text, re.DOTALL)
    kept = [row["comment"] for row in report_store().reports(0)]
    assert {unescape(text) for text in found} <= set(kept)
    assert found or not any(kept)
    return [comment for comment in kept if comment]


def faults(client: FlaskClient) -> list[str]:
    text = client.get("/review", headers=HEADERS).text.partition('id="faults"')[2].partition("</ul>")[0]
    return [" ".join(piece.split("</li>")[0].split()) for piece in text.split("<li>")[1:]]


def saved(
    delimiter: str,
    encoding: str,
    *,
    end: str = "\r\n",
    columns: Sequence[str] = COLUMNS,
    quotes_all: bool = False,
    empty_rows: int = 0,
    last_end: bool = True,
) -> Edit:
    """Save the file as a spreadsheet does; a column that is not ours is filled."""

    def edit(path: Path) -> None:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, strict=True))
        text = io.StringIO()
        quoting: Literal[0, 1] = csv.QUOTE_ALL if quotes_all else csv.QUOTE_MINIMAL
        writer = csv.DictWriter(
            text, columns, "a note", "ignore", delimiter=delimiter, lineterminator=end, quoting=quoting
        )
        writer.writeheader()
        writer.writerows(
            [{**row, "score": row["score"].replace(".", ",")} if delimiter == ";" else row for row in rows]
        )
        text.write((delimiter * (len(columns) - 1) + end) * empty_rows)
        path.write_bytes((text.getvalue() if last_end else text.getvalue().removesuffix(end)).encode(encoding))

    return edit


def without_last_delimiters(path: Path) -> None:
    """Excel leaves the delimiters after a row's last cell out, from the sixteenth row on."""
    saved(",", "utf-8")(path)
    path.write_bytes(b"".join(line.rstrip(b",\r\n") + b"\r\n" for line in path.read_bytes().splitlines()))


def with_a_title(path: Path) -> None:
    saved(";", "utf-8")(path)
    path.write_bytes(b"sep=;\r\n" + path.read_bytes())


def without_a_header(path: Path) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[1:]))


def with_a_line_break_in_a_cell(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"lynx"', '"lynx\n"', 1), encoding="utf-8")


def with_names_in_capitals(path: Path) -> None:
    content = path.read_bytes()
    at = content.index(b"\n")
    path.write_bytes(content[:at].upper().replace(b"_", b" ") + content[at:])


EDITS: dict[str, Edit] = {
    "Excel, CSV UTF-8": saved(",", "utf-8-sig"),
    "Excel, CSV UTF-8 where the comma is decimal": saved(";", "utf-8-sig"),
    "Excel, CSV of Windows": saved(";", "cp1252"),
    "Excel, Unicode text": saved("\t", "utf-16"),
    "Excel, big-endian Unicode text": saved("\t", "utf-16-be"),
    "Excel, CSV of the old Macintosh": saved(",", "utf-8", end="\r"),
    "Excel, empty rows": saved(",", "utf-8-sig", empty_rows=30),
    "Excel, last delimiters left out": without_last_delimiters,
    "LibreOffice, every cell quoted": saved(";", "utf-8", end="\n", quotes_all=True),
    "LibreOffice, tabs": saved("\t", "utf-8", end="\n"),
    "Numbers": saved(";", "utf-8"),
    "Google Sheets": saved(",", "utf-8", last_end=False),
    "a column more in front": saved(",", "utf-8", columns=("note", *COLUMNS)),
    "a column more at the end": saved(";", "utf-8-sig", columns=(*COLUMNS, "note")),
    "columns in another order": saved(",", "utf-8", columns=COLUMNS[::-1]),
    "a column less": saved(",", "utf-8", columns=[name for name in COLUMNS if name != "image_sha256"]),
    "the delimiter named": with_a_title,
    "no header": without_a_header,
    "names in capitals": with_names_in_capitals,
    "a line break in a cell": with_a_line_break_in_a_cell,
}


@pytest.mark.parametrize("name", EDITS)
def test_what_a_spreadsheet_has_saved_is_read_and_written_on(client: FlaskClient, csv_path: Path, name: str) -> None:
    for comment in COMMENTS:
        report(client, comment)
    before = shown(client)
    EDITS[name](csv_path)
    assert shown(client) == before
    report(client, "after the edit, größer")
    report(client, "'=again")
    assert shown(client) == [*before, "after the edit, größer", "'=again"]
    # Saved again, with the appended rows.
    size = csv_path.stat().st_size
    assert size
    assert faults(client) == []


@pytest.mark.parametrize("name", [name for name in EDITS if name != "no header"])
def test_a_key_counts_once_whatever_a_spreadsheet_has_made_of_the_file(
    client: FlaskClient, csv_path: Path, said: str, name: str
) -> None:
    answers = [report_json(client, said, "one", "größer")]
    EDITS[name](csv_path)
    answers += [report_json(client, said, "one", "größer") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201] * 3
    assert shown(client) == ["größer"]


@pytest.mark.parametrize("name", ["Excel, Unicode text", "Numbers", "a column more in front"])
def test_a_key_outlives_the_file_of_keys(client: FlaskClient, csv_path: Path, said: str, name: str) -> None:
    report_json(client, said, "one")
    EDITS[name](csv_path)
    csv_path.with_name(".report_keys").unlink()
    assert report_json(client, said, "one").status_code == 201
    assert csv_path.read_bytes().count(b"\n") == 2


def test_a_form_s_report_counts_once_under_its_key(client: FlaskClient, csv_path: Path) -> None:
    for text in (REPORT, "free text"):
        for _ in range(2):
            answer = client.post("/feedback", data={"report": text}, headers={"Idempotency-Key": f"key-{text[:4]}"})
            assert answer.status_code == 200
    assert csv_path.with_name("feedback").read_text() == f"{REPORT}\nfree text\n"
    assert len(csv_path.read_text().splitlines()) == 2
    other = client.post("/feedback", data={"report": "another"}, headers={"Idempotency-Key": "key-free"})
    assert other.status_code == 422


LINE = "r-1,2026,uploads/x.jpg,,tabby,0.5,net,7,lynx,"
UNREAD = {
    "too many cells": (LINE + "a,b,c", "has 12 cells, the header names 10"),
    "a quote": ('r-1,"2026,x.jpg', "has a quote that does not end"),
    "too few cells": ('"r-1","2026"', "has 2 cells, the header names 10"),
    "an id that became a number": (
        "1.2E+35" + LINE.removeprefix("r-1"),
        "has report_id='1.2E+35': a spreadsheet has made a number of it",
    ),
    "no id": (LINE.removeprefix("r-1"), "has no report_id"),
    "a digest that became a number": (
        LINE.replace("x.jpg,", "x.jpg,6,12E+63", 1).replace("6,12", '"6,12').replace("+63", '+63"'),
        "has image_sha256='6,12E+63': a spreadsheet has made a number of it",
    ),
}


@pytest.mark.parametrize("name", UNREAD)
def test_a_line_that_cannot_be_read_is_named_and_hides_no_other(
    client: FlaskClient, csv_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    line, reason = UNREAD[name]
    report(client, "before")
    with csv_path.open("a", encoding="utf-8") as file:
        file.write(f"\n{line}\n")
    report(client, "after")
    with caplog.at_level(logging.WARNING):
        assert shown(client) == ["before", "after"]
    assert [fault.replace("&#39;", "'") for fault in faults(client)] == [f"feedback.csv, line 4 {reason}"]
    assert f"feedback.csv, line 4 {reason}" in caplog.text


def test_a_file_that_is_something_else_is_named_and_reports_go_on(client: FlaskClient, csv_path: Path) -> None:
    report(client, "before")
    csv_path.write_bytes(b"PK\x03\x04" + random.Random(1).randbytes(20_000))  # noqa: S311  the same every time
    report(client, "after")
    assert shown(client) == ["after"]
    assert faults(client)[0].startswith("feedback.csv, line 1 has no column report_id, image_path")


def test_decisions_that_a_spreadsheet_has_saved_are_read_and_written_on(client: FlaskClient, csv_path: Path) -> None:
    for comment in ("a", "b"):
        report(client, comment)
    with csv_path.open(newline="") as file:
        ids = [row["report_id"] for row in csv.DictReader(file)]
    decide(client, ids[0], "correct")
    path = csv_path.with_name("decisions.csv")
    path.write_bytes(path.read_text().replace(",", ";").replace("\n", "\r\n").encode("utf-8-sig"))
    decide(client, ids[1], "correct")
    path.write_bytes(path.read_bytes() + b"now;x;acept;puma;Ann\r\n")
    decide(client, ids[0], "reject")
    assert sorted(row["status"] for row in report_store().reports(0)) == ["corrected", "rejected"]
    assert 'data-status="corrected"' in client.get("/review?status=all", headers=HEADERS).text
    assert [fault.replace("&#39;", "'") for fault in faults(client)] == [
        "decisions.csv, line 4 has decision='acept', which is none of accept, correct, reject, reopen"
    ]


def decide(client: FlaskClient, report_id: str, decision: str) -> None:
    body = {"report_id": report_id, "decision": decision, "label": "puma"}
    assert client.post("/review/decisions", json=body, headers=HEADERS).status_code == 201


def test_an_edit_that_keeps_the_length_is_seen(client: FlaskClient, csv_path: Path) -> None:
    report(client, "first")
    report(client, "x" * 1900)
    for _ in range(4):
        report(client, "y" * 1900)
    assert shown(client)[0] == "first"
    content = csv_path.read_bytes().replace(b"first", b"FIRST")
    csv_path.write_bytes(content)
    assert shown(client)[0] == "FIRST"


def copy_and_truncate(path: Path, number: int) -> None:
    shutil.copy(path, path.with_name(f"feedback.csv.{number}"))
    os.truncate(path, 0)


def rename(path: Path, number: int) -> None:
    path.rename(path.with_name(f"feedback.csv.{number}"))


@pytest.mark.parametrize("rotate", [copy_and_truncate, rename])
def test_a_key_counts_once_when_the_file_was_rotated_away(
    client: FlaskClient, csv_path: Path, said: str, rotate: Callable[[Path, int], None]
) -> None:
    for number in range(4):
        for _ in range(2):
            assert report_json(client, said, f"{number}", f"report {number}").status_code == 201
        rotate(csv_path, number)
        for earlier in range(number + 1):
            assert report_json(client, said, f"{earlier}", f"report {earlier}").status_code == 201
        report(client, "in the new file")
    texts = [path.read_text() for path in csv_path.parent.glob("feedback.csv*")]
    rows = [row for text in texts for row in csv.DictReader(io.StringIO(text), strict=True)]
    comments = [row["comment"] for row in rows if row["comment"] != "in the new file"]
    assert sorted(comments) == [f"report {number}" for number in range(4)]
    assert report_json(client, said, "0", "another").status_code == 422


def test_a_row_that_comes_first_after_rotation_has_its_header(
    client: FlaskClient, csv_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report(client, "before")
    write = os.write

    def emptied_just_before(file: int, data: bytes) -> int:
        if os.fstat(file).st_ino == csv_path.stat().st_ino and os.fstat(file).st_size:
            os.truncate(csv_path, 0)
        return write(file, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", emptied_just_before)
        report(client, "after")
    assert csv_path.read_text().startswith("report_id,reported_at")
    assert shown(client) == ["after"]


def test_a_last_line_without_its_end_is_shown_and_kept(client: FlaskClient, csv_path: Path) -> None:
    report(client, "a")
    saved(";", "utf-8", end="\n", columns=("note", *COLUMNS), last_end=False)(csv_path)
    assert shown(client) == ["a"]
    report(client, "b")
    assert shown(client) == ["a", "b"]
    assert faults(client) == []


def test_the_index_of_an_earlier_version_is_made_anew(client: FlaskClient, csv_path: Path) -> None:
    report(client, "a")
    with sqlite3.connect(csv_path.with_name("reports.sqlite3")) as database:
        database.executescript(
            "CREATE TABLE reports (seq INTEGER PRIMARY KEY, report_id TEXT);"
            "CREATE TABLE sources (name TEXT PRIMARY KEY, offset INTEGER, tail BLOB); PRAGMA user_version = 1;"
        )
    database.close()
    assert shown(client) == ["a"]


def test_a_row_of_any_version_is_shown_and_exported(client: FlaskClient, csv_path: Path) -> None:
    """Until version 1 a form's comment had no limit of its own: 256 KiB, in which each quote was doubled."""
    report(client, "before")
    long = (("x" * 140_000), ('"' * 260_000), ("'=" * 100_000), ("\0" * 1000))
    with csv_path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
        for number, comment in enumerate(long):
            writer.writerow([f"r-{number}", "2026", "uploads/a.jpg", "", "tabby", "0.5", "net", "7", "lynx", comment])
    report(client, "after")
    found = shown(client)
    assert (found[0], found[-1], len(found)) == ("before", "after", len(long) + 2)
    assert faults(client) == []
    for number in range(len(long)):
        decide(client, f"r-{number}", "correct")
    for kind in ("csv", "jsonl", "zip"):
        assert client.get(f"/review/cases.{kind}", headers=HEADERS).status_code == 200
    assert b"r-3" in client.get("/review/cases.csv", headers=HEADERS).data


def test_the_models_to_choose_from_are_bounded(client: FlaskClient, csv_path: Path) -> None:
    report(client, "before")
    with csv_path.open("a", encoding="utf-8") as file:
        for number in range(500):
            file.write(f"r-{number},2026,uploads/a.jpg,,tabby,0.5,model {number},1,lynx,\n")
    assert client.get("/review", headers=HEADERS).text.count("<option>model ") == 100


WRITER = """
import pathlib, sys
import settings
from reports import submission
from reports.submission import Submission
from storage.images.folder import image_folder
from reports.schema import Report
folder, name, count = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
settings.FEEDBACK_FILEPATH = str(folder / "feedback")
for number in range(count):
    for key in (number, number, max(0, number - 7)):
        details = {"comment": f"{name}-{key}"}
        report = Report("a.jpg", "tabby", 0.5)
        submission.save(Submission(report.text(), report, details, f"{name}-{key}"), image_folder(folder))
"""


@pytest.mark.parametrize("rotate", [copy_and_truncate, rename])
def test_rotation_while_many_write_doubles_nothing(tmp_path: Path, rotate: Callable[[Path, int], None]) -> None:
    writers, reports = (8, 150) if os.environ.get("FULL") else (3, 40)
    names = [f"writer-{number}" for number in range(writers)]
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    running = [subprocess.Popen([*command, name, str(reports)], cwd=API) for name in names]
    rotations = 0
    while any(process.poll() is None for process in running):
        if (tmp_path / "feedback.csv").exists():
            rotate(tmp_path / "feedback.csv", rotations)
            rotations += 1
        time.sleep(0.02)
    assert [process.returncode for process in running] == [0] * writers
    assert rotations > 2
    # A copy may end in half a row, and may be made before its header is written.
    texts = [path.read_text().rpartition("\n")[0] for path in tmp_path.glob("feedback.csv*")]
    rows = [row for text in texts for row in csv.reader(io.StringIO(text))]
    kept = [row[-1] for row in rows if len(row) == len(COLUMNS) and row[0] != COLUMNS[0]]
    assert len(kept) == len(set(kept)), "a report is there twice"
    # What comes between the copy and the truncation of a file is lost: it takes the lock to avoid that.
    expected = {f"{name}-{number}" for name in names for number in range(reports)}
    assert set(kept) == expected if rotate is rename else set(kept) <= expected


def test_the_form_of_a_page_that_is_sent_again_counts_once_and_with_another_label_again(
    client: FlaskClient, asked: list[str], image: bytes, csv_path: Path
) -> None:
    page = client.post("/", data={"file": (io.BytesIO(image), "a.jpg")}).text
    report = unescape(re.findall(r'name="report" id="report" value="([^"]+)"', page)[0])
    [key] = re.findall(r'name="idempotency_key" value="([0-9a-f]{32})"', page)
    form = {"report": report, "idempotency_key": key, "label": "lynx"}
    for label in ("lynx", "lynx", "ocelot", "lynx"):
        assert client.post("/feedback", data={**form, "label": label}).status_code == 200
    assert [row["label"] for row in csv.DictReader(io.StringIO(csv_path.read_text()))] == ["lynx", "ocelot"]
    answer = client.post("/feedback", data={**form, "idempotency_key": "x"})
    assert (answer.status_code, answer.headers["X-Error-Code"]) == (400, "invalid_parameter")
