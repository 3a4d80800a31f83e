"""The settings of each part as docs/settings.md has them; `python -m sightline_testing.settings_tables` renews them."""

import json
import subprocess
import sys

from sightline_testing.service import REPOSITORY

# heading, folder to run in, module with SETTINGS
PARTS = (
    ("make serve", "deploy", "launcher.settings"),
    ("api", "api", "settings"),
    ("model worker", "model", "settings"),
)
PAGE = REPOSITORY / "docs" / "settings.md"
HEADER = "| setting | type | default | meaning |\n|---|---|---|---|\n"
# In a process of its own each: two of the modules have the same name.
READ = """
import importlib, json, sys
rows = importlib.import_module(sys.argv[1]).SETTINGS
print(json.dumps([(name, kind.__name__, str(default), meaning) for name, kind, default, meaning in rows]))
"""


def table(folder: str, module: str) -> str:
    """Return the table of one part."""
    finished = subprocess.run(
        [sys.executable, "-c", READ, module],
        cwd=REPOSITORY / folder,
        env={"PYTHONPATH": "."},
        check=True,
        capture_output=True,
        text=True,
    )
    return HEADER + "".join(_row(*row) for row in json.loads(finished.stdout))


def _row(name: str, kind: str, default: str, meaning: str) -> str:
    shown = f"`{default}`" if default else "none"
    return f"| `{name}` | {kind.lower()} | {shown} | {meaning.replace('<', '&lt;')} |\n"


def renew() -> None:
    """Write the tables into the page, below its introduction."""
    introduction = PAGE.read_text().partition("\n## ")[0]
    sections = (f"\n## {heading}\n\n{table(folder, module)}" for heading, folder, module in PARTS)
    PAGE.write_text(introduction + "".join(sections))


if __name__ == "__main__":
    renew()
