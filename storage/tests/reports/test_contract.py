"""What holds for reports wherever they are kept."""

import errno
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from storage.errors import DecidedMeanwhile, KeyReused, ReportsFull
from storage.reports import files
from storage.reports.files import Addition, Once
from storage.reports.folder import FolderReports, Limits
from storage.reports.keys import Key
from storage.reports.port import (
    MAX_REPORTS_SHOWN,
    Card,
    Filters,
    ImageDecision,
    Order,
    Outcome,
    Report,
    ReportStore,
)
from storage.reports.postgres.database import Database
from storage.reports.postgres.reports import PostgresReports
from tests.reports.samples import IMAGE, add, decide, found, id_of, image, report_of, shown, state_of
from wire.tables.csv_reader import Row, TableReader
from wire.tables.feedback import REPORTS, REPORTS_FILE

ALL = Filters(status="")


def test_what_was_reported_is_found_with_all_that_was_said(reports: ReportStore) -> None:
    assert reports.find(id_of("a")) is None
    add(reports, "a", label="=lynx", comment="\"big\", 'cat'", model="net", model_version="7", image_sha256="ab")
    row = found(reports, "a")
    assert (row["filename"], row["prediction"], row["score"], row["image_sha256"]) == (IMAGE, "tabby", 0.5, "ab")
    assert (row["label"], row["comment"], row["status"], row["decision"]) == ("=lynx", "\"big\", 'cat'", "open", 0)


@pytest.mark.parametrize(
    "text", ["half of a pair: \ud800", "a NUL: \0 within", "\u2028 a line", "%s ? %(x)s", "' \\ ;"]
)
def test_any_text_is_kept(reports: ReportStore, lines: Path, text: str) -> None:
    reports.add(report_of("a", comment=text)._replace(line=text))
    assert len(shown(reports)) == 1
    assert lines.read_text().splitlines() == [text.encode(errors="replace").decode()] or "\u2028" in text
    assert rows_in(lines)[0]["report_id"] == id_of("a")


def test_images_that_were_reported_are_told_from_those_that_were_not(reports: ReportStore) -> None:
    assert reports.reported([]) == set()
    assert reports.reported(["ab"]) == set()
    add(reports, "a", image_sha256="ab")
    assert reports.reported(["ab", "cd"]) == {"ab"}


def rows_in(lines: Path) -> list[dict[str, str]]:
    with lines.with_name(REPORTS_FILE).open("rb") as file:
        return [each.cells for each in TableReader(REPORTS, file) if isinstance(each, Row)]


def test_the_files_of_the_host_hold_what_it_has_accepted(reports: ReportStore, lines: Path) -> None:
    add(reports, "a", "b", comment="with, a comma")
    reports.add(Report(id_of("free"), "free text", None))
    assert lines.read_text() == "a\nb\nfree text\n"
    assert [row["report_id"] for row in rows_in(lines)] == [id_of("a"), id_of("b")]
    assert len(shown(reports)) == 2


def test_a_report_is_counted_once_it_is_kept(reports: ReportStore) -> None:
    counted: list[str] = []
    for _ in range(2):
        reports.add(report_of("a", b"a" * 16), lambda: counted.append("kept"))
    assert counted == ["kept"]


def test_several_reports_are_kept_in_one_piece(reports: ReportStore, lines: Path) -> None:
    add(reports, "before")
    counted: list[str] = []
    several = [report_of(name, b"", comment=f"about {name}", **image(name)) for name in ("c", "a", "b")]
    reports.add_all([*several, Report(id_of("free"), "free text", None)], lambda: counted.append("kept"))
    reports.add_all([])
    add(reports, "after")
    assert counted == ["kept"]
    names = ["before", "c", "a", "b", "after"]
    assert lines.read_text().splitlines() == [*names[:4], "free text", "after"]
    assert [row["report_id"] for row in rows_in(lines)] == [id_of(name) for name in names]
    assert [row["report_id"] for row in reversed(shown(reports))] == [id_of(name) for name in names]
    assert found(reports, "a")["comment"] == "about a"


def test_of_several_reports_none_is_kept_where_there_is_no_room(
    request: pytest.FixtureRequest, reports: ReportStore, lines: Path
) -> None:
    small: ReportStore = FolderReports(lines, Limits(0, lambda folder: None))
    if isinstance(reports, PostgresReports):
        small = PostgresReports(request.getfixturevalue("database"), lines, 0)
    with pytest.raises(ReportsFull):
        small.add_all([report_of("a"), report_of("b")])
    assert shown(reports) == []
    assert not lines.exists() or lines.read_text() == ""


