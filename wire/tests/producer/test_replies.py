"""Redis loses things: connections, its memory, its life. Callers are answered all the same."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from sightline_testing.queue_probe import QueueProbe
from sightline_testing.waiting import WAIT_S, wait_until
from sightline_testing.workers import StandInWorker
from wire import Answer, Producer, QueueUnavailable

JOBS = 20


@contextmanager
def waiting_callers(queue: QueueProbe, producer: Producer) -> Iterator[list[Future[Answer]]]:
    """Have callers wait for jobs that no worker has taken yet."""
    queue.announce()
    with ThreadPoolExecutor(JOBS) as pool:
        futures = [pool.submit(producer.submit, f"{number}.jpg", timeout_s=WAIT_S) for number in range(JOBS)]
        wait_until(lambda: producer.in_flight() == JOBS, "all wait in the queue")
        yield futures


def first_labels(futures: list[Future[Answer]]) -> list[str]:
    return [future.result(WAIT_S).predictions[0][0] for future in futures]


def test_jobs_that_a_flush_took_away_are_submitted_again_under_the_same_ids(queue: QueueProbe) -> None:
    producer = queue.producer(worker_grace_s=WAIT_S)
    with waiting_callers(queue, producer) as futures:
        before = {job.id for job in queue.jobs()}
        queue.redis("FLUSHALL")
        wait_until(lambda: queue.depth() == JOBS, "all are back")
        assert {job.id for job in queue.jobs()} == before
        assert all(job.ttl_ms < WAIT_S * 1000 for job in queue.jobs())
        with StandInWorker(queue.address, queue.name):
            assert first_labels(futures) == [f"{number}.jpg" for number in range(JOBS)]
    assert producer.counts().resubmitted == JOBS
    assert (queue.depth(), queue.pending()) == (0, 0)


def test_jobs_outlive_a_redis_that_forgets_everything(start_redis: Callable[..., QueueProbe]) -> None:
    queue = start_redis()
    producer = queue.producer(worker_grace_s=WAIT_S)
    with waiting_callers(queue, producer) as futures:
        queue.server.kill()
        queue.server.start()
        with StandInWorker(queue.address, queue.name):
            assert first_labels(futures) == [f"{number}.jpg" for number in range(JOBS)]
    assert producer.counts().resubmitted >= JOBS


def test_jobs_outlive_a_redis_that_is_killed_and_nothing_is_submitted_twice(
    start_redis: Callable[..., QueueProbe],
) -> None:
    queue = start_redis("--appendonly", "yes", "--appendfsync", "always")
    producer = queue.producer(worker_grace_s=WAIT_S)
    with waiting_callers(queue, producer) as futures:
        queue.server.kill()
        queue.server.start()
        with StandInWorker(queue.address, queue.name):
            assert first_labels(futures) == [f"{number}.jpg" for number in range(JOBS)]
    assert producer.counts().resubmitted == 0
    assert (queue.depth(), queue.pending()) == (0, 0)


def test_a_worker_at_work_while_redis_dies_answers_afterwards(start_redis: Callable[..., QueueProbe]) -> None:
    queue = start_redis()
    producer = queue.producer(worker_grace_s=WAIT_S)
    with ThreadPoolExecutor(8) as pool, StandInWorker(queue.address, queue.name) as worker:
        wait_until(lambda: producer.refresh().workers, "the worker is known")
        for _ in range(3):
            seen = len(worker.seen)
            futures = [pool.submit(ask_until_let_in, producer) for _ in range(40)]
            wait_until(functools.partial(has_seen_more, worker, seen), "work continues")
            queue.server.kill()
            queue.server.start()
            assert first_labels(futures) == ["cat.jpg"] * 40
        ask_until_let_in(producer)  # all may have been answered before the last kill: now the group is there again
    assert (queue.depth(), queue.pending()) == (0, 0)


def has_seen_more(worker: StandInWorker, than: int) -> bool:
    return len(worker.seen) > than


def ask_until_let_in(producer: Producer) -> Answer:
    """Request as a client that tries again if the queue is unavailable."""
    answers: list[Answer] = []

    def is_answered() -> bool:
        try:
            answers.append(producer.submit("cat.jpg", timeout_s=WAIT_S))
        except QueueUnavailable:
            return False
        return True

    wait_until(is_answered, "the job is let in")
    return answers[0]


def test_a_lost_group_costs_no_job(queue: QueueProbe) -> None:
    producer = queue.producer(worker_grace_s=WAIT_S)
    with waiting_callers(queue, producer) as futures:
        queue.redis("XGROUP", "CREATE", queue.keys.jobs, "workers", "$")
        queue.redis("XGROUP", "DESTROY", queue.keys.jobs, "workers")
        with StandInWorker(queue.address, queue.name):
            assert first_labels(futures) == [f"{number}.jpg" for number in range(JOBS)]


def test_a_lost_reply_is_worked_out_again(queue: QueueProbe) -> None:
    producer = queue.producer(worker_grace_s=WAIT_S)
    with waiting_callers(queue, producer) as futures:
        # As if a worker had answered and the reply stream had been lost.
        queue.redis("XTRIM", queue.keys.jobs, "MAXLEN", 0)
        with StandInWorker(queue.address, queue.name):
            assert first_labels(futures) == [f"{number}.jpg" for number in range(JOBS)]
    assert producer.counts().resubmitted == JOBS


def test_a_job_that_somebody_keeps_removing_is_not_fought_for(queue: QueueProbe) -> None:
    queue.announce()
    producer = queue.producer()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(producer.submit, "cat.jpg", timeout_s=WAIT_S)
        for _ in range(4):
            wait_until(queue.depth, "the job is there")
            queue.redis("XTRIM", queue.keys.jobs, "MAXLEN", 0)
        looks: set[float] = set()

        def looks_made() -> int:
            looks.add(getattr(producer.snapshot(), "as_of", 0.0))
            return len(looks)

        wait_until(lambda: looks_made() > 12, "it would have been found missing again")
        assert producer.counts().resubmitted == 3
        assert queue.depth() == 0
        producer.close()
        assert waiting.exception(WAIT_S) is not None
