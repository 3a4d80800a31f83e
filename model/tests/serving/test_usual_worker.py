"""What a worker of the usual settings does with jobs; one process serves all tests of this file."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import ml_service
import settings
from sightline_testing.hostile import jpegs
from sightline_testing.redis_server import RedisServer
from sightline_testing.waiting import wait_until
from tests.worker_processes import (
    CODES,
    GOOD_AND_BAD,
    QUEUE,
    TIMEOUT_S,
    ask_all,
    codes_of,
    is_queue_empty,
    patient_producer,
    started,
    wait_for_workers,
    write_images,
)
from wire import Producer
from wire.decode_cost import decode_ms


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("uploads"))


@pytest.fixture(scope="module")
def producer(
    redis_process: RedisServer, folder: Path, bundles: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Producer]:
    """Send jobs to the worker, which is registered; no test empties Redis."""
    redis_process.command("FLUSHALL")
    producer = patient_producer(redis_process.port)
    worker = started(tmp_path_factory.mktemp("log") / "worker.log", redis_process, folder, bundles)
    try:
        wait_for_workers(producer, 1)
        yield producer
    finally:
        worker.kill()
        worker.wait()
        producer.close()


def test_every_job_is_answered_as_predict_does_and_nothing_stays_behind(
    producer: Producer, folder: Path, redis_process: RedisServer, bundles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = ["0.jpg", "camera.png", "1.jpg", "2.jpg", "3.jpg"] * 12
    with ThreadPoolExecutor(16) as pool:
        answers = [future.result() for future in ask_all(pool, producer, images)]
    monkeypatch.setattr(settings, "BUNDLES_FOLDER", str(bundles))
    monkeypatch.setattr(settings, "UPLOAD_FOLDER", str(folder))
    predicted = {image: ml_service.predict(image) for image in set(images)}
    for image, answer in zip(images, answers, strict=True):
        label, probability = answer.predictions[0]
        assert (label, round(probability, 4)) == predicted[image]
    wait_until(lambda: is_queue_empty(redis_process), "the queue was empty")


def test_a_bad_image_fails_and_its_neighbours_do_not(producer: Producer) -> None:
    assert codes_of(producer, GOOD_AND_BAD * 4) == CODES * 4


def test_rubbish_in_the_queue_stops_nobody(producer: Producer, redis_process: RedisServer) -> None:
    for rubbish in (
        b"",
        b"{}",
        b"\xff" * 100,
        b'{"v":1,"id":"x","image":"../../etc/passwd","reply_to":"y","ttl_ms":9}',
    ):
        redis_process.command("XADD", f"{{{QUEUE}}}:jobs", "*", "job", rubbish)
    assert producer.submit("0.jpg", timeout_s=TIMEOUT_S).predictions
    wait_until(lambda: is_queue_empty(redis_process), "the queue was empty")


def test_expensive_images_are_answered_one_after_the_other(producer: Producer, folder: Path) -> None:
    # Admitted as images of 25 megapixels, and decoded as images of nine, which take a third of the time.
    cost_ms = decode_ms(jpegs.refining_scans(5_000, 5_000, 43))
    content = jpegs.refining_scans(3_000, 3_000, 43)
    for number in range(2):
        (folder / f"expensive{number}.jpg").write_bytes(content + bytes((number,)))
    with ThreadPoolExecutor(8) as pool:
        names = [f"expensive{number}.jpg" for number in range(2)]
        asked = [pool.submit(producer.submit, name, timeout_s=TIMEOUT_S, decode_ms=cost_ms) for name in names]
        usual = [pool.submit(producer.submit, "0.jpg", timeout_s=TIMEOUT_S) for _ in range(20)]
        assert all(each.result().predictions for each in (*asked, *usual))