def test_a_report_under_its_key_is_kept_once(reports: ReportStore, lines: Path) -> None:
    for comment in ("the same", "the same", "the same"):
        reports.add(report_of("a", b"a" * 16, comment=comment))
    assert len(shown(reports)) == 1
    assert lines.read_text() == "a\n"


def test_a_line_without_a_row_is_kept_once_under_its_key(reports: ReportStore, lines: Path) -> None:
    for _ in range(2):
        reports.add(Report(id_of("free"), "free text", None, b"a" * 16))
    assert lines.read_text() == "free text\n"


def test_another_report_under_a_key_is_refused(reports: ReportStore, lines: Path) -> None:
    reports.add(report_of("a", b"a" * 16, comment="one"))
    with pytest.raises(KeyReused):
        reports.add(report_of("a", b"b" * 16, comment="another"))
    assert found(reports, "a")["comment"] == "one"
    assert lines.read_text() == "a\n"


def test_many_senders_of_one_report_keep_it_once(reports: ReportStore, lines: Path) -> None:
    together = threading.Barrier(8)

    def send(_: int) -> None:
        together.wait()
        reports.add(report_of("a", b"a" * 16))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(send, range(8)))
    assert (len(shown(reports)), lines.read_text()) == (1, "a\n")


def test_reports_that_come_while_others_are_written_are_written_together(
    lines: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    under_way = threading.Semaphore(0)

    def run(work: Callable[[], object]) -> object:
        under_way.release()
        return work()

    reports = FolderReports(lines, Limits(10**9, lambda folder: None), run)
    add(reports, "first")
    under_way.acquire()
    syncs: list[int] = []
    monkeypatch.setattr(os, "fdatasync", syncs.append)
    with ThreadPoolExecutor(20) as pool:
        with files.locked_reports(lines.parent):
            sent = [pool.submit(reports.add, report_of(f"r{number}")) for number in range(20)]
            for _ in sent:
                under_way.acquire()
        for each in sent:
            each.result()
    assert len({row["report_id"] for row in rows_in(lines)}) == 21
    assert sorted(lines.read_text().split()) == ["first", *sorted(f"r{number}" for number in range(20))]
    assert len(syncs) == 2, "both files, once for all"


def test_what_keeps_one_report_out_does_not_keep_out_those_with_it(lines: Path) -> None:
    def refused() -> bool:
        raise KeyReused

    def addition(name: str, is_there: Callable[[], bool]) -> Addition:
        return Addition(name, None, Once(Key(name.encode() * 16, b"c" * 16), is_there))

    due = [
        addition("a", lambda: False),
        addition("b", refused),
        addition("c", lambda: True),
        addition("d", lambda: False),
    ]
    results = files.append_due(lines, lines.with_name(REPORTS_FILE), lambda: due)
    assert [each if isinstance(each, bool) else type(each) for each in results] == [True, KeyReused, False, True]
    assert lines.read_text() == "a\nd\n"


def test_a_report_that_cannot_be_written_does_not_keep_out_those_with_it(
    lines: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write

    def failing(file: int, data: bytes) -> int:
        if b"poison" in bytes(data):
            raise OSError(errno.EIO, "fault")
        return write(file, data)

    monkeypatch.setattr(os, "write", failing)
    due = [Addition(name, None) for name in ("a", "poison", "c")]
    results = files.append_due(lines, lines.with_name(REPORTS_FILE), lambda: due)
    assert [each if isinstance(each, bool) else type(each) for each in results] == [True, OSError, True]
    assert lines.read_text() == "a\nc\n"


def test_no_more_than_the_limit_is_kept(request: pytest.FixtureRequest, reports: ReportStore, lines: Path) -> None:
    small: ReportStore = FolderReports(lines, Limits(10, lambda folder: None))
    if isinstance(reports, PostgresReports):
        small = PostgresReports(request.getfixturevalue("database"), lines, 10)
    add(reports, "a")
    with pytest.raises(ReportsFull, match="MAX_REPORTS_BYTES=10"):
        add(small, "b")
    assert reports.find(id_of("b")) is None


def test_the_last_decision_about_a_report_counts(reports: ReportStore) -> None:
    add(reports, *"abc")
    decide(reports, "a", "accept", "lynx")
    decide(reports, "b", "correct", "puma")
    decide(reports, "a", "reject")
    decide(reports, "a", "correct", "lion", "bob")
    assert [state_of(reports, each) for each in "abc"] == [
        ("corrected", "lion", "bob"),
        ("corrected", "puma", "ann"),
        ("open", "", ""),
    ]


def test_of_two_reviewers_at_once_one_wins_and_the_other_sees_that(reports: ReportStore) -> None:
    add(reports, "a")
    decide(reports, "a", "correct", "lynx", "ann", seen=0)
    with pytest.raises(DecidedMeanwhile) as refused:
        decide(reports, "a", "reject", "", "bob", seen=0)
    assert (refused.value.status, refused.value.label, refused.value.reviewer) == ("corrected", "lynx", "ann")
    assert state_of(reports, "a") == ("corrected", "lynx", "ann")
    decide(reports, "a", "reject", "", "bob", seen=found(reports, "a")["decision"])
    assert state_of(reports, "a") == ("rejected", "", "bob")


def test_reviewers_at_once_leave_one_decision(reports: ReportStore) -> None:
    names = "abcdefgh"
    add(reports, *names)
    together = threading.Barrier(4)

    def review(reviewer: str) -> list[str]:
        return [decided_by(name, reviewer) for name in names]

    def decided_by(name: str, reviewer: str) -> str:
        together.wait()
        try:
            decide(reports, name, "correct", f"of {reviewer}", reviewer, seen=0)
        except DecidedMeanwhile as refused:
            return refused.reviewer
        return reviewer

    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(review, "wxyz"))
    for name, winners in zip(names, zip(*told, strict=True), strict=True):
        [winner] = set(winners)
        assert state_of(reports, name) == ("corrected", f"of {winner}", winner)


def test_a_decision_that_is_sent_again_is_kept_already(reports: ReportStore) -> None:
    add(reports, "a")
    for _ in range(2):
        decide(reports, "a", "correct", "lynx", seen=0)
    assert state_of(reports, "a") == ("corrected", "lynx", "ann")


def ids(cards: list[Card]) -> list[str]:
    return [card.reports[0]["report_id"] for card in cards]


def test_an_image_is_one_card_with_all_its_reports(reports: ReportStore) -> None:
    for number in range(MAX_REPORTS_SHOWN + 2):
        add(reports, f"a{number}", label=("puma", "lynx")[number % 2], **image("a"))
    add(reports, "b", label="Tabby", **image("b"))
    add(reports, "copy", label="lynx", image_path="uploads/other.jpg", image_sha256="a-content")
    add(reports, "nothing", image_path="")
    add(reports, "none", image_path="")
    page = reports.page(ALL)
    assert [card.report_count for card in page.cards] == [1, 1, 8, 1]
    assert page.counts == {"open": 4, "accepted": 0, "corrected": 0, "rejected": 0}
    card, other = page.cards[2:]
    assert len(card.reports) == MAX_REPORTS_SHOWN
    assert (card.image, card.proposed, card.is_disputed, card.is_contradictory) == ("a-content", "lynx", True, False)
    assert (other.proposed, other.is_disputed, other.is_contradictory) == ("Tabby", False, True)


@pytest.mark.parametrize("order", ["newest", "oldest", "unsure", "sure", "disputed"])
def test_pages_lead_to_each_image_once_and_back(reports: ReportStore, order: str) -> None:
    scores = ["0.5", "0.9", "", "0.5", "0.1", "0.5", "0.3"]
    for number, score in enumerate(scores):
        add(reports, str(number), score=score, **image(str(number)))
    add(reports, "again", label="puma", **image("3"))
    add(reports, "again2", label="lynx", **image("3"))
    pages = [reports.page(ALL, Order(order, 3))]
    while (later := pages[-1].later) is not None:
        pages.append(reports.page(ALL, Order(order, 3), later))
    seen = [card.image for page in pages for card in page.cards]
    assert sorted(seen) == sorted(f"{number}-content" for number in range(len(scores)))
    assert [len(page.cards) for page in pages] == [3, 3, 1]
    back = [pages[-1]]
    while (earlier := back[-1].earlier) is not None:
        back.append(reports.page(ALL, Order(order, 3), earlier))
    assert [card.image for page in reversed(back) for card in page.cards] == seen
    ends = {"newest": "36", "oldest": "0", "unsure": "4", "sure": "1", "disputed": "3"}
    assert seen[0].partition("-")[0] in ends[order]


def test_the_inbox_is_filtered_by_status_label_model_and_day(reports: ReportStore) -> None:
    day = "2026-11-{}T10:00:00.000+00:00".format
    add(reports, "a", label="Tiger cat", model="net", model_version="1", reported_at=day(1), **image("a"))
    add(reports, "b", label="puma", model="net", model_version="2", reported_at=day(20), **image("b"))
    add(reports, "c", label="100%_sure!", model="net", model_version="2", reported_at=day(21), **image("c"))
    decide(reports, "b", "accept", "puma")
    for filters, expected in (
        (Filters(), "ca"),
        (Filters(status="accepted"), "b"),
        (Filters(status="", part="iger"), "a"),
        (Filters(status="", keys=("puma",)), "b"),
        (Filters(status="", part="nothing", keys=("tiger cat",)), "a"),
        (Filters(status="", part="abb"), "cba"),
        (Filters(status="", part="0% s"), "c"),
        (Filters(status="", part="e!"), "c"),
        (Filters(status="", part="t%r"), ""),
        (Filters(status="", model="net/2"), "cb"),
        (Filters(status="", since="2026-11-20"), "cb"),
        (Filters(status="", before="2026-11-21"), "ba"),
        (Filters(status="", since="2026-11-20", before="2026-11-21", part="uma", model="net/2"), "b"),
    ):
        page = reports.page(filters)
        assert ids(page.cards) == [id_of(each) for each in expected], filters
    assert page.models == ["net/1", "net/2"]
    assert (page.labels, page.fault_count) == (["puma"], 0)
    assert reports.page(ALL).counts == {"open": 2, "accepted": 1, "corrected": 0, "rejected": 0}
    assert reports.page(Filters(model="net/1")).counts == {"open": 1, "accepted": 0, "corrected": 0, "rejected": 0}


def about(card: Card, kind: str, label: str = "", reviewer: str = "ann") -> ImageDecision:
    """Return a decision about what the inbox shows."""
    return ImageDecision(card.image, kind, label, reviewer, card.seen, card.upto)


def test_a_decision_about_an_image_is_one_about_all_of_its_reports(reports: ReportStore) -> None:
    add(reports, "lynx", label="lynx", **image("a"))
    add(reports, "puma", label="puma", **image("a"))
    add(reports, "other", label="puma", **image("b"))
    [other, card] = reports.page(Filters()).cards
    [first, second] = reports.decide_images([about(card, "accept", "lynx"), about(other, "reject")])
    assert (first.is_kept, first.status, first.label, first.reviewer) == (True, "accepted", "lynx", "ann")
    assert (second.is_kept, second.status, second.label) == (True, "rejected", "")
    assert [state_of(reports, each) for each in ("lynx", "puma", "other")] == [
        ("accepted", "lynx", "ann"),
        ("corrected", "lynx", "ann"),
        ("rejected", "", "ann"),
    ]
    assert reports.page(ALL).counts == {"open": 0, "accepted": 1, "corrected": 0, "rejected": 1}
    [card] = reports.page(Filters("accepted")).cards
    assert (card.label, card.reviewer, card.seen) == ("lynx", "ann", first.seen)
    assert [case["final_label"] for case in reports.cases(0)] == ["lynx"]


def test_a_report_that_the_reviewer_has_not_seen_stays_open(reports: ReportStore) -> None:
    add(reports, "seen", label="lynx", **image("a"))
    [card] = reports.page(Filters()).cards
    add(reports, "late", label="puma", **image("a"))
    [outcome] = reports.decide_images([about(card, "accept", "lynx")])
    assert (outcome.is_kept, outcome.status) == (True, "open")
    assert [state_of(reports, each)[0] for each in ("seen", "late")] == ["accepted", "open"]
    [card] = reports.page(Filters()).cards
    assert reports.decide_images([about(card, "accept", "lynx")])[0].status == "accepted"


def test_an_image_can_be_opened_again_and_then_is_no_case(reports: ReportStore) -> None:
    add(reports, "a", "b", label="lynx", **image("a"))
    [card] = reports.page(Filters()).cards
    assert reports.decide_images([about(card, "reopen")])[0].seen == 0, "it is open already"
    reports.decide_images([about(card, "accept", "lynx")])
    [card] = reports.page(Filters("accepted")).cards
    [outcome] = reports.decide_images([about(card, "reopen")])
    assert (outcome.is_kept, outcome.status, outcome.label) == (True, "open", "")
    assert outcome.seen > card.seen
    assert reports.cases(0) == []
    decide(reports, "a", "reject")
    decide(reports, "a", "reopen")
    assert state_of(reports, "a")[0] == "open"


def test_of_two_reviewers_of_many_images_nobody_overrules_the_other_unseen(reports: ReportStore) -> None:
    for name in "abc":
        add(reports, name, label="lynx", **image(name))
    cards = reports.page(Filters()).cards
    reports.decide_images([about(cards[1], "correct", "puma", "bob")])
    outcomes = reports.decide_images([about(card, "accept", "lynx", "ann") for card in cards])
    assert [outcome.is_kept for outcome in outcomes] == [True, False, True]
    assert (outcomes[1].status, outcomes[1].label, outcomes[1].reviewer) == ("corrected", "puma", "bob")
    assert [state_of(reports, each)[2] for each in "abc"] == ["ann", "bob", "ann"]
    again = about(cards[1], "accept", "lynx", "ann")._replace(seen=outcomes[1].seen)
    assert reports.decide_images([again])[0].is_kept
    assert state_of(reports, "b") == ("accepted", "lynx", "ann")


def test_decisions_about_images_that_are_sent_again_are_kept_already(reports: ReportStore) -> None:
    add(reports, "a", "b", label="lynx", **image("a"))
    [card] = reports.page(Filters()).cards
    first, second = (reports.decide_images([about(card, "accept", "lynx")]) for _ in range(2))
    assert first == second


def test_reviewers_of_many_images_at_once_leave_one_decision_for_each(reports: ReportStore) -> None:
    names = "abcdefgh"
    for name in names:
        add(reports, name, f"{name}2", label="lynx", **image(name))
    cards = reports.page(Filters()).cards
    together = threading.Barrier(4)

    def review(reviewer: str) -> list[Outcome]:
        together.wait()
        mine = cards if reviewer < "y" else cards[::-1]
        return reports.decide_images([about(card, "correct", f"of {reviewer}", reviewer) for card in mine])

    with ThreadPoolExecutor(4) as pool:
        told = [outcome for outcomes in pool.map(review, "wxyz") for outcome in outcomes]
    for card in cards:
        [kept] = [outcome for outcome in told if outcome.image == card.image and outcome.is_kept]
        assert {outcome.label for outcome in told if outcome.image == card.image} == {kept.label}


def test_an_image_that_nobody_has_reported_is_told(reports: ReportStore) -> None:
    [outcome] = reports.decide_images([ImageDecision("none", "reject", "", "ann", 0, 100)])
    assert (outcome.is_kept, outcome.status) == (False, "")


def test_a_class_is_named_as_it_was_decided_first(reports: ReportStore) -> None:
    add(reports, *"abc")
    decide(reports, "a", "correct", "zebra")
    decide(reports, "b", "correct", "Bar Chart")
    decide(reports, "c", "correct", "bar_chart")
    assert reports.labels() == ["zebra", "Bar Chart"]


def test_of_all_decisions_about_one_image_the_last_one_is_a_case(reports: ReportStore) -> None:
    add(reports, "a", "b", image_sha256="ab")
    add(reports, "other", image_path="uploads/ffffffffffffffffffffffffffffffff.jpg", image_sha256="cd")
    add(reports, "copy", image_path="uploads/eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee.jpg", image_sha256="ab")
    decide(reports, "a", "correct", "first")
    decide(reports, "other", "correct", "other")
    decide(reports, "b", "correct", "second")
    assert [(case["report_id"], case["final_label"]) for case in reports.cases(0)] == [
        (id_of("b"), "second"),
        (id_of("other"), "other"),
    ]
    decide(reports, "copy", "correct", "copied")
    [first, last] = reports.cases(0)
    assert [first["final_label"], last["final_label"]] == ["other", "copied"]
    assert reports.cases(first["seq"]) == [last]


def test_images_that_reports_are_about_are_named(reports: ReportStore) -> None:
    add(reports, "a", image_path="C:\\uploads\\one.jpg")
    add(reports, "b", "c")
    assert set(reports.image_names()) == {"one.jpg", IMAGE}


def test_nothing_is_renamed_at_first(reports: ReportStore) -> None:
    assert tuple(reports.renames()) == ()


def test_healing_changes_nothing_that_is_whole(reports: ReportStore, lines: Path) -> None:
    reports.heal()
    add(reports, *"ab")
    before = (lines.read_bytes(), lines.with_name(REPORTS_FILE).read_bytes())
    reports.heal()
    assert (lines.read_bytes(), lines.with_name(REPORTS_FILE).read_bytes()) == before


def test_the_database_is_that_of_a_test(database: Database) -> None:
    database.check_schema()


def test_an_erased_image_has_no_report_decision_or_line_left_and_others_stay_as_they_were(
    reports: ReportStore, lines: Path
) -> None:
    other = "fedcba9876543210fedcba9876543210.jpg"
    reports.add(report_of("a", image_sha256="ab")._replace(line=f"{{'filename': '{IMAGE}'}}"))
    reports.add(report_of("b", image_path=f"uploads/{other}", comment="two\nlines, é")._replace(line=f"about {other}"))
    copied = IMAGE.replace(".jpg", ".jpeg")
    reports.add(report_of("c", image_path=f"uploads/{copied}", image_sha256="ab")._replace(line=f"about {copied}"))
    for name in "abc":
        decide(reports, name, "accept", "lynx")
    erased = reports.erase([IMAGE], ["ab", ""])
    assert (erased.reports, sorted(erased.names)) == (2, sorted([IMAGE, copied]))
    assert [row["report_id"] for row in shown(reports)] == [id_of("b")]
    assert state_of(reports, "b") == ("accepted", "lynx", "ann")
    assert [row["report_id"] for row in rows_in(lines)] == [id_of("b")]
    assert "é" in rows_in(lines)[0]["comment"]
    assert lines.read_text() == f"about {other}\n"
    for path in lines.parent.iterdir():
        for text in (IMAGE.partition(".")[0], id_of("a"), id_of("c")):
            assert text.encode() not in path.read_bytes(), path
    assert reports.erase([IMAGE], ["ab"]).reports == 0
    add(reports, "d")
    assert {row["report_id"] for row in shown(reports)} == {id_of("b"), id_of("d")}


def test_the_classes_of_the_cases_are_counted_by_their_images(reports: ReportStore) -> None:
    assert reports.classes() == []
    for name, sha256, filename in (("a", "1", "a.jpg"), ("b", "1", "a.jpg"), ("c", "2", "c.jpg"), ("d", "3", "d.jpg")):
        add(reports, name, image_sha256=sha256, image_path=f"uploads/{filename}", label="lynx")
    for name, label in (("a", "lynx"), ("b", "lynx"), ("c", "Lynx"), ("d", "tabby")):
        decide(reports, name, "accept", label)
    first, second = reports.classes()
    assert (first.label.lower(), first.images, first.filename) == ("lynx", 2, "c.jpg")
    assert second == ("tabby", 1, "d.jpg")
    decide(reports, "d", "reject", "")
    assert len(reports.classes()) == 1


def test_the_quality_of_answers_is_added_up_from_reports_and_decisions(reports: ReportStore) -> None:
    assert reports.quality() == ([], [], [], [])
    for version, score, names in (("1", "0.95", "ab"), ("1", "", "c"), ("2", "0.2", "def")):
        for name in names:
            add(reports, name, prediction="tabby", score=score, model="net", model_version=version, label="lynx")
    decide(reports, "a", "accept", "lynx")
    decide(reports, "c", "correct", "Tabby")
    decide(reports, "d", "correct", "lynx")
    decide(reports, "e", "reject", "")
    quality = reports.quality()
    assert [tuple(row.values()) for row in map(dict, quality.reports)] == [
        ("net", "1", "accepted", 1),
        ("net", "1", "corrected", 1),
        ("net", "1", "open", 1),
        ("net", "2", "corrected", 1),
        ("net", "2", "open", 1),
        ("net", "2", "rejected", 1),
    ]
    assert [tuple(row.values()) for row in map(dict, quality.cases)] == [("net", "1", 2, 1), ("net", "2", 1, 0)]
    assert [tuple(row.values()) for row in map(dict, quality.reliability)] == [(2, 1, 0, 0.2), (9, 1, 0, 0.95)]
    assert [tuple(row.values()) for row in map(dict, quality.confusion)] == [("tabby", "lynx", 2)]
