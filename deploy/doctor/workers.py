"""The workers and their engine as the queue knows them: read by a command of model/, which connects to Redis."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from doctor import bundles, state_commands
from doctor.state_commands import StateUnknownError
from launcher.settings import Settings
from sightline.findings import Finding, bad, good, warning

# As long as a request waits for its answer.
LONGEST_WAIT_S = 5.0


def findings(own: Settings) -> Iterator[Finding]:
    """Yield Redis, the workers, their versions and engine, and what waits."""
    try:
        look = state_commands.ask(own, "queue_state")
    except StateUnknownError as fault:
        yield bad("queue", f"could not be asked: {fault}", "make install")
        return
    if "fault" in look:
        yield bad(
            "Redis",
            look["fault"],
            "var/run/redis.log, or the log of the server that REDIS_URL or REDIS_IP names, has more",
        )
        return
    yield from judged(look, bundles.wanted(own), own.model_workers, has_trainer=own.trainer)


def judged(look: dict[str, Any], active: str, wanted: int, *, has_trainer: bool) -> Iterator[Finding]:
    """Yield findings on the queue, where this version is active and so many workers are configured."""
    yield good("Redis", "answers")
    workers = look["workers"]
    if not workers:
        why = look["startup_error"] or "no heartbeat for three seconds"
        yield bad("workers", f"none: {why}", "their log has more; `make serve` starts them again each time")
    elif len(workers) < wanted:
        yield warning("workers", f"{len(workers)} of {wanted} live", "see the others' log")
    else:
        yield good("workers", f"{len(workers)} live")
    yield from _versions(workers, active)
    engine = look["engine"]
    advice = f" ({engine['advice']})" if engine["advice"] else ""
    yield good("engine", f"{engine['engine']}: {engine['reason']}{advice}")
    yield _queue(look["depth"], look["oldest_age_s"])
    yield _trainer(look["orders"], is_wanted=has_trainer)


def _trainer(orders: dict[str, Any], *, is_wanted: bool) -> Finding:
    """Return whether a trainer runs the orders of /teach, /operate and /review."""
    waiting = orders["waiting"]
    waits = f"{waiting} {'order waits' if waiting == 1 else 'orders wait'}"
    if orders["has_trainer"]:
        return good("trainer", f"runs; {waits}" if waiting else "runs")
    remedy = "`make serve` starts one unless TRAINER=0 is set; docker-compose has the service `trainer`"
    if waiting:
        return bad("trainer", f"none runs, and {waits} for one", remedy)
    if is_wanted:
        return warning("trainer", "none runs; what is ordered on /teach would wait", remedy)
    return good("trainer", "none, because of TRAINER=0")


def _versions(workers: list[dict[str, str]], active: str) -> Iterator[Finding]:
    served = {each["served"] for each in workers}
    if served - {active} and len(served) == 1 and active:
        [other] = served
        remedy = "MODEL_BUNDLE fixes the version, or the active one cannot be loaded: see the workers' log"
        yield warning("worker versions", f"all serve {other}, but {active} is active", remedy)
    elif len(served) > 1:
        each = ", ".join(f"{worker['id']} serves {worker['served']}" for worker in workers)
        remedy = f"workers change within seconds of a promotion; one that stays cannot load {active}: see its log"
        yield bad("worker versions", f"not equal: {each}", remedy)
    elif served:
        yield good("worker versions", f"all {served.pop()}")


def _queue(depth: int, oldest_age_s: float) -> Finding:
    if not depth:
        return good("queue", "empty")
    said = f"{depth} {'job' if depth == 1 else 'jobs'}, the oldest for {oldest_age_s:.1f} s"
    if oldest_age_s > LONGEST_WAIT_S:
        return bad("queue", said, "the workers hang or are too few: see their log, or set MODEL_WORKERS higher")
    return good("queue", said)
