"""What a service is like from outside: whether it answers, what serves, how fast, and whether the clocks agree."""

from __future__ import annotations

import time
from collections.abc import Iterator

from sightline.client import Client, Refused, ServiceError, Unreachable
from sightline.findings import Finding, bad, good, warning

SUBJECTS = ("answers", "workers", "an image", "clock")
MAX_SKEW_S = 5.0


def of_service(client: Client) -> Iterator[Finding]:
    """Ask what a client would, until something does not work."""
    try:
        ahead_s = client.clock_ahead_s()
        yield good("answers", client.url)
        yield from _able(client)
    except Unreachable as fault:
        yield bad("answers", str(fault), "start it (`make serve`), or name its address with --url")
    except Refused as refusal:
        yield bad("workers", f"no image would be answered ({refusal.code}): {refusal}", _remedy(refusal))
    except ServiceError as error:
        yield bad("an image", f"refused ({error.code}): {error}", _remedy(error))
    else:
        yield _clock(ahead_s)


def _able(client: Client) -> Iterator[Finding]:
    state = client.ready()
    count = int(state.get("workers", 0))
    yield good("workers", f"{count} {'serves' if count == 1 else 'serve'} {state.get('model_version')}")
    begin = time.perf_counter()
    found = client.classify(_dot())
    took_ms = (time.perf_counter() - begin) * 1000
    yield good("an image", f"of one dot is taken for {found.label!r} by {found.model_version}, in {took_ms:.0f} ms")


def _clock(ahead_s: float | None) -> Finding:
    if ahead_s is None:
        return warning("clock", "the service's answer has no Date", "is this address that of a Sightline service?")
    if abs(ahead_s) <= MAX_SKEW_S:
        return good("clock", "the service's and this machine's agree")
    said = f"the service's is {abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} this machine's"
    return warning("clock", said, "have both keep time (timedatectl set-ntp true): reports and logs are dated by it")


def _remedy(error: ServiceError) -> str:
    if error.status in {401, 403}:
        return "name an API key with --key or SIGHTLINE_KEY; `make api-keys` makes one"
    if error.status == 404:
        return "is this address that of a Sightline service? --url names another"
    if isinstance(error, Refused):
        return f"see the workers' log; retry in {error.retry_after_s:g} s"
    return "see the log of the API"


def _dot() -> bytes:
    """Return the smallest image: one white dot, as GIF."""
    return bytes.fromhex("47494638396101000100800000ffffff00000021f90401000000002c00000000010001000002024401003b")
