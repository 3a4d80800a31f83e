"""Single flight: who asks what somebody else is asking already waits for that one's answer. No HTTP, no Redis."""

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from wire.errors import Abandoned, DeadlineExceeded, WireError

# How often one who waits is asked whether it is still there.
ABANDONED_EVERY_S = 0.1

Answer = TypeVar("Answer")
IsAbandoned = Callable[[], bool]


@dataclass(eq=False, slots=True)
class _Flight(Generic[Answer]):
    """One question under way; what comes of it is an answer, a failure, or neither where its leader alone gave up.

    Each follower waits for an event of its own. Of several that wait for one, with time-outs, gevent (26.9.0) forgets
    some for ever: one whose time-out meets the event being set, and who waits again while another's does the same.
    """

    followers: list[threading.Event] = field(default_factory=list)
    answer: Answer | None = None
    failure: WireError | None = None


class Flights(Generic[Answer]):
    """The questions under way in this process, each asked once."""

    def __init__(self) -> None:
        self._flights: dict[Hashable, _Flight[Answer]] = {}
        self._lock = threading.Lock()

    def share(
        self,
        question: Hashable,
        timeout_s: float,
        is_abandoned: IsAbandoned | None,
        ask: Callable[[float, IsAbandoned | None], Answer],
    ) -> tuple[Answer, bool]:
        """Give the answer, and whether somebody else asked for it.

        `ask` gets its deadline (monotonic) and whom to ask whether anybody still waits. What it raises is raised for
        everybody, but for what is the affair of the one who asked: its deadline, its going away. Then another one asks.
        """
        until = time.monotonic() + timeout_s
        while True:
            flight, landed = self._board(question)
            if landed is None:
                return self._lead(question, flight, is_abandoned, lambda gone: ask(until, gone)), False
            self._follow(flight, landed, until, is_abandoned)
            if flight.failure is not None:
                raise _again(flight.failure)
            if flight.answer is not None:
                return flight.answer, True

    def _board(self, question: Hashable) -> tuple[_Flight[Answer], threading.Event | None]:
        """Give the question's flight, and what its follower waits for; None for the one who is to lead it."""
        with self._lock:
            flight = self._flights.get(question)
            if flight is None:
                flight = self._flights[question] = _Flight()
                return flight, None
            landed = threading.Event()
            flight.followers.append(landed)
            return flight, landed

    def _lead(
        self,
        question: Hashable,
        flight: _Flight[Answer],
        is_abandoned: IsAbandoned | None,
        ask: Callable[[IsAbandoned | None], Answer],
    ) -> Answer:
        # The job goes on for as long as anybody waits for it.
        gone = None if is_abandoned is None else lambda: not flight.followers and is_abandoned()
        try:
            flight.answer = ask(gone)
            return flight.answer
        except (Abandoned, DeadlineExceeded):
            raise
        except WireError as failure:
            flight.failure = failure
            raise
        finally:
            with self._lock:
                del self._flights[question]
            # Nobody boards any more; who leaves meanwhile needs no call.
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


def _again(failure: WireError) -> WireError:
    """Give a failure for one more caller to raise: each puts its own traceback on it."""
    copy = type(failure).__new__(type(failure), *failure.args)
    vars(copy).update(vars(failure))
    return copy
