"""SECURITY.md is right: its limits, its files and its commands."""

import ast
import re

import pytest

from sightline_testing.service import REPOSITORY

PAGE = (REPOSITORY / "SECURITY.md").read_text()
LIMITS = re.findall(r"\| `([^`]+)` \| `(\w+)` of ([\w/]+\.py) \|", PAGE)


def constant(file: str, name: str) -> str:
    """The source of what is assigned to a name; of a setting, its default."""
    tree = ast.parse((REPOSITORY / file).read_text())
    for node in tree.body:
        target = (
            node.target
            if isinstance(node, ast.AnnAssign)
            else node.targets[0]
            if isinstance(node, ast.Assign)
            else None
        )
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(target, ast.Name) and target.id == name:
            assert node.value is not None
            is_setting = isinstance(node.value, ast.Call)
            return ast.unparse(node.value.args[1] if isinstance(node.value, ast.Call) and is_setting else node.value)
    raise AssertionError(f"{file} has no {name}")


def value(source: str) -> float:
    """A product of numbers."""
    tree = ast.parse(source, mode="eval").body
    if isinstance(tree, ast.BinOp):
        left, right = value(ast.unparse(tree.left)), value(ast.unparse(tree.right))
        return float(left**right if isinstance(tree.op, ast.Pow) else left * right)
    assert isinstance(tree, ast.Constant)
    assert isinstance(tree.value, int | float)
    return float(tree.value)


def test_there_are_limits() -> None:
    assert len(LIMITS) >= 15


@pytest.mark.parametrize(("told", "name", "file"), LIMITS, ids=[name for _, name, _ in LIMITS])
def test_a_limit_is_as_it_is_told(told: str, name: str, file: str) -> None:
    assert value(told) == value(constant(file, name))


def test_every_file_it_names_is_there() -> None:
    named = re.findall(r"\b((?:api|model|tests|wire|storage|deploy)/[\w/]+(?:\.py)?)", PAGE)
    assert [path for path in named if not (REPOSITORY / path).exists()] == []
    tests = set(re.findall(r"`(test_\w+)`", PAGE))
    assert {name for name in tests if not (REPOSITORY / "tests" / "security" / f"{name}.py").exists()} == set()


def test_every_command_it_names_is_there() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    commands = set(re.findall(r"`make ([a-z-]+)", PAGE))
    assert {command for command in commands if f"\n{command}:" not in makefile} == set()


def test_it_answers_all_of_pillows_recommendations() -> None:
    assert re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE) == [str(number) for number in range(1, 11)]
