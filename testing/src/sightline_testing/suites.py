"""`make test`: runs every suite in the place its imports expect, and adds up what they found.

api/ and model/ are import roots with modules of the same names, so each suite is a run of its own.
"""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from sightline_testing.service import REPOSITORY

RESULTS = REPOSITORY / "var" / "test-results"


@dataclass(frozen=True)
class Suite:
    """A folder to run pytest in, and what to run there."""

    name: str
    folder: str
    tests: str
    options: tuple[str, ...] = ()
    is_parallel: bool = True


@dataclass
class Totals:
    """What pytest counted."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __iadd__(self, other: "Totals") -> "Totals":
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        return self

    def __str__(self) -> str:
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        return f"{self.passed} passed, {self.failed} failed{skipped}"


# Folders of tests/ with commands of their own.
OF_THEIR_OWN = ("faults", "security", "containers", "gpu", "site")
SUITES = (
    Suite("wire", "wire", "tests"),
    Suite("model", "model", "tests"),
    Suite("api", "api", "tests"),
    Suite("client", "client", "tests"),
    Suite("launcher", "deploy", "tests"),
    Suite("benchmarks", ".", "benchmarks/tests"),
    Suite("stress", ".", "stress_test/tests"),
    Suite("system", ".", "tests", tuple(f"--ignore=tests/{name}" for name in OF_THEIR_OWN)),
)
# Our own tests are held to these; tests that others drop into a folder are not.
STRICT = ("-W", "error", "--strict-markers", "--strict-config")
PYTEST_OPTIONS = ("--quiet", "--durations=5", *STRICT)
# Many tests wait for something, so there is work for one more process than there are cores. Services belong to a file.
WORKERS = (os.cpu_count() or 1) + 1
PARALLEL = ("-n", str(WORKERS), "--dist", "loadfile")
# Commands of their own, since they take minutes.
# One at a time: they judge what a flood or a killed process does to everything else on the machine.
FAULTS = Suite("faults", ".", "tests/faults", is_parallel=False)
SECURITY = Suite("security", ".", "tests/security", is_parallel=False)
# Needs PyTorch, which is no part of the environment: `make test-gpu`.
GPU = Suite("gpu", "model", "../tests/gpu")
# The documentation, which `make docs` has built.
SITE = Suite("site", ".", "tests/site")
# Only on request: against a service that runs already, which SIGHTLINE_URL names.
REMOTE = Suite("remote", ".", "tests/test_integration.py", is_parallel=False)
CONTAINERS = Suite("containers", ".", "tests/containers", is_parallel=False)
ELSEWHERE = (REMOTE, CONTAINERS)


def main(names: list[str]) -> int:
    """Run the named suites, or all; return the exit status."""
    known = {suite.name: suite for suite in (*SUITES, FAULTS, SECURITY, GPU, SITE, *ELSEWHERE)}
    if unknown := set(names) - set(known):
        _say(f"no suite is named {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
        return 2
    remote = [suite.name for suite in ELSEWHERE if suite.name in names]
    if remote and "SIGHTLINE_URL" not in os.environ:
        _say(f"the suite {remote[0]} needs SIGHTLINE_URL, the address of a running service")
        return 2
    started = time.monotonic()
    totals = Totals()
    for suite in [known[name] for name in names] or SUITES:
        totals += run(suite)
    _say(f"{totals} in {time.monotonic() - started:.0f} s")
    if totals.skipped and os.environ.get("CI"):
        _say("a test was skipped, and in CI none may be")
        return 1
    return 1 if totals.failed or not totals.passed else 0


def run(suite: Suite) -> Totals:
    """Run one suite and return its totals; a run that broke off counts as a failure."""
    started = time.monotonic()
    report = RESULTS / f"{suite.name}.xml"
    RESULTS.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)
    _say(f"--- {suite.name}")
    options = (*PYTEST_OPTIONS, *(PARALLEL if suite.is_parallel else ()), f"--junitxml={report}", *suite.options)
    finished = subprocess.run(
        [sys.executable, "-m", "pytest", suite.tests, *options],
        cwd=REPOSITORY / suite.folder,
        env=os.environ | {"PYTHONPATH": "."},
        check=False,
    )
    totals = read(report)
    if finished.returncode != 0 and not totals.failed:
        totals.failed = 1
    _say(f"--- {suite.name}: {totals} in {time.monotonic() - started:.0f} s")
    return totals


def read(report: Path) -> Totals:
    """Add up pytest's JUnit report; one that is missing holds nothing."""
    if not report.exists():
        return Totals()
    totals = Totals()
    for found in ElementTree.parse(report).iter("testsuite"):  # noqa: S314 - written by our own pytest a moment ago
        tests, failures, errors, skipped = (
            int(found.get(key, "0")) for key in ("tests", "failures", "errors", "skipped")
        )
        totals += Totals(tests - failures - errors - skipped, failures + errors, skipped)
    return totals


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
