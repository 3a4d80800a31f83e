import subprocess
import sys
from pathlib import Path

import pytest

from storage.reports import files
from storage.reports.port import Decision
from tests.serving import API
from wire.tables.feedback import REPORTS_FILE


@pytest.mark.parametrize("module", ["commands.index_reports", "reports.index"])
def test_the_command_makes_it_anew_and_counts(tmp_path: Path, module: str) -> None:
    for name in "ab":
        cells = {"report_id": name, "image_path": "uploads/one.jpg"}
        files.append(tmp_path / "feedback", tmp_path / REPORTS_FILE, name, cells)
    files.append_decision(tmp_path, Decision("b", "correct", "lynx", "ann"))
    environment = {"PYTHONPATH": ".", "FEEDBACK_FILEPATH": str(tmp_path / "feedback")}
    command = [sys.executable, "-m", module]
    done = subprocess.run(command, cwd=API, env=environment, capture_output=True, text=True, check=True)
    assert "2 reports (1 open, 0 accepted, 1 corrected, 0 rejected)" in done.stdout
