"""The findings of an examination, and how they are printed. Text only; needs nothing but the standard library."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TextIO

GOOD, WARNING, BAD = "good", "warning", "bad"
MARKS = {GOOD: "✓", WARNING: "!", BAD: "✗"}
PLAIN_MARKS = {GOOD: "ok", WARNING: "!!", BAD: "XX"}
COLOURS = {GOOD: "\x1b[32m", WARNING: "\x1b[33m", BAD: "\x1b[31m"}
BOLD, DIM, USUAL = "\x1b[1m", "\x1b[2m", "\x1b[0m"
WIDEST = 110
NARROWEST = 50


@dataclass(frozen=True)
class Finding:
    """The result of one check, with a remedy unless it passed."""

    subject: str
    level: str
    text: str
    remedy: str = ""


def good(subject: str, text: str) -> Finding:
    """All as it should be."""
    return Finding(subject, GOOD, text)


def warning(subject: str, text: str, remedy: str) -> Finding:
    """It works, and may not for long."""
    return Finding(subject, WARNING, text, remedy)


def bad(subject: str, text: str, remedy: str) -> Finding:
    """It does not work."""
    return Finding(subject, BAD, text, remedy)


def wants_colour(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Return whether to use colours: on a terminal, unless NO_COLOR or TERM=dumb is set."""
    return stream.isatty() and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"


class Page:
    """Writes findings as they are made, each under the heading of its section, and a last line that sums them up."""

    def __init__(self, stream: TextIO, *, is_coloured: bool) -> None:
        self._stream = stream
        self._is_coloured = is_coloured
        self._marks = MARKS if _takes(stream, "✓✗→") else PLAIN_MARKS
        self._arrow = "→" if self._marks is MARKS else "->"
        self._width = max(NARROWEST, min(WIDEST, shutil.get_terminal_size((100, 24)).columns))
        self._found: list[Finding] = []

    def section(self, title: str, found: Iterable[Finding], subjects: Sequence[str] = ()) -> None:
        """Show the findings under a title; `subjects` are those that may come, for a column that fits them all."""
        self._write(f"\n{self._in(BOLD, title)}")
        column = max(map(len, subjects), default=16)
        for finding in found:
            self._found.append(finding)
            for line in self._lines(finding, column):
                self._write(line)

    def note(self, text: str) -> None:
        """Say something that is no finding."""
        self._write("")
        for line in textwrap.wrap(text, self._width, break_on_hyphens=False):
            self._write(self._in(DIM, line))

    def end(self) -> int:
        """Sum up; return the exit status."""
        counts = {level: sum(each.level == level for each in self._found) for level in MARKS}
        level = BAD if counts[BAD] else WARNING if counts[WARNING] else GOOD
        self._write(f"\n{self._in(COLOURS[level], _summary(counts[BAD], counts[WARNING], len(self._found)))}")
        return 1 if counts[BAD] else 0

    def _lines(self, finding: Finding, column: int) -> Iterator[str]:
        mark = self._marks[finding.level]
        before = len(mark) + column + 5
        first, *rest = textwrap.wrap(finding.text, self._width - before, break_on_hyphens=False) or [""]
        yield f"  {self._in(COLOURS[finding.level], mark)} {finding.subject:{column}}  {first}"
        for line in rest:
            yield " " * before + line
        for at, line in enumerate(textwrap.wrap(finding.remedy, self._width - before - 3, break_on_hyphens=False)):
            arrow = self._arrow if at == 0 else " " * len(self._arrow)
            yield " " * before + self._in(BOLD, f"{arrow} {line}")

    def _in(self, style: str, text: str) -> str:
        return f"{style}{text}{USUAL}" if self._is_coloured else text

    def _write(self, line: str) -> None:
        self._stream.write(f"{line}\n")
        self._stream.flush()


def _summary(bads: int, warnings: int, total: int) -> str:
    if not bads and not warnings:
        return f"No problems found in {total} checks."
    said = [_counted(count, noun) for count, noun in ((bads, "problem"), (warnings, "warning")) if count]
    return f"{' and '.join(said)} in {total} checks."


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _takes(stream: TextIO, characters: str) -> bool:
    try:
        characters.encode(stream.encoding or sys.getdefaultencoding())
    except (UnicodeEncodeError, LookupError):
        return False
    return True
