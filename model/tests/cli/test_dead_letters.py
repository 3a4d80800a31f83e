from collections.abc import Iterator

import pytest

import settings
from cli import dead_letters
from sightline_testing.queue_probe import QueueProbe
from sightline_testing.redis_server import RedisServer
from sightline_testing.waiting import wait_until
from sightline_testing.workers import StandInWorker


@pytest.fixture
def queue(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[QueueProbe]:
    probe = QueueProbe(redis_server)
    monkeypatch.setattr(settings, "REDIS_PORT", redis_server.port)
    monkeypatch.setattr(settings, "REDIS_QUEUE", probe.name)
    for image in ("first.jpg", "second.jpg"):
        bury(probe, image)
    yield probe
    probe.close()


def bury(queue: QueueProbe, image: str) -> None:
    """Have a consumer set a job aside that was delivered too often."""
    before = len(queue.dead_letters())
    queue.add(image)
    first, second = (queue.consumer(name, lease_ms=10, max_deliveries=1) for name in ("first", "second"))
    assert first.receive(1, 1000)
    wait_until(lambda: not second.receive(1, 10) and len(queue.dead_letters()) > before, "it is set aside")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str]]:
    status = dead_letters.main(list(arguments))
    return status, capsys.readouterr().out.splitlines()


def test_letters_are_listed_oldest_first(queue: QueueProbe, capsys: pytest.CaptureFixture[str]) -> None:
    status, (first, second, total) = run(capsys, "list")
    assert status == 0
    assert "poison" in first
    assert "1 deliveries, last to first:" in first
    assert first.endswith("image first.jpg")
    assert second.endswith("image second.jpg")
    assert total == "2 dead letters"


def test_a_replayed_letter_goes_once_it_is_answered(queue: QueueProbe, capsys: pytest.CaptureFixture[str]) -> None:
    _, (first, *_) = run(capsys, "list")
    with StandInWorker(queue.address, queue.name):
        status, lines = run(capsys, "replay", first.split()[0])
    assert status == 0
    assert lines == [f"{first.split()[0]}  answered: first.jpg 0.7500"]
    assert run(capsys, "list")[1][-1] == "1 dead letters"


def test_a_letter_that_is_not_answered_stays(queue: QueueProbe, capsys: pytest.CaptureFixture[str]) -> None:
    status, lines = run(capsys, "replay", "--timeout", "0.1")
    assert status == 1
    assert all("stays" in line for line in lines)
    assert len(queue.dead_letters()) == 2


def test_letters_are_dropped_all_or_by_id(queue: QueueProbe, capsys: pytest.CaptureFixture[str]) -> None:
    _, (first, *_) = run(capsys, "list")
    assert run(capsys, "drop", first.split()[0]) == (0, ["1 dead letters dropped"])
    assert run(capsys, "drop") == (0, ["1 dead letters dropped"])
    assert run(capsys, "list") == (0, ["0 dead letters"])


def test_an_unknown_id_is_told_and_nothing_is_done(queue: QueueProbe, capsys: pytest.CaptureFixture[str]) -> None:
    assert dead_letters.main(["drop", "7-7"]) == 1
    assert "no dead letter 7-7" in capsys.readouterr().err
    assert len(queue.dead_letters()) == 2
