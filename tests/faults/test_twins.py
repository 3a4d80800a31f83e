"""The broken twins (TWINS=1) stay possible: each test has one, and what they take out is still there."""

import ast
from itertools import chain
from pathlib import Path

from sightline_testing.faults.sabotage import load
from sightline_testing.service import REPOSITORY

HERE = Path(__file__)
TWINS = load(HERE.with_name("twins.toml"))


def test_every_fault_test_has_a_broken_twin() -> None:
    files = [file for file in HERE.parent.glob("test_*.py") if file != HERE]
    nodes = chain.from_iterable(ast.parse(file.read_text(encoding="utf-8")).body for file in files)
    names = {node.name for node in nodes if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}
    assert names == set(TWINS)


def test_what_the_twins_take_out_is_there_and_leaves_code_that_compiles(tmp_path: Path) -> None:
    known = (REPOSITORY / "docs" / "settings.md").read_text(encoding="utf-8")
    for number, sabotage in enumerate(chain.from_iterable(TWINS.values())):
        assert all(f"`{name}`" in known for name in sabotage.settings), sabotage.what
        source = sabotage.source(tmp_path / str(number))
        for file in {source / patch.file for patch in sabotage.patches if patch.file.endswith(".py")}:
            compile(file.read_text(encoding="utf-8"), str(file), "exec")
