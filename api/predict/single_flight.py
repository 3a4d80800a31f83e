"""Single flight: equal questions at the same time are asked once, and all get that answer. No HTTP, no Redis."""

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from wire import WireError
from wire.errors import Abandoned, DeadlineExceeded

# How often a follower checks whether its client is still there.
ABANDONED_EVERY_S = 0.1

Answer = TypeVar("Answer")
IsAbandoned = Callable[[], bool]
# Called with a deadline (monotonic) and what returns whether nobody waits any more.
Ask = Callable[[float, IsAbandoned | None], Answer]


@dataclass(eq=False, slots=True)
class _Flight(Generic[Answer]):
    """One question under way; it ends with an answer, a failure, or neither where its leader alone gave up.

    Each follower waits for an event of its own. Of several that wait for one, with time-outs, gevent (26.9.0) forgets
    some for ever: one whose time-out meets the event being set, and who waits again while another's does the same.
    """

    followers: list[threading.Event] = field(default_factory=list)
    answer: Answer | None = None
    failure: WireError | None = None


class SingleFlight(Generic[Answer]):
    """The questions under way in this process, each asked once."""

    def __init__(self) -> None:
        self._flights: dict[Hashable, _Flight[Answer]] = {}
        self._lock = threading.Lock()

    def followers(self) -> int:
        """Return how many callers wait for the answer to another one's question."""
        return sum(len(flight.followers) for flight in self._flights.values())

    def share(
        self, question: Hashable, until: float, is_abandoned: IsAbandoned | None, ask: Ask[Answer]
    ) -> tuple[Answer, bool]:
        """Return the answer, and whether another caller asked for it; wait until `until` (monotonic) at most.

        What `ask` raises is raised for every caller, except for what concerns only the one who asked: its deadline, or
        its client going away. Then another caller asks.
        """
        while True:
            with self._lock:
                flight = self._flights.get(question)
                is_leader = flight is None
                if flight is None:
                    flight = self._flights[question] = _Flight()
                else:
                    flight.followers.append(landed := threading.Event())
            if is_leader:
                return self._lead(question, flight, until, is_abandoned, ask), False
            self._follow(flight, landed, until, is_abandoned)
            if flight.failure is not None:
                raise _copy(flight.failure)
            if flight.answer is not None:
                return flight.answer, True

    def _lead(
        self,
        question: Hashable,
        flight: _Flight[Answer],
        until: float,
        is_abandoned: IsAbandoned | None,
        ask: Ask[Answer],
    ) -> Answer:
        # The job goes on for as long as anybody waits for it.
        gone = None if is_abandoned is None else lambda: not flight.followers and is_abandoned()
        try:
            flight.answer = ask(until, gone)
            return flight.answer
        except (Abandoned, DeadlineExceeded):
            raise
        except WireError as failure:
            flight.failure = failure
            raise
        finally:
            with self._lock:
                del self._flights[question]
            # There are no further followers now; one that leaves meanwhile needs no event.
            for landed in list(flight.followers):
                landed.set()

    def _follow(
        self, flight: _Flight[Answer], landed: threading.Event, until: float, is_abandoned: IsAbandoned | None
    ) -> None:
        longest_s = float("inf") if is_abandoned is None else ABANDONED_EVERY_S
        try:
            while not landed.wait(min(_left_s(until), longest_s)):
                if is_abandoned is not None and is_abandoned():
                    raise Abandoned("nobody waits for this answer any more")
        finally:
            with self._lock:
                flight.followers.remove(landed)


def _left_s(until: float) -> float:
    left_s = until - time.monotonic()
    if left_s <= 0:
        raise DeadlineExceeded("the time for this answer has passed")
    return left_s


def _copy(failure: WireError) -> WireError:
    """Return a failure for one more caller to raise: each puts its own traceback on it."""
    copy = type(failure).__new__(type(failure), *failure.args)
    vars(copy).update(vars(failure))
    return copy
