"""The folder in which the api's processes count together: made before the first of them, gone after the last."""

import os
import shutil
import tempfile
from pathlib import Path

PREFIX = "sightline-metrics-"


def make(parent: str | None) -> str:
    """Make the folder of this process and its children; what killed ones have left behind goes."""
    place = Path(parent or tempfile.gettempdir())
    for other in place.glob(f"{PREFIX}*-*"):
        pid = other.name.removeprefix(PREFIX).partition("-")[0]
        if pid.isdecimal() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(other, ignore_errors=True)
    return tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=place)


def remove(folder: str) -> None:
    """Remove the folder and every count in it."""
    shutil.rmtree(folder, ignore_errors=True)
