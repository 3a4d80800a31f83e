"""The systemd unit, verified by systemd itself, without running it."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from launcher.settings import REPOSITORY
from sightline_testing.plugin import missing

UNIT = REPOSITORY / "deploy" / "systemd" / "sightline.service"
# 0 is best; what a service without any of it gets is 9.6.
MAX_EXPOSURE = 2.0


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with this checkout in the place of /opt/sightline."""
    if shutil.which("systemd-analyze") is None:
        missing("no systemd-analyze: install systemd")
    path = tmp_path / UNIT.name
    path.write_text(UNIT.read_text().replace("/opt/sightline", str(REPOSITORY)))
    return path


def analyzed(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, check=False)


def test_systemd_finds_no_fault_in_the_unit(unit: Path) -> None:
    done = analyzed("verify", "--man=no", "--recursive-errors=no", str(unit))
    of_the_unit = [line for line in done.stderr.splitlines() if unit.name in line]
    assert (done.returncode, of_the_unit) == (0, [])


def test_a_typo_is_found(unit: Path) -> None:
    unit.write_text(unit.read_text().replace("PrivateTmp=", "PrivatTmp="))
    assert "PrivatTmp" in analyzed("verify", "--man=no", "--recursive-errors=no", str(unit)).stderr


def test_it_can_do_little_harm(unit: Path) -> None:
    done = analyzed("security", "--offline=yes", str(unit))
    found = re.search(r"exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found is not None, done.stdout + done.stderr
    assert float(found[1]) <= MAX_EXPOSURE, done.stdout
