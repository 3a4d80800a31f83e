"""Where an operator's commands find pictures and reports."""

from pathlib import Path

import settings

STATE = Path(__file__).resolve().parents[2] / "var"


def uploads_folder() -> Path:
    """UPLOAD_FOLDER; where that is not there, the folder of `make serve`."""
    return _first_that_is_there(Path(settings.UPLOAD_FOLDER), STATE / "uploads")


def feedback_folder() -> Path:
    """The folder that FEEDBACK_FILEPATH is in; where that is not there, the one of `make serve`."""
    return _first_that_is_there(Path(settings.FEEDBACK_FILEPATH).parent, STATE / "feedback")


def _first_that_is_there(*folders: Path) -> Path:
    return next((folder for folder in folders if folder.is_dir()), folders[0])
