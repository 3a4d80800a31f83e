import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from predict.job_queue import IsAbandoned, SingleFlight
from tests.serving import PATIENCE_S, wait_until
from wire import Failure, JobFailed, QueueFull, WireError
from wire.errors import Abandoned, DeadlineExceeded

MANY = 50


class Model:
    """The model behind single flights: it records its callers, and answers or fails on command."""

    def __init__(self) -> None:
        self.asked: list[IsAbandoned | None] = []
        self.deadlines: list[float] = []
        self.release = threading.Event()
        self.outcome: Callable[[], str] = lambda: f"answer {len(self.asked)}"

    def ask(self, until: float, gone: IsAbandoned | None) -> str:
        self.asked.append(gone)
        self.deadlines.append(until)
        assert self.release.wait(PATIENCE_S)
        return self.outcome()


class Airport:
    """A single flight, the model behind them, and passengers that each have a thread."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self.single_flight: SingleFlight[str] = SingleFlight()
        self.model = Model()
        self._pool = pool

    def ask(
        self, timeout_s: float = PATIENCE_S, is_abandoned: IsAbandoned | None = None, question: str = "cat"
    ) -> Future[tuple[str, bool]]:
        return self._pool.submit(
            self.single_flight.share, question, time.monotonic() + timeout_s, is_abandoned, self.model.ask
        )

    def lead(self, timeout_s: float = PATIENCE_S, is_abandoned: IsAbandoned | None = None) -> Future[tuple[str, bool]]:
        """Ask as the first, and come back once the model is being asked."""
        leader = self.ask(timeout_s, is_abandoned)
        wait_until(lambda: self.model.asked != [], "the leader calls the model")
        return leader

    def follow(
        self, timeout_s: float = PATIENCE_S, is_abandoned: IsAbandoned | None = None
    ) -> Future[tuple[str, bool]]:
        """Ask as one more, and come back once it waits for the one who leads."""
        before = self.followers()
        follower = self.ask(timeout_s, is_abandoned)
        wait_until(lambda: self.followers() > before or follower.done(), "the follower waits")
        return follower

    def followers(self) -> int:
        return self.single_flight.followers()


@pytest.fixture
def airport() -> Iterator[Airport]:
    with ThreadPoolExecutor(MANY) as pool:
        airport = Airport(pool)
        try:
            yield airport
        finally:
            airport.model.release.set()
    assert airport.single_flight._calls == {}, "a call is still running"


def test_who_asks_the_same_meanwhile_gets_the_answer_of_the_first(airport: Airport) -> None:
    passengers = [airport.ask() for _ in range(MANY)]
    wait_until(lambda: airport.followers() == MANY - 1, "all but one follow")
    airport.model.release.set()
    answers = [passenger.result() for passenger in passengers]
    assert sorted(answers) == [("answer 1", False)] + [("answer 1", True)] * (MANY - 1)
    assert len(airport.model.asked) == 1


def test_who_asks_afterwards_asks_anew(airport: Airport) -> None:
    airport.model.release.set()
    assert [airport.ask().result() for _ in range(2)] == [("answer 1", False), ("answer 2", False)]


def test_other_questions_are_asked_for_themselves(airport: Airport) -> None:
    passengers = [airport.ask(question=question) for question in ("cat", "dog")]
    wait_until(lambda: len(airport.model.asked) == 2, "both are asked")
    airport.model.release.set()
    assert not any(passenger.result()[1] for passenger in passengers)


@pytest.mark.parametrize(
    "failure", [JobFailed(Failure("a-job", "image_broken", "it ends early")), QueueFull(3, 3, 1.0)], ids=["job", "full"]
)
def test_a_failure_is_everybody_s_each_with_an_exception_of_its_own(airport: Airport, failure: WireError) -> None:
    airport.model.outcome = raising(failure)
    leader, follower = airport.lead(), airport.follow()
    airport.model.release.set()
    faults = [leader.exception(), follower.exception()]
    assert len(airport.model.asked) == 1
    assert faults[0] is not faults[1]
    assert [(type(fault), str(fault), vars(fault)) for fault in faults] == [
        (type(failure), str(failure), vars(failure))
    ] * 2


def test_a_follower_waits_no_longer_than_its_own_deadline(airport: Airport) -> None:
    leader = airport.lead()
    follower = airport.follow(timeout_s=0.05)
    assert isinstance(follower.exception(), DeadlineExceeded)
    airport.model.release.set()
    assert leader.result() == ("answer 1", False)


def test_a_follower_that_goes_hears_so_and_the_others_do_not_notice(airport: Airport) -> None:
    leader, gone = airport.lead(), threading.Event()
    going, staying = airport.follow(is_abandoned=gone.is_set), airport.follow(is_abandoned=lambda: False)
    gone.set()
    assert isinstance(going.exception(), Abandoned)
    airport.model.release.set()
    assert (leader.result(), staying.result()) == (("answer 1", False), ("answer 1", True))


def test_a_job_is_abandoned_once_neither_its_leader_nor_anybody_else_waits(airport: Airport) -> None:
    gone = threading.Event()
    leader = airport.lead(is_abandoned=lambda: True)
    follower = airport.follow(is_abandoned=gone.is_set)
    [is_abandoned] = airport.model.asked
    assert is_abandoned is not None
    assert not is_abandoned()
    gone.set()
    assert isinstance(follower.exception(), Abandoned)
    assert is_abandoned()
    airport.model.release.set()
    leader.result()


def test_the_job_of_a_leader_that_cannot_go_is_never_abandoned(airport: Airport) -> None:
    airport.lead(is_abandoned=None)
    assert airport.model.asked == [None]


@pytest.mark.parametrize("fault", [DeadlineExceeded("too late"), Abandoned("gone"), KeyboardInterrupt()], ids=repr)
def test_what_is_the_affair_of_the_leader_alone_makes_another_ask(airport: Airport, fault: BaseException) -> None:
    airport.model.outcome = lambda: raising(fault)() if len(airport.model.asked) == 1 else "answer"
    leader = airport.lead()
    followers = [airport.follow() for _ in range(3)]
    airport.model.release.set()
    assert leader.exception() is fault
    assert {follower.result()[0] for follower in followers} == {"answer"}
    assert sum(not follower.result()[1] for follower in followers) == len(airport.model.asked) - 1


def test_the_one_who_asks_next_has_its_own_deadline(airport: Airport) -> None:
    airport.model.outcome = lambda: raising(DeadlineExceeded("too late"))() if len(airport.model.asked) == 1 else "late"
    leader = airport.lead(timeout_s=0.01)
    asked_at = time.monotonic()
    follower = airport.follow(timeout_s=PATIENCE_S)
    airport.model.release.set()
    assert isinstance(leader.exception(), DeadlineExceeded)
    assert follower.result() == ("late", False)
    assert airport.model.deadlines[1] >= asked_at + PATIENCE_S


def raising(fault: BaseException) -> Callable[[], str]:
    def fail() -> str:
        raise fault

    return fail


# Everything falls due in one round of gevent's loop: the answer, and the moment at which both followers look up.
UNDER_GEVENT = """
from gevent import monkey
from wire.process import entry_points
with entry_points.read_once(): monkey.patch_all()
import time, gevent
from predict.job_queue import ABANDONED_EVERY_S, SingleFlight

blocked = monkey.get_original("time", "sleep")
flights = SingleFlight()

def ask(until, gone):
    gevent.sleep(ABANDONED_EVERY_S / 2)
    return "answer"

def share():
    return flights.share("cat", time.monotonic() + 5.0, lambda: False, ask)

passengers = [gevent.spawn(share) for _ in range(4)]
gevent.sleep(ABANDONED_EVERY_S / 4)
blocked(ABANDONED_EVERY_S * 2)
gevent.joinall(passengers, timeout=10)
print([passenger.value for passenger in passengers])
"""


def test_under_gevent_nobody_is_forgotten_who_looks_up_the_moment_the_answer_comes() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", UNDER_GEVENT], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert ran.stdout.strip() == str([("answer", False)] + [("answer", True)] * 3), ran.stderr
