"""The commands for reports in a database: `migrate` and `feedback`."""

import subprocess
import sys
from pathlib import Path

from storage.reports import files
from tests.serving import API
from wire.tables.feedback import REPORTS_FILE

AWAY = "postgresql://nobody:secret@127.0.0.1:1/none"


def run(folder: Path, url: str, *words: str) -> tuple[int, str]:
    environment = {"PYTHONPATH": ".", "FEEDBACK_FILEPATH": str(folder / "feedback"), "DATABASE_URL": url}
    command = [sys.executable, "-m", *words]
    done = subprocess.run(command, cwd=API, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_files_are_imported_and_exported(tmp_path: Path, database_url: str) -> None:
    here, out = tmp_path / "here", tmp_path / "out"
    cells = {"report_id": "a", "image_path": "uploads/one.jpg"}
    files.append(here / "feedback", here / REPORTS_FILE, "one", cells)
    assert run(here, database_url, "commands.migrate") == (0, "revision 0004, as before\n")
    status, told = run(here, database_url, "commands.feedback", "import")
    assert (status, "1 reports added, 0 changed; added 1 lines" in told) == (0, True), told
    assert run(here, database_url, "commands.feedback", "repair")[0] == 0
    assert run(here, database_url, "commands.feedback", "export", str(out))[0] == 0
    assert (out / REPORTS_FILE).read_bytes() == (here / REPORTS_FILE).read_bytes()


def test_a_database_that_is_away_or_not_named_is_said(tmp_path: Path) -> None:
    for url, reason in ((AWAY, "connection failed"), ("", "DATABASE_URL is not set")):
        for words in (("commands.migrate",), ("commands.feedback", "export", str(tmp_path / "out"))):
            status, told = run(tmp_path, url, *words)
            assert status == 1
            assert reason in told
            assert "Traceback" not in told
            assert "secret" not in told
