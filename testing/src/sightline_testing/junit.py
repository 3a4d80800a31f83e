"""What a run of pytest counted, by its JUnit report."""

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree


@dataclass
class Totals:
    """What pytest counted, and what it took: seconds by the clock, and of processors."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    processor_s: float = 0.0
    is_whole: bool = True  # it ran to its end

    def __iadd__(self, other: "Totals") -> "Totals":
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.processor_s += other.processor_s
        return self

    def __str__(self) -> str:
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        return f"{self.passed} passed, {self.failed} failed{skipped}"

    def timed(self, seconds: float) -> str:
        """Return what was counted, and what it took."""
        return f"{self} in {seconds:.0f} s, {self.processor_s:.0f} s of processor time"


def read(report: Path) -> Totals:
    """Add up pytest's JUnit report; one that is missing holds nothing."""
    if not report.exists():
        return Totals()
    totals = Totals()
    for found in _parse(report).iter("testsuite"):
        tests, failures, errors, skipped = (
            int(found.get(key, "0")) for key in ("tests", "failures", "errors", "skipped")
        )
        totals += Totals(tests - failures - errors - skipped, failures + errors, skipped)
    return totals


def settle(first: Path, repeated: Path) -> list[str]:
    """Let what passed in the repetition count as passed in the first report; return the names of those tests."""
    if not repeated.exists():
        return []
    report = _parse(first)
    passed = {
        _name(case) for case in _parse(repeated).iter("testcase") if not _faults(case) and case.find("skipped") is None
    }
    unsteady: dict[str, None] = {}
    for suite in report.iter("testsuite"):
        for case in suite.iter("testcase"):
            for fault in _faults(case) if _name(case) in passed else ():
                kind = f"{fault.tag}s"
                suite.set(kind, str(int(suite.get(kind, "0")) - 1))
                case.remove(fault)
                unsteady[_name(case)] = None
    report.write(first)
    return list(unsteady)


def _parse(report: Path) -> "ElementTree.ElementTree[ElementTree.Element]":
    return ElementTree.parse(report)  # noqa: S314 - written by our own pytest a moment ago


def _faults(case: ElementTree.Element) -> list[ElementTree.Element]:
    return [child for child in case if child.tag in {"failure", "error"}]


def _name(case: ElementTree.Element) -> str:
    return f"{case.get('classname')}::{case.get('name')}"
