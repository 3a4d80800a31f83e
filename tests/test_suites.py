"""`make test` begins with the files that take longest, and keeps together what shares a service or a browser."""

from types import SimpleNamespace
from typing import cast

import pytest

from sightline_testing.plugin import FilesTogether
from sightline_testing.service import REPOSITORY
from sightline_testing.suites import SUITES, Suite


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
