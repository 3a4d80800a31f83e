"""One run: Locust and the service, and a row of figures from the records of both."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.settings import ROOT, environment_with

from stress_test.errors import StressError
from stress_test.plan import USERS_OF_EACH_PLACE, Cell
from stress_test.record import faults, figures
from stress_test.sampling import Sampler, scrape, summarise
from stress_test.targets import WORKSPACE, Target

LOCUSTFILE = ROOT / "stress_test" / "locustfile.py"
# Longer than a request may take (network_timeout of locustfile.py): none is cut off unseen.
STOP_TIMEOUT_S = 35
# Beyond its run and its last requests: to start and to end.
LOCUST_GRACE_S = 180
LEARNING_USERS, LEARNING_SECONDS = 32, 6.0
RECOVERY_USERS, RECOVERY_SECONDS = 8, 10.0
Row = dict[str, Any]


def carry_out(cell: Cell, target: Target, warm_up: float, most_users: int) -> Row:
    """Return the figures of one run."""
    target.clear_uploads()
    row: Row = {"experiment": cell.experiment, **asdict(cell.setup), "seconds": cell.seconds}
    if cell.users:
        return row | _measured(target, cell.users, cell.seconds, warm_up, cell.behaviour)
    return row | _overloaded(cell, target, most_users)


def _overloaded(cell: Cell, target: Target, most_users: int) -> Row:
    """Let the service learn how fast it is, ask far more of it than that, and look whether it comes back."""
    _measured(target, LEARNING_USERS, LEARNING_SECONDS, 0.0, cell.behaviour)
    bound = scrape(f"{target.url}/metrics").get("sightline_queue_bound")
    if bound is None:
        raise StressError(f"{target.url}/metrics does not contain the queue's bound")
    users = min(most_users, round(bound * USERS_OF_EACH_PLACE))
    row = _measured(target, users, cell.seconds, 0.0, cell.behaviour)
    after = _measured(target, RECOVERY_USERS, RECOVERY_SECONDS, 0.0, cell.behaviour)
    return row | {"bound": bound, "recovery": {"users": RECOVERY_USERS, **after["requests"], "faults": after["faults"]}}


def _measured(target: Target, users: int, seconds: float, warm_up: float, behaviour: tuple[str, ...]) -> Row:
    record = WORKSPACE / "record.json"
    record.unlink(missing_ok=True)
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--host", target.url, "--headless"]
    command += ["--users", str(users), "--spawn-rate", str(users), "--run-time", f"{warm_up + seconds:g}s"]
    command += ["--stop-timeout", str(STOP_TIMEOUT_S), "--only-summary", "--exit-code-on-error", "0"]
    command += ["--warm-up", f"{warm_up:g}", "--record", str(record), *behaviour]
    with (WORKSPACE / "locust.log").open("wb") as log:
        locust = subprocess.Popen(command, cwd=ROOT, env=environment_with({}), stdout=log, stderr=subprocess.STDOUT)
        with Sampler(target, locust.pid) as sampler:
            try:
                locust.wait(timeout=warm_up + seconds + STOP_TIMEOUT_S + LOCUST_GRACE_S)
            finally:
                if locust.poll() is None:
                    locust.kill()
                    locust.wait()
    if not record.exists():
        raise StressError(f"Locust left no record; see {_shown(WORKSPACE / 'locust.log')}")
    return _row(users, json.loads(record.read_text("utf-8")), sampler)


def _row(users: int, document: Row, sampler: Sampler) -> Row:
    requests, begin, end = document["requests"], document["begin"], document["end"]
    names = sorted({request[1] for request in requests})
    took = end - begin
    if not requests or took <= 0:
        raise StressError(f"no request was made after the warm-up; see {_shown(WORKSPACE / 'locust.log')}")
    return {
        "users": users,
        "measured_s": round(took, 2),
        "all": asdict(figures(requests, took)),
        "requests": {name: asdict(figures((r for r in requests if r[1] == name), took)) for name in names},
        "faults": faults(requests),
        **summarise(sampler.samples, begin, end),
    }


def _shown(path: Path) -> Path:
    return path.relative_to(ROOT)
