"""Where a checkout of Sightline is, and how its own scripts are run: `models` and most of `doctor` are theirs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

OPERATE, EXAMINE = Path("deploy", "operate.py"), Path("deploy", "examine.py")
# client/src/sightline/checkout.py: the checkout that this was installed from, unless it is a copy.
INSTALLED_FROM = Path(__file__).resolve().parents[3]


class NoCheckoutError(Exception):
    """The command needs a checkout, and there is none here."""


def find(working_folder: Path) -> Path | None:
    """Return the checkout that this was installed from, else the one that we stand in."""
    return next((folder for folder in _candidates(working_folder) if (folder / OPERATE).is_file()), None)


def run_models(arguments: Sequence[str]) -> NoReturn:
    """Replace this process by the checkout's command; raise NoCheckoutError if it is missing."""
    other = "with Docker run `docker-compose run --rm operator python -m cli.models list` in the folder of its "
    words = command("models", "`models`", arguments or ["list"], f", or {other}docker-compose.yml")
    os.execv(words[0], words)  # noqa: S606  a shell's way


def command(name: str, what: str, arguments: Sequence[str], otherwise: str = "") -> list[str]:
    """Return the words that run an operator's command in the checkout's environment.

    Raise NoCheckoutError where there is none: its message names `what`, and what may be done `otherwise`.
    """
    folder = find(Path.cwd())
    if folder is None:
        raise NoCheckoutError(
            f"{what} runs scripts of a checkout of Sightline. This command was installed from a copy, and "
            f"{Path.cwd()} is in no checkout: go into one{otherwise}"
        )
    python = folder / ".venv" / "bin" / "python"
    if not os.access(python, os.X_OK):
        raise NoCheckoutError(f"{folder} is not set up, {python} is missing: run `make install` in it")
    return [str(python), str(folder / OPERATE), name, *arguments]


def run_doctor(folder: Path, url: str, key: str) -> NoReturn:
    """Become the checkout's own examination, which ends with that of the service."""
    python = folder / ".venv" / "bin" / "python"
    interpreter = str(python) if os.access(python, os.X_OK) else sys.executable
    # Not among the words, which everyone on the machine can read.
    told = {**os.environ, "SIGHTLINE_KEY": key}
    named = ["--url", url] if url else []
    os.execve(interpreter, [interpreter, str(folder / EXAMINE), *named], told)  # noqa: S606


def _candidates(working_folder: Path) -> Iterator[Path]:
    yield INSTALLED_FROM
    yield working_folder
    yield from working_folder.parents
