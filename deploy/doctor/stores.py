"""What hosts share in addition to the queue: object storage, the database of the reports, and Sentinels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from doctor import state_commands
from doctor.state_commands import StateUnknownError
from launcher.settings import Settings
from sightline.findings import Finding, bad, good, warning

# The settings that name such a store; a URL of Redis does where it has Sentinels.
NAMED_BY = ("IMAGE_STORE", "MODEL_STORE", "DATABASE_URL", "DATABASE_URL_FILE")
State = Mapping[str, str]

_OF_DATABASE = "start it, or correct DATABASE_URL; libpq's own variables (PGSSLMODE and others) count, too"
_OF_S3 = "see the server's log; check S3_ENDPOINT, S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY"
# By the kind of the error, which is the name of its class in storage/.
_REMEDIES = {
    "SchemaMismatch": "make migrate, unless a newer version has done so: then run that one",
    "StorageFull": "remove what is not needed there, or raise the quota",
    "ImportError": "python deploy/install.py postgres s3 installs the clients",
    "ModuleNotFoundError": "python deploy/install.py postgres s3 installs the clients",
    "skew": "images are refused from 15 minutes on: run chrony here and there (`chronyc tracking`)",
}


def are_named(own: Settings) -> bool:
    """Return whether the settings name a store that hosts share."""
    return "+sentinel:" in own.redis_url or any(own.environment.get(name, "").strip() for name in NAMED_BY)


def findings(own: Settings) -> Iterator[Finding]:
    """Yield what is known of each."""
    try:
        states = state_commands.ask(own, "store_state")
    except StateUnknownError as fault:
        yield bad("stores", f"could not be asked: {fault}", "make install")
        return
    yield from judged(states)


def judged(states: Sequence[State]) -> Iterator[Finding]:
    """Yield a finding for each store, and one for all Sentinels."""
    for state in states:
        if state["subject"] != "sentinel":
            yield _of_store(state)
    if sentinels := [state for state in states if state["subject"] == "sentinel"]:
        yield _of_sentinels(sentinels)


def _of_store(state: State) -> Finding:
    subject, fault = state["subject"], state.get("fault", "")
    if not fault and not state["said"]:
        remedy = "`make image-expiry` sets one, for KEEP_UPLOADS_DAYS"
        return warning(subject, "no rule of the bucket removes images: it grows for ever", remedy)
    if not fault:
        return good(subject, state["said"])
    remedy = _REMEDIES.get(state["kind"], _OF_DATABASE if subject == "database" else _OF_S3)
    if state.get("advice"):
        remedy = _REMEDIES["skew"]
    is_minor = state["kind"] == "skew" or subject == "image expiry"
    return warning(subject, fault, remedy) if is_minor else bad(subject, fault, remedy)


def _of_sentinels(states: Sequence[State]) -> Finding:
    named = [state for state in states if "fault" not in state]
    lost = "; ".join(f"{state['place']}: {state['fault']}" for state in states if "fault" in state)
    count = f"{len(named)} of {len(states)} answer"
    if 2 * len(named) <= len(states):
        return bad("Sentinels", f"{count}, too few to replace a primary: {lost}", "start them; REDIS_URL names them")
    if len({state["said"] for state in named}) > 1:
        differ = ", ".join(f"{state['place']} names {state['said']}" for state in named)
        remedy = (
            "during a failover they differ for seconds; else their configuration does, or they do not see each other"
        )
        return warning("Sentinels", f"{count} and differ: {differ}", remedy)
    if lost:
        return warning("Sentinels", f"{count}: {lost}", "start it: one more that is lost, and no primary is replaced")
    return good("Sentinels", f"{count}; the primary is {named[0]['said']}")
