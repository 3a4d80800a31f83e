"""Jobs that are submitted and fetched later, with a real Redis and a worker without a model."""

import itertools
import re
import time
from collections.abc import Callable

import pytest

from sightline_testing.queue_probe import QueueProbe
from sightline_testing.waiting import wait_until
from sightline_testing.workers import StandInWorker, answer_for
from wire import Address, Answer, AsyncJobs, Consumer, Delivery, Failure, Producer, QueueFull, QueueUnavailable
from wire.errors import NoWorker, UnknownJob
from wire.messages import Reply


@pytest.fixture
def address(queue: QueueProbe) -> Address:
    return Address(port=queue.server.port)


Make = Callable[..., AsyncJobs]


@pytest.fixture
def make(queue: QueueProbe) -> Make:
    def make_one(max_jobs: int = 100, **options: float) -> AsyncJobs:
        return AsyncJobs(queue.producer(**options), max_jobs=max_jobs)

    return make_one


def enqueue(jobs: AsyncJobs, image: str = "cat.jpg", timeout_s: float = 60.0) -> str:
    return jobs.enqueue(image, timeout_s=timeout_s)


def reply_to(jobs: AsyncJobs, handle: str) -> Reply:
    wait_until(lambda: jobs.find(handle).reply is not None, "the job is done")
    reply = jobs.find(handle).reply
    assert reply is not None
    return reply


def test_a_job_is_under_way_until_its_answer_is_there_for_all_who_ask(
    make: Make, address: Address, queue: QueueProbe
) -> None:
    one, other = make(), make()
    handle = enqueue(one)
    assert other.find(handle) == ("cat.jpg", None)
    with StandInWorker(address, queue.name):
        reply = reply_to(other, handle)
    assert isinstance(reply, Answer)
    assert reply.predictions[0] == ("cat.jpg", 0.75)
    assert one.find(handle) == ("cat.jpg", reply)


def test_a_failure_is_an_answer_too(make: Make, address: Address, queue: QueueProbe) -> None:
    jobs = make()
    handle = enqueue(jobs)
    with StandInWorker(address, queue.name, lambda delivery: Failure(delivery.job.id, "image_broken", "half of it")):
        assert reply_to(jobs, handle) == Failure(handle[:32], "image_broken", "half of it")


def test_a_job_whose_time_is_up_says_so(make: Make, address: Address, queue: QueueProbe) -> None:
    jobs = make()
    handle = enqueue(jobs, timeout_s=0.001)
    time.sleep(0.05)  # a worker that finds it now finds it too late
    with StandInWorker(address, queue.name) as worker:
        reply = reply_to(jobs, handle)
        assert worker.seen == []
    assert isinstance(reply, Failure)
    assert reply.code == "expired"


def test_a_cancelled_job_is_gone_from_the_queue_and_unknown(make: Make, address: Address, queue: QueueProbe) -> None:
    jobs = make()
    handle = enqueue(jobs)
    jobs.cancel(handle)
    assert queue.redis("XLEN", queue.keys.jobs) == 0
    assert queue.redis("XLEN", queue.keys.job_index) == 0
    for ask in (jobs.find, jobs.cancel):
        with pytest.raises(UnknownJob):
            ask(handle)


def test_what_is_cancelled_stays_so_when_a_worker_answers_it_all_the_same(
    make: Make, address: Address, queue: QueueProbe
) -> None:
    jobs = make()
    handle = enqueue(jobs)
    consumer = Consumer(address, queue.name, "slow", lease_ms=60_000, max_batch_s=60)
    taken: list[Delivery] = []

    def take() -> bool:
        taken.extend(consumer.receive(1, 100))
        return bool(taken)

    wait_until(take, "the job is taken")
    jobs.cancel(handle)
    consumer.answer([(delivery, answer_for(delivery.job)) for delivery in taken])
    consumer.close()
    with pytest.raises(UnknownJob):
        jobs.find(handle)


def test_an_answer_that_was_fetched_may_be_thrown_away(make: Make, address: Address, queue: QueueProbe) -> None:
    jobs = make()
    handle = enqueue(jobs)
    with StandInWorker(address, queue.name):
        reply_to(jobs, handle)
    jobs.cancel(handle)
    assert queue.redis("KEYS", queue.keys.replies("job-*")) == []
    with pytest.raises(UnknownJob):
        jobs.find(handle)


