"""The operator's orders in a real Redis: placed by the api, taken up by one trainer at a time, and never lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from sightline_testing.queue_probe import QueueProbe
from sightline_testing.slow_redis import SlowRedis
from sightline_testing.waiting import wait_until
from wire.errors import MessageError, OrderKeyReused, OrdersFull
from wire.orders import order_book, trainer_desk
from wire.orders.messages import DONE, FAILED, QUEUED, RUNNING, SUGGEST, TRAIN, Order, Outcome, Progress
from wire.orders.order_book import Once, OrderBook, Placed
from wire.orders.trainer_desk import Taken, TrainerDesk
from wire.redis.address import Address

ORDER = Order(TRAIN, "Ann", "192.0.2.1", {"label": "bar chart"})


@pytest.fixture
def book(queue: QueueProbe) -> OrderBook:
    return OrderBook(queue.address, queue.name, timeout_s=60.0)


@pytest.fixture
def desk(queue: QueueProbe) -> Iterator[Callable[..., TrainerDesk]]:
    """Give a function that opens the desk of a trainer."""
    opened: list[TrainerDesk] = []

    def open_desk(name: str = "one", **options: int) -> TrainerDesk:
        opened.append(TrainerDesk(queue.address, queue.name, name, **options))
        return opened[-1]

    yield open_desk
    for each in opened:
        each.leave()


def test_an_order_keeps_who_gave_it_from_where_and_when(book: OrderBook) -> None:
    order_id = book.place(ORDER)
    known = book.find(order_id)
    assert known is not None
    assert (known.order, known.state) == (Order(TRAIN, "Ann", "192.0.2.1", {"label": "bar chart"}, order_id), QUEUED)
    assert known.order.at_ms == int(order_id.partition("-")[0])


def test_orders_are_taken_in_turn_with_progress_and_outcome(book: OrderBook, desk: Callable[..., TrainerDesk]) -> None:
    first, second = book.place(ORDER), book.place(ORDER)
    trainer = desk()
    assert not book.read().has_trainer
    assert trainer.lead()
    assert book.read().has_trainer
    taken = trainer.take(0.01)
    assert taken == Taken(first, 1)
    assert trainer.begin(taken)
    progress = Progress(first, 1, 2, 4, "synthetic images", 10, 256, 3.5, "3-int8", 21.5)
    assert trainer.report(progress)
    running = book.find(first)
    assert running is not None
    assert (running.state, running.progress) == (RUNNING, progress)
    assert trainer.done(first, {"version": "3-int8"})
    done = book.find(first)
    assert done is not None
    assert done.outcome is not None
    assert (done.state, done.outcome.result) == (DONE, {"version": "3-int8"})
    assert trainer.take(0.01) == Taken(second, 1)
    assert trainer.failed(second, "there are no cases")
    assert [each.state for each in book.read().orders] == [FAILED, DONE]
    assert trainer.take(0.01) is None


def test_a_trainer_at_rest_gets_an_order_as_it_comes(book: OrderBook, desk: Callable[..., TrainerDesk]) -> None:
    trainer = desk()
    assert trainer.lead()
    assert trainer.take(0.01) is None
    order_id = book.place(ORDER)
    assert trainer.take(10.0) == Taken(order_id, 1)


def test_of_two_trainers_one_has_the_lease_and_the_other_can_change_nothing(
    book: OrderBook, desk: Callable[..., TrainerDesk]
) -> None:
    order_id = book.place(ORDER)
    one, other = desk("one"), desk("other")
    assert one.lead()
    assert not other.lead()
    assert not other.begin(Taken(order_id, 1))
    assert not other.done(order_id, {})
    assert one.lead()
    assert book.find(order_id) == (Order(TRAIN, "Ann", "192.0.2.1", {"label": "bar chart"}, order_id), None, None)


def test_the_order_of_a_trainer_that_died_is_taken_up_again_with_what_it_noted(
    book: OrderBook, desk: Callable[..., TrainerDesk]
) -> None:
    order_id = book.place(ORDER)
    dying, other = desk("dying", lease_ms=50), desk("other")
    assert dying.lead()
    assert dying.begin(Taken(order_id, 1))
    assert dying.report(Progress(order_id, 1, note="3-int8"))
    wait_until(other.lead, "the lease has ended")
    assert other.take(0.01) == Taken(order_id, 2, "3-int8")
    assert not dying.done(order_id, {})
    assert other.done(order_id, {})


def test_the_trainer_orders_a_search_by_itself_as_often_as_it_is_told(
    book: OrderBook, desk: Callable[..., TrainerDesk]
) -> None:
    trainer = desk()
    assert trainer.order_search(3600)
    assert not trainer.order_search(3600)
    [known] = book.read().orders
    assert (known.order.kind, known.order.by) == (SUGGEST, "trainer")


def test_no_more_orders_wait_than_may(book: OrderBook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order_book, "MAX_WAITING", 2)
    book.place(ORDER)
    book.place(ORDER)
    with pytest.raises(OrdersFull, match="2 orders"):
        book.place(ORDER)


def test_an_order_that_is_too_large_is_refused(book: OrderBook) -> None:
    with pytest.raises(MessageError, match="limit"):
        book.place(Order(TRAIN, "Ann", arguments={"label": "x" * 20_000}))


def test_the_oldest_orders_with_an_outcome_are_forgotten_and_none_that_waits(
    queue: QueueProbe, book: OrderBook, desk: Callable[..., TrainerDesk], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer_desk, "KEPT", 2)
    trainer = desk()
    assert trainer.lead()
    placed = [book.place(ORDER) for _ in range(5)]
    for order_id in (placed[1], placed[0], placed[2]):
        assert trainer.done(order_id, {})
    assert [each.order.id for each in book.read().orders] == [placed[4], placed[3], placed[2], placed[1]]
    assert queue.redis("HLEN", queue.keys.order_outcomes) == 2


def test_a_result_that_is_too_large_is_left_out_which_is_said(
    book: OrderBook, desk: Callable[..., TrainerDesk]
) -> None:
    order_id, trainer = book.place(ORDER), desk()
    assert trainer.lead()
    assert trainer.done(order_id, {"lines": "x" * 200_000})
    known = book.find(order_id)
    assert known is not None
    assert known.outcome is not None
    assert list(known.outcome.result) == ["left_out"]


def test_published_versions_are_read_and_what_is_none_is_left_out(
    queue: QueueProbe, book: OrderBook, desk: Callable[..., TrainerDesk]
) -> None:
    desk().publish_versions([{"version": "m/1-int8"}])
    assert book.read().versions == [{"version": "m/1-int8"}]
    queue.redis("SET", queue.keys.versions, b'[1, {"version"')
    assert book.read().versions == []


def test_the_bytes_of_an_order_and_of_its_outcome() -> None:
    """Written without the encoder: both sides may be of different releases."""
    data = b'{"v":1,"kind":"train","by":"Ann","address":"192.0.2.1","arguments":{"label":"bar chart"}}'
    assert ORDER.encode() == data
    assert Order.decode(data, "1-0") == Order(TRAIN, "Ann", "192.0.2.1", {"label": "bar chart"}, "1-0")
    outcome = b'{"v":1,"state":"done","ended_ms":7,"reason":"","result":{"version":"m/2-int8"}}'
    assert Outcome.decode(outcome) == Outcome(DONE, 7, "", {"version": "m/2-int8"})
    for hostile in (b'{"v":1,"kind":"rm","by":"","address":""}', b'{"v":1,"kind":"train","by":1,"address":""}', b"{"):
        with pytest.raises(MessageError):
            Order.decode(hostile, "1-0")


def test_an_order_whose_reply_is_lost_is_placed_once_however_often_it_is_sent(queue: QueueProbe) -> None:
    once = Once(b"k" * 16, b"train")
    with SlowRedis(queue.address.port) as relay, ThreadPoolExecutor(2) as pool:
        book = OrderBook(Address(port=relay.port), queue.name, timeout_s=10.0)
        first = book.place(ORDER)  # so that Redis knows the script
        relay.hold()
        keyless, keyed = pool.submit(book.place, ORDER), pool.submit(book.place_once, ORDER, once)
        known = OrderBook(queue.address, queue.name, timeout_s=10.0)
        wait_until(lambda: len(known.read().orders) == 3, "both orders are written, and their replies are held")
        relay.cut()
        relay.let_go()
        # The pipeline sends them again on another connection.
        found = {first, keyless.result(), keyed.result().order_id}
    assert found == {each.order.id for each in known.read().orders}
    assert known.place_once(ORDER, once) == Placed(keyed.result().order_id, is_new=False)
    with pytest.raises(OrderKeyReused):
        known.place_once(Order(TRAIN, "Ann"), Once(once.key, b"other"))
    assert len(known.read().orders) == 3
