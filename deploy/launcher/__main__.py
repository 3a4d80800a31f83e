"""`make serve`: run the service until Ctrl-C, and say when and where it answers."""

import argparse
import contextlib
import sys
import time

from launcher import ports, programs, readiness, settings, state
from launcher.errors import LauncherError, StateInUseError
from launcher.supervision import Supervisor
from wire import __version__

ASK_EVERY_S = 0.1
REMIND_EVERY_S = 15.0


class Announcement:
    """Says once that the service is ready; until then, from time to time, what it waits for."""

    def __init__(self, host: str, port: int, operator_key: str) -> None:
        self._host = host
        self._operator_key = operator_key
        self._port = port
        self._remind_at = time.monotonic() + REMIND_EVERY_S
        self._is_ready = False

    def tick(self) -> float | None:
        """Ask the service; return in how many seconds to ask again, None when there is nothing more to say."""
        if self._is_ready:
            return None
        lacking = readiness.missing(self._host, self._port)
        if lacking is None:
            self._is_ready = True
            say(f"ready: {readiness.base_url(self._host, self._port)}  (Ctrl-C stops it)")
            say(f"the operator's key, for /review and what else nobody may do: {self._operator_key}")
            return None
        if time.monotonic() > self._remind_at:
            self._remind_at = time.monotonic() + REMIND_EVERY_S
            say(f"not ready yet: {lacking}")
        return ASK_EVERY_S


def say(text: str) -> None:
    """Print a line of the launcher's own; where the log's disk is full, the service matters more."""
    with contextlib.suppress(OSError):
        print(f"sightline: {text}", flush=True)  # noqa: T201 - what the user reads


def serve() -> None:
    """Run the service; returns after a stop signal, when every process of it has ended."""
    told = settings.read()
    state.make_folders(told.state_dir)
    try:
        lock = state.take(told.state_dir)
    except StateInUseError:
        ports.listen(told.host, told.port).close()  # most often the port is taken too; that message says by what
        raise
    listener = ports.listen(told.host, told.port)
    state.secret_file(told.state_dir, state.SECRET_KEY)
    made = state.secret_file(told.state_dir, state.OPERATOR_KEY).read_text()
    operator_key = told.environment.get("OPERATOR_KEY") or made
    stages = programs.stages(told, listener.fileno())
    programs.check(stages)
    supervisor = Supervisor(stages, say, pass_fds=[lock])
    # From the stop on, nobody shall wait for an api that is not coming back.
    supervisor.run(Announcement(told.host, told.port, operator_key).tick, at_stop=listener.close)
    say("stopped")


def main() -> int:
    """Run the service; a reason not to start is one line and exit status 1."""
    parser = argparse.ArgumentParser(prog="launcher", description="Runs the whole service until Ctrl-C.")
    parser.add_argument("--version", action="version", version=f"sightline {__version__}")
    parser.parse_args()
    try:
        serve()
    except LauncherError as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