def test_an_answer_expires_by_itself(make: Make, address: Address, queue: QueueProbe) -> None:
    jobs = make()
    handle = enqueue(jobs)
    with StandInWorker(address, queue.name):
        reply_to(jobs, handle)
    assert 0 < queue.redis("TTL", queue.keys.replies(f"job-{handle[:32]}")) <= 120


@pytest.mark.parametrize("handle", ["", "x", "../etc", "0" * 32, f"{'0' * 32}-1-0-1-0", f"{'0' * 32}-1-0-1-0\n"])
def test_what_is_no_handle_of_ours_is_unknown(make: Make, handle: str) -> None:
    with pytest.raises(UnknownJob):
        make().find(handle)


def test_a_handle_with_the_place_of_another_job_finds_nothing(make: Make, queue: QueueProbe) -> None:
    jobs = make()
    handle = enqueue(jobs)
    forged = "0" * 32 + handle[32:]
    for ask in (jobs.find, jobs.cancel):
        with pytest.raises(UnknownJob):
            ask(forged)
    assert queue.redis("XLEN", queue.keys.jobs) == 1


def test_no_more_are_kept_than_there_is_room_for_and_a_cancelled_one_makes_room(make: Make) -> None:
    jobs = make(max_jobs=2)
    first, _ = enqueue(jobs), enqueue(jobs)
    with pytest.raises(QueueFull, match="2 async jobs are kept already"):
        enqueue(jobs)
    jobs.cancel(first)
    enqueue(jobs)


def test_room_comes_back_with_time(make: Make, queue: QueueProbe) -> None:
    jobs = make(max_jobs=1)
    queue.redis("XADD", queue.keys.job_index, "1-1", "job", "")
    enqueue(jobs)
    assert queue.redis("XLEN", queue.keys.job_index) == 1


def test_the_queues_bound_holds_for_them_as_for_all_others(make: Make) -> None:
    jobs = make(max_queue_size=1)
    enqueue(jobs)
    with pytest.raises(QueueFull, match="takes 1"):
        enqueue(jobs)


def test_without_a_worker_none_is_taken(queue: QueueProbe) -> None:
    producer = queue.producer()
    wait_until(producer.snapshot, "the state is known")
    with pytest.raises(NoWorker):
        enqueue(AsyncJobs(producer, max_jobs=1))


def test_while_redis_is_away_that_is_said() -> None:
    unreachable = AsyncJobs(Producer(Address(port=1), "nowhere"), max_jobs=1)
    for ask in (lambda: enqueue(unreachable), lambda: unreachable.find(f"{'0' * 32}-1-0-1-0")):
        with pytest.raises(QueueUnavailable):
            ask()


def test_more_classes_than_are_kept_are_not_asked_for(make: Make, address: Address, queue: QueueProbe) -> None:
    jobs = make()
    with StandInWorker(address, queue.name) as worker:
        handle = jobs.enqueue("cat.jpg", timeout_s=60.0, top_k=1000)
        reply_to(jobs, handle)
        assert worker.seen[0].job.top_k == 100


def test_an_own_id_with_the_places_of_another_job_finds_and_deletes_nothing(
    make: Make, address: Address, queue: QueueProbe
) -> None:
    jobs = make()
    answered = enqueue(jobs, "mine.jpg")
    with StandInWorker(address, queue.name):
        reply_to(jobs, answered)
    waiting, victim = enqueue(jobs, "mine.jpg"), enqueue(jobs, "theirs.jpg")
    for own in (answered, waiting):
        for forged in mixtures(own, victim):
            for ask in (jobs.find, jobs.cancel):
                with pytest.raises(UnknownJob):
                    ask(forged)
    assert jobs.find(victim) == ("theirs.jpg", None)
    assert queue.redis("XLEN", queue.keys.jobs) == 2
    assert queue.redis("XLEN", queue.keys.job_index) == 3


@pytest.mark.parametrize(
    ("steps", "left"),
    [
        ([(600.0, 200)], 1),
        ([(600.0, 0), (1.0, 200)], 2),
        ([(1.0, 0), (600.0, 0), (1.0, 200)], 3),
        ([(600.0, 721)], 0),
        # The longest has gone, and one between is still there.
        ([(600.0, 700), (300.0, 100)], 1),
        ([(300.0, 100), (600.0, 700)], 1),
    ],
)
def test_a_job_of_a_shorter_timeout_removes_no_longer_one_from_the_index(
    make: Make, queue: QueueProbe, steps: list[tuple[float, int]], left: int
) -> None:
    jobs = make()
    for timeout_s, seconds in steps:
        enqueue(jobs, timeout_s=timeout_s)
        let_pass(queue, seconds)
    enqueue(jobs, timeout_s=1.0)
    assert queue.redis("XLEN", queue.keys.job_index) == left + 1


