import io

import pytest

from sightline.findings import Page, bad, good, wants_colour, warning

FOUND = [
    good("disk", "free"),
    warning("clock", "the service's is 9 s ahead", "have both keep time"),
    bad("workers", "none " * 40, "look at their log " * 10),
]


def shown(*, is_coloured: bool = False, encoding: str = "utf-8") -> tuple[str, int]:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
    page = Page(stream, is_coloured=is_coloured)
    page.section("Service", FOUND, ("workers", "disk"))
    status = page.end()
    stream.seek(0)
    return stream.read(), status


def test_each_finding_has_its_mark_and_what_is_not_good_its_remedy() -> None:
    text, status = shown()
    assert "  ✓ disk     free\n" in text
    assert "  ! clock    the service's is 9 s ahead\n             → have both keep time\n" in text
    assert "1 problem and 1 warning in 3 checks." in text
    assert status == 1


def test_long_lines_are_folded_under_their_own_column(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    text, _ = shown()
    assert max(map(len, text.splitlines())) <= 60
    assert "\n             none none" in text
    assert "\n               log\n" in text


def test_a_terminal_without_these_characters_gets_plain_ones() -> None:
    text, _ = shown(encoding="ascii")
    assert "  ok disk" in text
    assert "-> have both" in text


def test_colour_is_for_terminals_that_want_it() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert wants_colour(Terminal(), {"TERM": "xterm"})
    assert not wants_colour(Terminal(), {"NO_COLOR": "1"})
    assert not wants_colour(Terminal(), {"TERM": "dumb"})
    assert not wants_colour(io.StringIO(), {})
    assert "\x1b[31m✗\x1b[0m" in shown(is_coloured=True)[0]
    assert "\x1b" not in shown()[0]


def test_warnings_alone_are_no_failure() -> None:
    page = Page(io.StringIO(), is_coloured=False)
    page.section("Service", FOUND[:2])
    assert page.end() == 0
