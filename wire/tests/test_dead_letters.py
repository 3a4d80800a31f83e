from __future__ import annotations

import pytest

from sightline_testing.queue_probe import QueueProbe
from sightline_testing.waiting import WAIT_S, wait_until
from sightline_testing.workers import StandInWorker
from wire import DeadLetters, Job
from wire.consumer.triage import MAX_DEAD_LETTERS
from wire.errors import DeadlineExceeded


@pytest.fixture
def letters(queue: QueueProbe) -> DeadLetters:
    return DeadLetters(queue.address, queue.name)


def bury(queue: QueueProbe, image: str) -> None:
    """Have a consumer set a job aside that was delivered too often."""
    queue.add(image)
    before = queue.redis("XLEN", queue.keys.dead)
    first, second = (queue.consumer(name, lease_ms=10, max_deliveries=1) for name in ("first", "second"))
    assert first.receive(1, 1000)
    wait_until(lambda: not second.receive(1, 10) and queue.redis("XLEN", queue.keys.dead) > before, "it is set aside")


def test_a_dead_letter_tells_what_happened_to_which_job(queue: QueueProbe, letters: DeadLetters) -> None:
    bury(queue, "bad.jpg")
    queue.redis("XADD", queue.keys.jobs, "*", "job", b"\x80pickle")
    queue.consumer().receive(1, 1)
    unreadable, poison = letters.newest()
    assert (poison.reason, poison.deliveries) == ("poison", 1)
    assert poison.worker.startswith("first:")
    assert poison.job == Job("bad.jpg", "bad.jpg", "producer", 60_000)
    assert poison.at_ms >= int(poison.entry_id.partition("-")[0])
    assert unreadable.job is None
    assert "x80pickle" in unreadable.evidence


def test_a_replayed_job_is_answered_and_its_letter_gone(queue: QueueProbe, letters: DeadLetters) -> None:
    bury(queue, "once-bad.jpg")
    [letter] = letters.newest()
    with StandInWorker(queue.address, queue.name):
        answer = letters.replay(letter, queue.producer(), timeout_s=WAIT_S)
    assert answer.predictions[0][0] == "once-bad.jpg"
    assert letters.newest() == []


def test_a_replay_without_an_answer_keeps_the_letter(queue: QueueProbe, letters: DeadLetters) -> None:
    bury(queue, "bad.jpg")
    queue.announce()
    with pytest.raises(DeadlineExceeded):
        letters.replay(letters.newest()[0], queue.producer(), timeout_s=0.05)
    assert len(letters.newest()) == 1


def test_a_letter_without_a_job_cannot_be_replayed(queue: QueueProbe, letters: DeadLetters) -> None:
    queue.redis("XADD", queue.keys.dead, "*", "reason", "undecodable", "evidence", "b'?'")
    [letter] = letters.newest()
    with pytest.raises(ValueError, match="no job"):
        letters.replay(letter, queue.producer(), timeout_s=1)
    letters.drop([letter])
    assert letters.newest() == []


def test_dead_letters_are_bounded(queue: QueueProbe, letters: DeadLetters) -> None:
    consumer = queue.consumer()
    many = MAX_DEAD_LETTERS + 300
    for _ in range(many):
        queue.redis("XADD", queue.keys.jobs, "*", "job", b"?")
    while queue.depth():
        consumer.receive(100, 1)
    assert MAX_DEAD_LETTERS <= len(letters.newest(many)) < many
