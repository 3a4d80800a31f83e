"""The table of codes holds what the source can raise, and nothing else."""

import re
from pathlib import Path

from openapi.problem_codes import PROBLEM_CODES

API = Path(__file__).resolve().parents[2]
RAISED = re.compile(r'(\d{3})[,:]\s+"([a-z_]+)"')


def raised() -> set[tuple[str, int]]:
    found = set()
    for file in API.rglob("*.py"):
        if "tests" not in file.parts and file.name not in {"problem_codes.py", "snippets.py"}:
            found |= {(code, int(status)) for status, code in RAISED.findall(file.read_text())}
    return found - {("maximum", 400)}  # a JSON schema


def test_every_code_that_the_service_returns_has_its_status_cause_and_remedy() -> None:
    assert len(raised()) > 40
    assert raised() == {(code, each.status) for code, each in PROBLEM_CODES.items()}


def test_every_cause_and_remedy_is_a_sentence() -> None:
    assert [
        code for code, each in PROBLEM_CODES.items() if not (each.cause.endswith(".") and each.remedy.endswith("."))
    ] == []
