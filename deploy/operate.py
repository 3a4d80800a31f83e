"""Runs an operator's command of model/ on the folders and the queue of `make serve`: `operate.py models list`.

It sees the same settings as `make serve`, and the folder that it is called from.
"""

import argparse
import os
import sys
from typing import NoReturn

from launcher import programs, settings
from launcher.errors import LauncherError
from wire import __version__

COMMANDS = ("models", "improve", "evaluate", "export", "dead_letters", "queue_state")


def main(arguments: list[str]) -> NoReturn:
    """Become the command."""
    options = _parser().parse_args(arguments[:1])
    try:
        environment = programs.environment_of(settings.read())
    except LauncherError as fault:
        sys.exit(f"sightline: {fault}")
    environment["PYTHONPATH"] = str(settings.REPOSITORY / "model")
    # More threads of NumPy's spin while the workers have the cores: up to seven times the processor time for one fit.
    environment.setdefault("OPENBLAS_NUM_THREADS", "1")
    # -P: the folder of whoever calls is no place to import from.
    command = [sys.executable, "-P", "-m", f"cli.{options.command}", *arguments[1:]]
    os.execve(sys.executable, command, environment)  # noqa: S606  as a shell would


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Runs a command of model/, which has --help of its own.")
    parser.add_argument("--version", action="version", version=f"sightline {__version__}")
    parser.add_argument("command", choices=COMMANDS)
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
