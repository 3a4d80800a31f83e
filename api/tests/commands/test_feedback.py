"""The commands for reports in a database: `migrate` and `feedback`."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import settings
from commands import feedback, migrate
from storage.reports import files
from tests.serving import API
from wire.tables.feedback import REPORTS_FILE

AWAY = "postgresql://nobody:secret@127.0.0.1:1/none"
# The exit status and what was printed.
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in this process: `import app` and SQLAlchemy take most of the time of one of its own."""

    def run_command(folder: Path, url: str, main: Callable[[list[str]], int], *words: str) -> tuple[int, str]:
        monkeypatch.setattr(settings, "FEEDBACK_FILEPATH", str(folder / "feedback"))
        monkeypatch.setattr(settings, "DATABASE_URL", url)
        status = main([*words])
        return status, "".join(capsys.readouterr())

    return run_command


def run_alone(folder: Path, url: str, *words: str) -> tuple[int, str]:
    environment = {"PYTHONPATH": ".", "FEEDBACK_FILEPATH": str(folder / "feedback"), "DATABASE_URL": url}
    command = [sys.executable, "-m", *words]
    done = subprocess.run(command, cwd=API, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_files_are_imported_and_exported(run: Run, tmp_path: Path, database_url: str) -> None:
    here, out = tmp_path / "here", tmp_path / "out"
    cells = {"report_id": "a", "image_path": "uploads/one.jpg"}
    files.append(here / "feedback", here / REPORTS_FILE, "one", cells)
    assert run_alone(here, database_url, "commands.migrate") == (0, "revision 0004, as before\n")
    status, told = run(here, database_url, feedback.main, "import")
    assert (status, "1 reports added, 0 changed; added 1 lines" in told) == (0, True), told
    assert run(here, database_url, feedback.main, "repair")[0] == 0
    assert run(here, database_url, feedback.main, "export", str(out))[0] == 0
    assert (out / REPORTS_FILE).read_bytes() == (here / REPORTS_FILE).read_bytes()


def test_a_database_that_is_away_or_not_named_is_said(run: Run, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    for url, reason in ((AWAY, "connection failed"), ("", "DATABASE_URL is not set")):
        for status, told in (
            run(tmp_path, url, migrate.main),
            run(tmp_path, url, feedback.main, "export", out),
        ):
            assert (status, reason in told) == (1, True), told
            assert "Traceback" not in told
            assert "secret" not in told
    status, told = run_alone(tmp_path, AWAY, "commands.feedback", "export", out)
    assert (status, "connection failed" in told, "Traceback" in told, "secret" in told) == (1, True, False, False)
