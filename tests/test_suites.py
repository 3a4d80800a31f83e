"""`make test` begins with the files that take longest, keeps together what belongs together, and repeats failures."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from sightline_testing import suites
from sightline_testing.junit import Totals, read
from sightline_testing.plugin import FilesTogether
from sightline_testing.service import REPOSITORY
from sightline_testing.suites import MAX_REPEATED, SUITES, Suite, repeat_failed, run


@pytest.mark.parametrize("suite", SUITES, ids=[suite.name for suite in SUITES])
def test_the_files_that_a_suite_names_are_there(suite: Suite) -> None:
    named = {*suite.longest, *(file for files in suite.together for file in files)}
    assert {file for file in named if not (REPOSITORY / suite.folder / file).is_file()} == set()


def test_files_that_belong_together_are_one_unit_of_work_and_every_other_is_its_own() -> None:
    options = {"together": ["tests/a.py,tests/b/c.py"], "tx": ["popen"]}
    config = SimpleNamespace(getvalue=options.get, getoption=lambda name: options[name.lstrip("-")])
    scheduler = FilesTogether(cast("pytest.Config", config))
    units = {file: scheduler._split_scope(f"{file}::test_it[a::b]") for file in ("tests/a.py", "tests/b/c.py", "c.py")}
    assert units == {"tests/a.py": "tests/a.py", "tests/b/c.py": "tests/a.py", "c.py": "c.py"}


UNSTEADY = """
import pathlib
import pytest

@pytest.mark.parametrize("number", range({unsteady}))
def test_unsteady(number):
    seen = pathlib.Path(__file__).with_name(f"seen-{{number}}")
    if not seen.exists():
        seen.touch()
        raise AssertionError

@pytest.fixture
def failing():
    yield
    seen = pathlib.Path(__file__).with_name("seen-failing")
    if not seen.exists():
        seen.touch()
        raise AssertionError

def test_whose_end_is_unsteady(failing):
    pass

def test_steady():
    pass

@pytest.mark.skipif({is_sound}, reason="of no interest here")
def test_broken():
    raise AssertionError
"""


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(suites, "RESULTS", tmp_path / "results")
    return tmp_path / "results"


def ran(folder: Path, *, unsteady: int = 1, is_sound: bool = True) -> tuple[Suite, Totals]:
    """Run a suite of this many unsteady tests, one that passes, and one that fails if it is not sound."""
    (folder / "test_it.py").write_text(UNSTEADY.format(unsteady=unsteady, is_sound=is_sound))
    suite = Suite("repeated", str(folder), ".", is_parallel=False)
    return suite, run(suite)


def test_what_fails_once_is_named_and_counts_as_passed(tmp_path: Path, results: Path) -> None:
    suite, totals = ran(tmp_path)
    assert (totals.passed, totals.failed) == (1, 2)
    assert repeat_failed([suite], [totals]) == ["test_it::test_unsteady[0]", "test_it::test_whose_end_is_unsteady"]
    assert (totals.passed, totals.failed, read(suite.report).failed) == (3, 0, 0)


def test_what_fails_again_fails_the_run(tmp_path: Path, results: Path) -> None:
    suite, totals = ran(tmp_path, is_sound=False)
    assert len(repeat_failed([suite], [totals])) == 2
    assert (totals.failed, read(suite.report).failed) == (1, 1)


def test_many_failures_and_assertions_that_must_hold_every_time_are_not_repeated(tmp_path: Path, results: Path) -> None:
    suite, totals = ran(tmp_path, unsteady=MAX_REPEATED)
    before = totals.failed
    assert before > MAX_REPEATED
    assert repeat_failed([suite], [totals]) == []
    assert totals.failed == before
    once = Totals(passed=1, failed=1, is_whole=True)
    assert repeat_failed([replace(suite, is_repeated=False)], [once]) == []
    assert once.failed == 1


def test_a_suite_that_broke_off_is_not_repeated(tmp_path: Path, results: Path) -> None:
    (tmp_path / "test_it.py").write_text("import os\ndef test_it(): os._exit(3)\n")
    suite = Suite("broken-off", str(tmp_path), ".", is_parallel=False)
    totals = run(suite)
    assert (totals.is_whole, totals.failed) == (False, 1)
    (tmp_path / "test_it.py").write_text("def test_it(): pass\n")
    assert repeat_failed([suite], [totals]) == []
    assert totals.failed == 1