def let_pass(queue: QueueProbe, seconds: int) -> None:
    """Make what Redis holds of async jobs so much older."""
    index, periods = queue.keys.job_index, queue.keys.job_index_periods
    rows = queue.redis("XRANGE", index, "-", "+")
    queue.redis("DEL", index)
    for place, row in rows:
        milliseconds, sequence = place.decode().split("-")
        queue.redis("XADD", index, f"{int(milliseconds) - 1000 * seconds}-{sequence}", *row)
    for period in queue.redis("ZRANGE", periods, 0, -1):
        queue.redis("ZINCRBY", periods, -seconds, period)


def test_a_job_that_nobody_waits_for_has_the_grace_of_the_others(make: Make, queue: QueueProbe) -> None:
    producer = queue.producer(worker_grace_s=3600.0)
    jobs = AsyncJobs(producer, max_jobs=100)
    with StandInWorker(queue.address, queue.name):
        wait_until(lambda: producer.refresh().workers, "the worker is known")
    wait_until(lambda: not producer.refresh().workers, "the worker has left")
    handle = enqueue(jobs)
    with StandInWorker(queue.address, queue.name):
        assert isinstance(reply_to(jobs, handle), Answer)


def test_a_full_index_is_named_as_what_is_full(make: Make) -> None:
    jobs = make(max_jobs=1)
    enqueue(jobs)
    with pytest.raises(QueueFull, match="1 async jobs are kept already"):
        enqueue(jobs)


def mixtures(own: str, other: str) -> list[str]:
    """Give every handle that is made of parts of both, but for the two themselves."""
    pairs = [re.findall(r"[0-9a-f]{32}|[0-9]+-[0-9]+", handle) for handle in (own, other)]
    mixed = {"-".join(parts) for parts in itertools.product(*zip(*pairs, strict=True))}
    return sorted(mixed - {own, other})


@pytest.mark.parametrize("number", ["0", "9" * 20, str(2**64), "00", "01"])
def test_a_number_that_no_entry_has_is_an_unknown_job(make: Make, number: str) -> None:
    jobs = make()
    for handle in (f"{'0' * 32}-{number}-{number}-1-0", f"{'0' * 32}-1-0-1-{number}", f"{'0' * 32}-{number}-0-1-0"):
        for ask in (jobs.find, jobs.cancel):
            with pytest.raises(UnknownJob):
                ask(handle)


def test_a_job_with_an_owner_is_unknown_to_all_others(make: Make, queue: QueueProbe) -> None:
    jobs = make()
    handle = jobs.enqueue("cat.jpg", timeout_s=60.0, owner="alice")
    for stranger in ("bob", "", "alice "):
        for ask in (jobs.find, jobs.cancel):
            with pytest.raises(UnknownJob):
                ask(handle, owner=stranger)
    assert jobs.find(handle, owner="alice") == jobs.find(handle) == ("cat.jpg", None)
    jobs.cancel(handle, owner="alice")
    assert queue.redis("XLEN", queue.keys.jobs) == 0


@pytest.mark.parametrize("row", [("job", ""), ("id", ""), ("image", "a.jpg"), ("a", "b", "c", "d", "e", "f", "g", "h")])
def test_a_row_of_another_shape_is_no_job(make: Make, queue: QueueProbe, row: tuple[str, ...]) -> None:
    place = queue.redis("XADD", queue.keys.job_index, "*", *row).decode()
    with pytest.raises(UnknownJob):
        make().find(f"{'0' * 32}-{place}-{place}")


def test_what_is_cancelled_while_a_worker_has_it_leaves_no_answer_behind(
    make: Make, address: Address, queue: QueueProbe
) -> None:
    jobs = make()
    consumer = Consumer(address, queue.name, "slow", lease_ms=60_000, max_batch_s=60)
    taken: list[Delivery] = []

    def take() -> bool:
        taken.extend(consumer.receive(1, 100))
        return bool(taken)

    for _ in range(3):
        handle = enqueue(jobs)
        wait_until(take, "the job is taken")
        jobs.cancel(handle)
        consumer.answer([(delivery, answer_for(delivery.job)) for delivery in taken])
        taken.clear()
    consumer.close()
    assert queue.redis("KEYS", queue.keys.replies("*")) == []
