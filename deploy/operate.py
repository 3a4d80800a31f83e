"""Runs an operator's command on the folders and the queue of `make serve`: `operate.py models list`.

It uses the same settings as `make serve`, and the folder that it is called from.
"""

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

from launcher import programs, settings, state
from launcher.errors import LauncherError
from launcher.supervision import prepare_child
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

# Those that compute for long, and lower their priority.
LOW_PRIORITY = frozenset({"models", "improve", "evaluate", "suggest"})
SHARES_BY_SESSION = Path("/proc/sys/kernel/sched_autogroup_enabled")
# A terminal sends them to the command's process group, or would; and service managers do.
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(arguments: list[str]) -> NoReturn:
    """Become the command, or run it where its priority needs a session."""
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
    if options.command in LOW_PRIORITY and shares_by_session():
        sys.exit(run_in_session(command, environment))
    os.execve(sys.executable, command, environment)  # noqa: S606  as a shell would


def shares_by_session() -> bool:
    """Return whether the system gives each session the same share of the processor, unless it gives its share away."""
    try:
        return SHARES_BY_SESSION.read_text(encoding="ascii").strip() != "0"
    except OSError:
        return False


def run_in_session(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a command in a session of its own, whose priority it can lower; return the exit status that a shell gives.

    The session of a terminal has one share with all its programs, and would keep a lower priority after the command.
    Signals are passed on, and the command ends with this process.
    """
    usual = signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
    process = subprocess.Popen(  # noqa: S603  a command of COMMANDS
        command,
        env=environment,
        start_new_session=True,
        preexec_fn=partial(prepare_child, os.getpid(), niceness=0),  # noqa: PLW1509  safe: there is one thread
    )
    for number in PASSED_ON:
        signal.signal(number, lambda received, _: process.send_signal(received))
    signal.pthread_sigmask(signal.SIG_SETMASK, usual)
    status = process.wait()
    return status if status >= 0 else 128 - status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Runs a command of model/ or api/, which has --help of its own.")
    parser.add_argument("--version", action="version", version=f"sightline {__version__}")
    parser.add_argument("command", choices=COMMANDS)
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
