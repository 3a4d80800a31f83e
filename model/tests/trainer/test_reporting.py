"""How far an order is, and how long it takes yet."""

from collections.abc import Iterator

import pytest

from sightline_testing.queue_probe import QueueProbe
from sightline_testing.redis_server import RedisServer
from trainer import reporting
from trainer.reporting import Reporter, typical_s
from wire.orders.messages import EVALUATE, TRAIN, Order, Progress
from wire.orders.order_book import OrderBook
from wire.orders.trainer_desk import TrainerDesk


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def process_time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(reporting, "time", clock)
    return clock


@pytest.fixture
def desk(redis_server: RedisServer) -> Iterator[TrainerDesk]:
    probe = QueueProbe(redis_server)
    desk = TrainerDesk(probe.address, probe.name, "tests")
    assert desk.lead()
    desk.book = OrderBook(probe.address, probe.name, timeout_s=60.0)  # type: ignore[attr-defined]
    yield desk
    desk.leave()


def test_what_is_left_is_that_of_the_last_such_order_by_the_pace_of_this_one(desk: TrainerDesk, clock: Clock) -> None:
    book: OrderBook = desk.book  # type: ignore[attr-defined]

    def place(kind: str, **arguments: str) -> Order:
        return desk.find(book.place(Order(kind, "Ann", arguments=arguments)))

    def left_s(order: Order) -> float:
        progress = book.find(order.id)
        assert progress is not None
        assert progress.progress is not None
        return progress.progress.total_left_s

    def run(order: Order, *seconds: float) -> list[float]:
        """Do an order whose steps take so long, after a second; return what was left at the begin of each."""
        reporter = Reporter(desk, Progress(order.id), typical_s(order, desk.last_results()))
        reporter.expect(len(seconds))
        clock.now += 1
        shown = []
        for number, took_s in enumerate(seconds):
            reporter.progress(f"step {number}", 0, 10, 0.0)
            shown.append(left_s(order))
            clock.now += took_s
        desk.done(order.id, reporter.summary())
        return shown

    assert run(place(TRAIN), 10, 20, 30) == [0, 0, 0]
    assert run(place(TRAIN), 10, 20, 30) == [60, 50, 30]
    # Of another kind, and another way to do it.
    assert run(place(EVALUATE, version="m/1"), 5, 5) == [0, 0]
    assert run(place(TRAIN, evaluate="1"), 10, 20, 30, 40) == [0, 0, 0, 0]
    slow = run(place(TRAIN), 30, 60, 90)
    assert slow[0] == 60
    assert 50 < slow[1] < 150
    assert 60 < slow[2] <= 90
    # More steps than the last time.
    assert run(place(TRAIN), 1, 1, 1, 1)[3] == 0


def test_within_a_step_its_own_count_tells_more_than_the_last_order(desk: TrainerDesk, clock: Clock) -> None:
    book: OrderBook = desk.book  # type: ignore[attr-defined]
    order_id = book.place(Order(TRAIN, "Ann"))
    reporter = Reporter(desk, Progress(order_id), [0.0, 10.0, 20.0])
    reporter.expect(2)
    reporter.progress("first", 0, 10, 0.0)
    clock.now += 5
    reporter.progress("first", 1, 10, 45.0)
    known = book.find(order_id)
    assert known is not None
    assert known.progress is not None
    assert known.progress.total_left_s == 45 + 20
