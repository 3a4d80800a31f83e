"""Both sides at work under exactly the rights that docs/wire.md lists."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sightline_testing.queue_probe import QueueProbe
from sightline_testing.waiting import WAIT_S, wait_until
from sightline_testing.workers import StandInWorker
from wire import (
    Address,
    AsyncJobs,
    Consumer,
    DeadLetters,
    Heartbeat,
    Producer,
    QueueUnavailable,
    ResultCache,
    WorkerInfo,
)
from wire.consumer import maintenance
from wire.consumer.maintenance import Leases, Maintenance
from wire.errors import DeadlineExceeded
from wire.orders.messages import TRAIN, Order
from wire.orders.order_book import OrderBook
from wire.orders.suggestions import Search, Suggestions
from wire.orders.trainer_desk import TrainerDesk
from wire.queue_stats import QueueStats
from wire.redis.connection import Connection
from wire.redis.keys import GROUP
from wire.redis.resp import checked, pack
from wire.result_cache import Question
from wire.worker_registry import Served

DOCUMENT = Path(__file__).parents[2] / "docs" / "wire.md"
PASSWORD = "a-test-has-no-secrets"  # noqa: S105  a test's own


@pytest.fixture
def users(queue: QueueProbe) -> Iterator[dict[str, Address]]:
    """Make the documented users and give where each of them enters."""
    [block] = re.findall(r"```acl\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    entrances = {}
    for line in block.replace("{QUEUE}", "{" + queue.name + "}").splitlines():
        _, name, *rules = line.split()
        queue.redis("ACL", "SETUSER", name, *rules, f">{PASSWORD}")
        entrances[name] = Address(port=queue.server.port, username=name, password=PASSWORD)
    queue.redis("ACL", "LOG", "RESET")
    yield entrances
    queue.redis("ACL", "DELUSER", *entrances)


def names(queue: QueueProbe) -> set[bytes]:
    return {consumer[1] for consumer in queue.redis("XINFO", "CONSUMERS", queue.keys.jobs, GROUP)}


def must_not_be_stuck(job_ids: list[str]) -> None:
    raise AssertionError(f"{job_ids} do not hang")


def test_the_documented_rights_suffice_for_all_that_each_side_does(
    queue: QueueProbe, users: dict[str, Address], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "REAP_AFTER_MS", 100)
    monkeypatch.setattr(maintenance, "REAP_EVERY_S", 0.01)
    api, worker = users["sightline-api"], users["sightline-worker"]
    producer = Producer(api, queue.name, redis_timeout_s=60.0)
    idle = Heartbeat(worker, queue.name, WorkerInfo("idle", "host", "none", "0", "none"), ())
    idle.start()  # or the producer may have polled already and refuse because there is no worker
    wait_until(lambda: producer.refresh().workers, "the idle worker is known")
    with pytest.raises(DeadlineExceeded):
        producer.submit("withdrawn.jpg", timeout_s=0.05)
    idle.stop()
    wait_until(lambda: queue.depth() == 0, "the entry is deleted")
    dying = Consumer(worker, queue.name, "dying", lease_ms=60_000, max_batch_s=60)
    queue.add("claimed.jpg")
    wait_until(lambda: dying.receive(1, 100), "the job is taken")
    queue.redis("XADD", queue.keys.jobs, "*", "job", b"hostile")
    queue.add("expired.jpg", ttl_ms=1)
    queue.redis("XGROUP", "CREATECONSUMER", queue.keys.jobs, GROUP, "gone")
    with StandInWorker(worker, queue.name, lease_ms=50) as serving:
        keeper = Leases(worker, [serving.consumer], must_not_be_stuck)
        keeper.start()
        wait_until(lambda: producer.refresh().labels, "the worker and its labels are known")
        wait_until(lambda: (state := producer.snapshot()) is not None and state.workers, "the producer knows it too")
        queue.redis("SCRIPT", "FLUSH")
        answer = producer.submit("cat.jpg", timeout_s=WAIT_S)
        wait_until(lambda: queue.depth() == 0, "all is settled")
        wait_until(lambda: b"gone" not in names(queue), "the idle consumer is reaped")
        keeper.stop()
        cache = ResultCache(api, queue.name, max_entries=1, ttl_s=60, timeout_s=60.0)
        question = Question("ab" * 32, Served(answer.model, answer.version, "none", "none"))
        cache.keep(question, 5, replace(answer, sha256=question.image), cache.find(question, 5).slot)
        assert cache.find(question, 5).answer
        jobs = AsyncJobs(producer, max_jobs=10)
        handle = jobs.enqueue("dog.jpg", timeout_s=WAIT_S)
        wait_until(lambda: jobs.find(handle).reply is not None, "the submitted job is done")
        jobs.cancel(handle)
        letters = DeadLetters(users["sightline-operator"], queue.name)
        [letter] = letters.newest()
        letters.drop([letter])
    dying.close()
    producer.close()
    assert queue.redis("ACL", "LOG") == []


def test_the_documented_rights_suffice_to_clear_the_queue(queue: QueueProbe, users: dict[str, Address]) -> None:
    maintenance = Maintenance(users["sightline-worker"], queue.name, "upkeep", lease_ms=50, max_batch_s=60)
    maintenance.sweep()
    queue.add("expired.jpg", ttl_ms=1)
    queue.add("orphan.jpg")
    time.sleep(0.01)
    queue.redis("XGROUP", "CREATE", queue.keys.jobs, GROUP, "$")
    maintenance.sweep()
    maintenance.stop()
    assert (queue.depth(), queue.pending()) == (1, 1)
    assert queue.redis("ACL", "LOG") == []


def test_the_documented_rights_suffice_to_place_and_to_do_orders(queue: QueueProbe, users: dict[str, Address]) -> None:
    book = OrderBook(users["sightline-api"], queue.name, timeout_s=60.0)
    trainer = TrainerDesk(users["sightline-trainer"], queue.name, "trainer")
    assert trainer.lead()
    order_id = book.place(Order(TRAIN, "Ann"))
    taken = trainer.take(0.01)
    assert taken is not None
    assert trainer.begin(taken)
    assert trainer.take(0.01) is not None
    trainer.find(order_id)
    trainer.publish_versions([])
    assert trainer.done(order_id, {})
    assert trainer.has_outcome(order_id)
    assert trainer.take(0.01) is None
    assert trainer.take(0.01) is None
    assert [each.state for each in book.read().orders] == ["done"]
    assert book.find(order_id) is not None
    search = Search(0, 0, "m/1")
    Suggestions(users["sightline-trainer"], queue.name, timeout_s=60.0).replace([], search)
    Suggestions(users["sightline-operator"], queue.name, timeout_s=60.0).remove(["a"])
    suggested = Suggestions(users["sightline-api"], queue.name, timeout_s=60.0)
    suggested.find(["a"])
    suggested.remove(["a"])
    assert suggested.claim(["a"]) == {"a"}
    suggested.release(["a"])
    assert suggested.read() == ([], search)
    assert trainer.order_search(3600)
    trainer.leave()
    QueueStats(users["sightline-trainer"], queue.name, timeout_s=60.0).refresh()
    assert queue.redis("ACL", "LOG") == []


@pytest.mark.parametrize("user", ["sightline-api", "sightline-worker", "sightline-operator", "sightline-trainer"])
@pytest.mark.parametrize(
    "command",
    [
        "FLUSHALL",
        "KEYS *",
        "CONFIG GET dir",
        "GET other",
        "XADD other * a b",
        "REPLICAOF NO ONE",
        "ACL LIST",
    ],
)
def test_the_documented_rights_allow_nothing_else(
    queue: QueueProbe, users: dict[str, Address], user: str, command: str
) -> None:
    connection = Connection(users[user], "test")
    [reply] = connection.exchange(pack(*command.split()), 1)
    connection.close()
    with pytest.raises(QueueUnavailable, match="permission"):
        checked(reply)


def test_a_missing_right_is_told_by_its_command(queue: QueueProbe, users: dict[str, Address]) -> None:
    queue.redis("ACL", "SETUSER", "sightline-api", "-evalsha")
    queue.announce()
    producer = Producer(users["sightline-api"], queue.name)
    with pytest.raises(QueueUnavailable, match="evalsha"):
        producer.submit("cat.jpg", timeout_s=WAIT_S)
    producer.close()
