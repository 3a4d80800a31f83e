"""Runs an operator's command on the folders and the queue of `make serve`: `operate.py models list`.

It uses the same settings as `make serve`, and the folder that it is called from.
"""

import argparse
import os
import sys
from typing import NoReturn

from launcher import programs, settings, state
from launcher.errors import LauncherError
from wire import __version__

# The import root and the package of each command.
COMMANDS = dict.fromkeys(
    (
        "models",
        "labels",
        "improve",
        "evaluate",
        "export",
        "erase",
        "suggest",
        "dead_letters",
        "queue_state",
        "store_state",
        "classify_files",
    ),
    ("model", "cli"),
) | dict.fromkeys(
    ("clean_uploads", "image_expiry", "index_reports", "manage_keys", "feedback", "migrate"), ("api", "commands")
)


def main(arguments: list[str]) -> NoReturn:
    """Become the command."""
    options = _parser().parse_args(arguments[:1])
    try:
        told = settings.read()
        environment = programs.environment_of(told)
    except LauncherError as fault:
        sys.exit(f"sightline: {fault}")
    root, package = COMMANDS[options.command]
    environment["PYTHONPATH"] = str(settings.REPOSITORY / root)
    # No command needs these, and they are made at the first start of the service only.
    for name in ("SECRET_KEY_FILE", "OPERATOR_KEY_FILE"):
        environment.pop(name, None)
    if options.command == "manage_keys":
        environment.setdefault("API_KEYS_FILE", str(told.state_dir / state.API_KEYS))
    # More threads of NumPy's spin while the workers have the cores: up to seven times the processor time for one fit.
    environment.setdefault("OPENBLAS_NUM_THREADS", "1")
    # -P: do not import from the caller's folder.
    command = [sys.executable, "-P", "-m", f"{package}.{options.command}", *arguments[1:]]
    os.execve(sys.executable, command, environment)  # noqa: S606  as a shell would


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Runs a command of model/ or api/, which has --help of its own.")
    parser.add_argument("--version", action="version", version=f"sightline {__version__}")
    parser.add_argument("command", choices=COMMANDS)
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
