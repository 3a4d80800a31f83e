"""The table of error codes in docs/errors.md; `python -m sightline_testing.error_table` renews it."""

import json
import subprocess
import sys

from sightline_testing.service import REPOSITORY

PAGE = REPOSITORY / "docs" / "errors.md"
HEADING = "\n## Codes\n\n"
HEADER = "| code | status | cause | remedy |\n|---|---|---|---|\n"
# In a process of its own: api/ and model/ have modules of the same name.
READ = """
import json
from openapi.problem_codes import PROBLEM_CODES
print(json.dumps([(code, *each) for code, each in PROBLEM_CODES.items()]))
"""


def table() -> str:
    """Return the table."""
    finished = subprocess.run(
        [sys.executable, "-c", READ],
        cwd=REPOSITORY / "api",
        env={"PYTHONPATH": "."},
        check=True,
        capture_output=True,
        text=True,
    )
    rows = json.loads(finished.stdout)
    return HEADER + "".join(
        f"| `{code}` | {status} | {cause} | {remedy} |\n" for code, status, cause, remedy in sorted(rows)
    )


def renew() -> None:
    """Write the table into the page, below its introduction."""
    PAGE.write_text(PAGE.read_text().partition(HEADING)[0] + HEADING + table())


if __name__ == "__main__":
    renew()
