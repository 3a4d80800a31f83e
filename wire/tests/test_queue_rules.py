"""The queue's rules against a model of them: consumers come, take, answer, crash and lose touch in any order."""

from __future__ import annotations

from collections import Counter

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from sightline_testing.queue_probe import QueueProbe
from sightline_testing.redis_server import RedisServer
from sightline_testing.waiting import wait_until
from sightline_testing.workers import answer_for
from wire import Consumer, Delivery
from wire.messages import decode_reply
from wire.redis.keys import GROUP

CONSUMERS = 2
SETTINGS = hypothesis.settings(
    max_examples=15,
    stateful_step_count=25,
    deadline=None,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)


class QueueRules(RuleBasedStateMachine):
    """A lease of one millisecond lets every consumer claim from every other: duplicates abound, losses must not."""

    server: RedisServer

    def __init__(self) -> None:
        super().__init__()
        self.server.command("FLUSHALL")
        self.queue = QueueProbe(self.server)
        self.consumers = [self.new_consumer() for _ in range(CONSUMERS)]
        self.held: list[list[Delivery]] = [[] for _ in range(CONSUMERS)]
        self.added: list[str] = []

    def new_consumer(self) -> Consumer:
        return self.queue.consumer(lease_ms=1, max_deliveries=1000)

    @rule(count=st.integers(1, 5))
    def add(self, count: int) -> None:
        for _ in range(count):
            self.added.append(f"job-{len(self.added)}")
            self.queue.add(job_id=self.added[-1])

    @rule(consumer=st.integers(0, CONSUMERS - 1), max_jobs=st.integers(1, 4))
    def take(self, consumer: int, max_jobs: int) -> None:
        batch = self.consumers[consumer].receive(max_jobs, 0)
        assert len(batch) <= max_jobs
        assert len(batch) == 1 or all(each.deliveries == 1 for each in batch)
        self.held[consumer] += batch

    @rule(consumer=st.integers(0, CONSUMERS - 1))
    def answer(self, consumer: int) -> None:
        self.consumers[consumer].answer([(each, answer_for(each.job)) for each in self.held[consumer]])
        self.held[consumer] = []

    @rule(consumer=st.integers(0, CONSUMERS - 1))
    def crash(self, consumer: int) -> None:
        self.consumers[consumer] = self.new_consumer()
        self.held[consumer] = []

    @rule()
    def lose_the_group(self) -> None:
        self.queue.server.command("XGROUP", "DESTROY", self.queue.keys.jobs, GROUP)

    @precondition(lambda self: self.added)
    @invariant()
    def whatever_was_added_is_in_the_queue_or_answered(self) -> None:
        queued = {job.id for job in self.queue.jobs()}
        assert queued | self.answered().keys() == set(self.added)
        assert not queued & self.answered().keys()

    def answered(self) -> Counter[str]:
        return Counter(decode_reply(kind, data).id for kind, data in self.queue.replies())

    def teardown(self) -> None:
        consumer = self.new_consumer()

        def drain() -> bool:
            consumer.answer([(each, answer_for(each.job)) for each in consumer.receive(8, 2)])
            return self.queue.depth() == 0

        wait_until(drain, "a last consumer has emptied the queue")
        assert self.answered().keys() == set(self.added)
        assert self.queue.dead_letters() == []
        self.queue.close()


@pytest.fixture
def rules(redis_process: RedisServer) -> type[QueueRules]:
    QueueRules.server = redis_process
    return QueueRules


def test_every_job_is_answered_and_none_is_lost(rules: type[QueueRules]) -> None:
    run_state_machine_as_test(rules, settings=SETTINGS)
