"""Markup, formulas and forged lines through every field that is shown or stored again."""

import csv
import json
from pathlib import Path
from urllib.parse import quote

import pytest

from sightline_testing.client import Client
from sightline_testing.hostile.asking import form_of
from sightline_testing.hostile.payloads import FORGERIES, FORMULA_STARTS, FORMULAS, LINE_BREAKS, MARKUP, Page
from sightline_testing.sample_images import jpeg

ALL = (*MARKUP, *FORMULAS, *LINE_BREAKS, *FORGERIES)
NAME = "0123456789abcdef0123456789abcdef.jpg"
COLUMNS = 10


def encodable(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def check_is_dead(text: str, content_type: str) -> None:
    """Check that a page holds no active part of a payload, and that another response is no page."""
    if content_type.startswith("text/html"):
        assert Page(text).alive == []
    else:
        assert content_type.startswith(("application/json", "application/problem+json"))


def test_the_reader_of_pages_knows_what_is_alive() -> None:
    """Without this, the tests below would pass for any response."""
    contexts = ("<p>{}</p>", '<p title="{}">', "<p title='{}'>", "<p title={}>")
    for payload in MARKUP[:10]:
        assert any(Page(context.format(payload)).alive for context in contexts), payload
    assert Page('<a href="/display/a.jpg">cat</a><script src="/assets/a.js"></script>').alive == []


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_what_stands_in_an_address_or_a_header_is_shown_as_text(client: Client, accept: str) -> None:
    for payload in filter(encodable, MARKUP):
        quoted = quote(payload)
        for path in (
            f"/{quoted}",
            f"/display/{quoted}.png",
            f"/assets/{quoted}",
            f"/?x={quoted}",
            f"/feedback?report={quoted}",
        ):
            answer = client.get(path, {"Accept": accept})
            check_is_dead(answer.text, answer.headers["Content-Type"])
        answer = client.send("POST", f"/predict?top_k={quoted}", b"", {"Accept": accept, "Content-Type": "image/jpeg"})
        assert answer.status == 400
        check_is_dead(answer.text, answer.headers["Content-Type"])


@pytest.mark.parametrize(
    "header", ["X-Request-Id", "X-Request-Timeout-Ms", "traceparent", "Origin", "Referer", "User-Agent"]
)
def test_what_stands_in_a_header_is_not_said_again(client: Client, header: str) -> None:
    for payload in MARKUP:
        if payload.isascii() and payload.isprintable():
            answer = client.get("/nowhere", {header: payload, "Accept": "text/html"})
            check_is_dead(answer.text, answer.headers["Content-Type"])
            assert payload not in str(answer.headers)


def test_a_files_name_is_nowhere_to_be_seen(client: Client) -> None:
    for payload in filter(encodable, MARKUP):
        name = payload.replace('"', "%22").replace("\n", "") + ".jpg"
        body, kind = form_of(jpeg(64, 48), name)
        for path in ("/", "/predict?top_k=1"):
            answer = client.send("POST", path, body, {"Content-Type": kind})
            check_is_dead(answer.text, answer.headers["Content-Type"])
            assert payload not in answer.text


def test_what_a_report_says_is_shown_as_text_and_kept_as_one_line(client: Client, state_dir: Path) -> None:
    lines = state_dir / "feedback" / "feedback"
    before, payloads = count(lines), list(filter(encodable, ALL))
    for payload in payloads:
        fields = {"report": payload, **fields_of(payload)}
        answer = client.post_form("/feedback", fields)
        assert answer.status == 200
        check_is_dead(answer.text, answer.headers["Content-Type"])
    assert count(lines) - before == len(payloads)


def test_every_report_is_one_line_and_one_row_and_no_formula(client: Client, state_dir: Path) -> None:
    lines_file, rows_file = state_dir / "feedback" / "feedback", state_dir / "feedback" / "feedback.csv"
    lines_before, rows_before = count(lines_file), rows_of(rows_file)
    payloads = list(filter(encodable, ALL))
    for payload in payloads:
        report = f"{{'filename': '{NAME}', 'prediction': {payload!r}, 'score': 0.5}}"
        fields = {"report": report, **fields_of(payload)}
        assert client.post_form("/feedback", fields).status == 200
    assert count(lines_file) - lines_before == len(payloads)
    rows = rows_of(rows_file)[len(rows_before) :]
    assert len(rows) == len(payloads) + (0 if rows_before else 1)
    assert {len(row) for row in rows} == {COLUMNS}
    assert [cell for row in rows for cell in row if cell.startswith(FORMULA_STARTS)] == []


def test_a_report_of_another_shape_is_no_row(client: Client, state_dir: Path) -> None:
    rows = rows_of(state_dir / "feedback" / "feedback.csv")
    shapes = (
        json.dumps({"filename": NAME, "prediction": "cat", "score": "high"}),
        "{'filename': '../../secret_key', 'prediction': 'cat', 'score': 0.5}",
        "{'filename': '/etc/passwd', 'prediction': 'cat', 'score': 0.5}",
        f"{{'filename': '{NAME}', 'prediction': 'cat', 'score': 1e999}}",
        f"{{'filename': '{NAME}', 'prediction': __import__('os').system('id'), 'score': 0.5}}",
        "[" * 3000 + "]" * 3000,
        "9" * 4000,
        "-" * 4000 + "1",
    )
    for shape in shapes:
        assert client.post_form("/feedback", {"report": shape}).status == 200
    assert rows_of(state_dir / "feedback" / "feedback.csv") == rows


def fields_of(payload: str) -> dict[str, str]:
    """The further fields of a report's form, cut to their limits."""
    return {"comment": payload[:2000], **dict.fromkeys(("label", "model", "model_version"), payload[:200])}


def count(file: Path) -> int:
    return len(file.read_bytes().decode().splitlines()) if file.exists() else 0


def rows_of(file: Path) -> list[list[str]]:
    if not file.exists():
        return []
    with file.open(encoding="utf-8", newline="") as content:
        return list(csv.reader(content, strict=True))
