"""What needs a package of the service to look at: asked by commands of model/, which print JSON."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from launcher.settings import REPOSITORY, Settings

TIMEOUT_S = 60


class StateUnknownError(Exception):
    """A command could not be run, or did not print what was expected."""


def ask(own: Settings, command: str) -> Any:
    """Return what a command of deploy/operate.py prints; raise StateUnknownError."""
    python = REPOSITORY / ".venv" / "bin" / "python"
    try:
        finished = subprocess.run(  # noqa: S603  our own script
            [python, REPOSITORY / "deploy" / "operate.py", command],
            env=dict(own.environment),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=True,
        )
        return json.loads(finished.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as fault:
        raise StateUnknownError(str(getattr(fault, "stderr", "") or fault).strip()) from fault
