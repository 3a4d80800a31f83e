"""`make serve`: run the service until Ctrl-C, and say when and where it answers."""

import argparse
import sys
import time
from pathlib import Path

from launcher import output, ports, programs, readiness, settings, state
from launcher.errors import LauncherError, StateInUseError
from launcher.output import say
from launcher.service_manager import ServiceManager
from launcher.supervision import Supervisor
from wire import __version__
from wire.process import unknown_settings

ASK_EVERY_S = 0.1
REMIND_EVERY_S = 15.0


class Announcement:
    """Reports once that the service is ready; until then, periodically, what it waits for."""

    def __init__(self, told: settings.Settings, access: str, manager: ServiceManager) -> None:
        self._host, self._port = told.host, told.port
        self._address = readiness.base_url(told.host, told.port) + told.script_name
        self._manager = manager
        self._access = access
        self._remind_at = time.monotonic() + REMIND_EVERY_S
        self._is_ready = False

    def tick(self) -> float | None:
        """Ask the service; return in how many seconds to call this again, None when there is nothing more to say."""
        every_s = self._manager.every_s
        if every_s is not None:
            self._manager.alive()
        if self._is_ready:
            return every_s
        lacking = readiness.missing(self._host, self._port)
        if lacking is None:
            self._is_ready = True
            say(f"ready: {self._address}  (Ctrl-C stops it)")
            say(self._access)
            self._manager.ready(f"serving at {self._address}")
            return every_s
        if time.monotonic() > self._remind_at:
            self._remind_at = time.monotonic() + REMIND_EVERY_S
            say(f"not ready yet: {lacking}")
            self._manager.waiting(f"not ready yet: {lacking}")
        return ASK_EVERY_S


def serve() -> None:
    """Run the service; returns after a stop signal, when every process of it has ended."""
    told = settings.read()
    output.choose(told.log_format)
    for warning in unknown_settings.warnings(told.environment):
        say(f"warning: {warning}", "WARNING")
    state.make_folders(told.state_dir)
    try:
        lock = state.take(told.state_dir)
    except StateInUseError:
        ports.listen(told.host, told.port).close()  # most often the port is taken too; that message names the process
        raise
    listener = ports.listen(told.host, told.port)
    state.secret_file(told.state_dir, state.SECRET_KEY)
    state.secret_file(told.state_dir, state.OPERATOR_KEY)
    stages = programs.stages(told, listener.fileno())
    programs.check(told, stages)
    supervisor = Supervisor(stages, say, pass_fds=[lock])
    manager = ServiceManager(told.environment)

    def stop() -> None:
        listener.close()  # clients must not wait for an API that does not return
        manager.stopping()

    supervisor.run(Announcement(told, access_of_operator(told), manager).tick, at_stop=stop)
    say("stopped")


def access_of_operator(told: settings.Settings) -> str:
    """Return the line about the operator key; it contains the key only on a terminal, since logs are stored."""
    purpose = "Operator key (for /review and other admin endpoints)"
    if told.environment.get("OPERATOR_KEY"):
        return f"{purpose}: as set in OPERATOR_KEY"
    path = Path(programs.environment_of(told)["OPERATOR_KEY_FILE"])
    return f"{purpose}: {path.read_text().strip()}" if output.is_private() else f"{purpose}: see {path}"


def main() -> int:
    """Run the service; if it cannot start, print one line and return 1."""
    parser = argparse.ArgumentParser(prog="launcher", description="Run the whole service until Ctrl-C.")
    parser.add_argument("--version", action="version", version=f"sightline {__version__}")
    parser.parse_args()
    try:
        serve()
    except LauncherError as error:
        say(str(error), "ERROR")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
