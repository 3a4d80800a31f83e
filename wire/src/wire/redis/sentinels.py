"""The way to a Redis whose Sentinels know where its primary is; imported only where there are such."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from wire.process.fork import renew_after_fork
from wire.redis.address import Address, Place, Sentinels
from wire.redis.faults import RedisRefusal, unavailable
from wire.redis.link import Link
from wire.redis.loop import Loop
from wire.redis.resp import pack
from wire.redis.route import Route

# In normal operation; opening a connection queries all of them immediately.
ASK_EVERY_S: Final = 1.0
ANSWER_WITHIN_S: Final = 1.0
# A Sentinel that is away is not waited for where the others are there.
GRACE_S: Final = 0.2
# Seconds that the previous reply of a Sentinel counts against the others.
KEPT_S: Final = 5.0
# A primary that does not answer is queried again after this, since another may have taken its place.
CONNECT_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Report:
    """What a Sentinel answered to a question of a moment (monotonic): the primary, of which epoch, or why not."""

    asked_at: float
    place: Place | None = None
    epoch: int = -1
    fault: str = ""


class SentinelRoute(Route):
    """Leads to the primary that the Sentinels name; where they differ, to the one of the highest epoch.

    A thread for each Sentinel queries it periodically. When another primary is named, the connections to the one before
    end.
    """

    def __init__(self, address: Address, sentinels: Sentinels) -> None:
        super().__init__(address)
        self._sentinels = sentinels
        self.renew()
        renew_after_fork(self)

    def renew(self) -> None:
        """Reset the state in a forked child."""
        self._changed = threading.Condition()
        self._reports: dict[Place, Report] = {}
        self._named: Place | None = None
        self._wanted_until = -math.inf
        self._asks = _asks(self._address, self._sentinels)
        self._loops = [Loop("sentinel", partial(self._step, ask), ASK_EVERY_S) for ask in self._asks]

    def open(self, name: str, until: float) -> Link:
        """Connect to the primary before `until` (monotonic) under this name; raise OSError or RedisRefusal."""
        link = super().open(name, min(until, time.monotonic() + CONNECT_S))
        if self._named not in {None, link.place}:
            # One that stood still since before it was replaced, and answers as if nothing had been.
            link.close()
            raise ConnectionError(f"{link.place} has been replaced as the primary")
        return link

    def place(self, until: float) -> Place:
        """Have all Sentinels asked and return where the primary is; raise OSError."""
        begin = time.monotonic()
        self._wanted_until = max(until, self._wanted_until)
        for loop in self._loops:
            loop.start()
            loop.hurry()
        with self._changed:
            while not self._is_known(begin) and (left_s := until - time.monotonic()) > 0:
                self._changed.wait(min(left_s, GRACE_S))
            reports = [each for each in self._reports.values() if each.asked_at >= begin]
        named = _best(reports)
        if named is None:
            faults = "; ".join(sorted({each.fault for each in reports})) or "none has answered in time"
            raise ConnectionError(f"no Sentinel names the primary: {faults}")
        return named

    def leave(self, place: Place, fault: BaseException) -> None:
        """Note a failed command at an address; the Sentinels are queried before each connection anyway."""

    def _is_known(self, begin: float) -> bool:
        """Return whether all have answered since then, or most of them and the others had their time."""
        fresh = [each for each in self._reports.values() if each.asked_at >= begin]
        named = [each for each in fresh if each.place is not None]
        is_late = time.monotonic() - begin >= GRACE_S
        return len(fresh) == len(self._asks) or (is_late and 2 * len(named) > len(self._asks))

    def _step(self, ask: _Ask) -> None:
        asked_at = time.monotonic()
        if asked_at > self._wanted_until and not any(link.is_open for link in list(self._links)):
            ask.close()  # nothing is connected, and nothing wants to be
            return
        try:
            report = Report(asked_at, *ask.primary())
        except (OSError, RedisRefusal, LookupError) as error:
            self._note(ask, Report(asked_at, fault=str(error)))
            raise unavailable(f"Sentinel {ask.place}", error) from error
        self._note(ask, report)

    def _note(self, ask: _Ask, report: Report) -> None:
        with self._changed:
            self._reports[ask.place] = report
            kept = [each for each in self._reports.values() if report.asked_at - each.asked_at < KEPT_S]
            named = _best(kept)
            is_other = named not in {None, self._named}
            self._named = named or self._named
            self._changed.notify_all()
        if is_other:
            self.end_links(lambda link: link.place != named)


class _Ask:
    """Queries one Sentinel, over a connection that is kept."""

    def __init__(self, address: Address, name: str) -> None:
        self.place = address.places[0]
        self._address = address
        self._name = name
        self._link: Link | None = None
        # The epoch is that of the last failover which this Sentinel knows of.
        self._packet = pack("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name) + pack("SENTINEL", "MASTER", name)

    def primary(self) -> tuple[Place, int]:
        """Return where the primary is, and the epoch of that; raise OSError, RedisRefusal or LookupError."""
        until = time.monotonic() + ANSWER_WITHIN_S
        try:
            self._link = link = self._link or Link(self._address, self.place, "sightline-sentinel", until)
            link.send(self._packet, until - time.monotonic())
            place, facts = link.read(until), link.read(until)
        except BaseException:
            self.close()
            raise
        return self._read(place, facts)

    def _read(self, place: Any, facts: Any) -> tuple[Place, int]:
        if place is None or (isinstance(facts, RedisRefusal) and "No such" in str(facts)):
            raise LookupError(f"the Sentinel at {self.place} knows no primary {self._name!r}")
        for reply in (place, facts):
            if isinstance(reply, RedisRefusal):
                raise reply
        host, port = place
        epoch = dict(zip(facts[::2], facts[1::2], strict=True))[b"config-epoch"]
        return Place(host.decode(), int(port)), int(epoch)

    def close(self) -> None:
        """Close the connection; the next question opens another."""
        link, self._link = self._link, None
        if link is not None:
            link.close()


def ask_each(address: Address) -> list[tuple[Place, Report]]:
    """Ask each Sentinel of an address once; return what it answered, or why it did not."""
    found = []
    for ask in () if address.sentinels is None else _asks(address, address.sentinels):
        asked_at = time.monotonic()
        try:
            found.append((ask.place, Report(asked_at, *ask.primary())))
        except (OSError, RedisRefusal, LookupError) as error:
            found.append((ask.place, Report(asked_at, fault=str(error))))
        ask.close()
    return found


def _asks(address: Address, sentinels: Sentinels) -> list[_Ask]:
    own = replace(address, db=0, sentinels=None, username=sentinels.username, password=sentinels.password)
    return [_Ask(replace(own, host=place.host, port=place.port), sentinels.name) for place in sentinels.places]


def _best(reports: list[Report]) -> Place | None:
    """Return the primary of the highest epoch; of several, as before the first failover, the one that most name."""
    counts = Counter((each.epoch, each.place) for each in reports if each.place is not None)
    best = max(counts, key=lambda each: (each[0], counts[each]), default=(0, None))
    return best[1]
