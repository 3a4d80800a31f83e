from __future__ import annotations

import pytest

from wire import Delivery, Failure, Job
from wire.consumer.triage import Acknowledgement, Entry, triage

JOB = Job("id-1", "cat.jpg", "producer", ttl_ms=1000)
ADDED_MS = 1_700_000_000_000
ENTRY_ID = b"1700000000000-5"


def entry(*fields: bytes, deliveries: int = 1) -> Entry:
    return Entry(ENTRY_ID, list(fields), deliveries, "dead-consumer")


def test_a_job_within_its_time_is_delivered_with_what_it_has_waited() -> None:
    verdict = triage(entry(b"job", JOB.encode()), ADDED_MS + 400, 3)
    assert isinstance(verdict, Delivery)
    assert (verdict.entry_id, verdict.job, verdict.waited_ms) == (ENTRY_ID.decode(), JOB, 400)
    assert verdict.deadline - verdict.received_at == pytest.approx(0.6, abs=0.05)


def test_a_job_whose_time_is_over_is_answered_as_expired() -> None:
    verdict = triage(entry(b"job", JOB.encode()), ADDED_MS + 1000, 3)
    assert isinstance(verdict, Acknowledgement)
    assert verdict.reply == Failure("id-1", "expired", "waited 1000 ms of 1000 ms")
    assert verdict.reply_to == "producer"
    assert verdict.dead_letter is None


def test_a_clock_that_was_set_back_does_not_expire_a_job() -> None:
    verdict = triage(entry(b"job", JOB.encode()), ADDED_MS - 60_000, 3)
    assert isinstance(verdict, Delivery)
    assert verdict.waited_ms == 0


def test_a_job_that_three_workers_did_not_survive_is_poison_with_evidence() -> None:
    assert isinstance(triage(entry(b"job", JOB.encode(), deliveries=3), ADDED_MS, 3), Delivery)
    verdict = triage(entry(b"job", JOB.encode(), deliveries=4), ADDED_MS, 3)
    assert isinstance(verdict, Acknowledgement)
    assert isinstance(verdict.reply, Failure)
    assert verdict.reply.code == "poison"
    assert verdict.dead_letter == {
        "reason": "poison",
        "entry": ENTRY_ID,
        "deliveries": 3,
        "worker": "dead-consumer",
        "job": JOB.encode(),
    }


def test_an_entry_that_was_deleted_while_pending_is_ended_without_a_reply() -> None:
    assert triage(Entry(ENTRY_ID, None, 2), ADDED_MS, 3) == Acknowledgement(ENTRY_ID.decode())


@pytest.mark.parametrize(
    "fields",
    [
        [b"other", b"{}"],
        [b"job", b"\x80\x04pickled"],
        [b"job", b"{}", b"more", b"fields"],
        [b"job", b"\x00" * 100_000],
        [b"", b""],
    ],
    ids=range(5),
)
def test_a_hostile_entry_becomes_a_small_dead_letter(fields: list[bytes]) -> None:
    verdict = triage(entry(*fields), ADDED_MS, 3)
    assert isinstance(verdict, Acknowledgement)
    assert verdict.dead_letter is not None
    assert str(verdict.dead_letter["reason"]).startswith("undecodable")
    assert sum(len(str(value)) for value in verdict.dead_letter.values()) < 2000
    assert verdict.reply is None


def test_the_sender_of_an_unreadable_job_is_told() -> None:
    verdict = triage(entry(b"job", b'{"v":2,"id":"id-1","reply_to":"producer","shape":"new"}'), ADDED_MS, 3)
    assert isinstance(verdict, Acknowledgement)
    assert verdict.reply_to == "producer"
    assert verdict.reply == Failure(
        "id-1", "internal", "the worker cannot read the job: message version 2, this side reads 1"
    )
