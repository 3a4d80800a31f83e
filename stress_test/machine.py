"""What the figures depend on: the machine, the versions, the commit."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from benchmarks.results import describe_machine

PACKAGES = ("locust", "openvino", "flask", "gunicorn", "gevent", "redis")
PROGRAMS = {"Docker": ("docker", "--version"), "docker-compose": ("docker-compose", "version", "--short")}


def facts() -> dict[str, Any]:
    """Return the facts about the machine by name, in the order of the report."""
    programs = {name: said for name, command in PROGRAMS.items() if (said := _said(command))}
    return {
        **describe_machine(),
        "GPU": _said(("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")) or "none",
        "system": platform.platform(),
        "Python": platform.python_version(),
        **{name: found for name in PACKAGES if (found := _version(name))},
        **programs,
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _said(command: tuple[str, ...]) -> str:
    try:
        finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = finished.stdout.strip().splitlines()
    return lines[0].strip() if finished.returncode == 0 and lines else ""
