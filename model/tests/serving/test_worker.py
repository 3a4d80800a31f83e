"""ml_service.classify_process() as a process of its own, with a real Redis and a real model."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from inference import bundle, compiled
from inference.bundle import ACTIVE_FILE
from registry.activation import PROMOTED, activate
from serving import heat_maps
from sightline_testing.redis_server import RedisServer
from sightline_testing.waiting import wait_for_end, wait_until
from tests.bundle_copies import copied, link_compiled, sealed
from tests.improving import FULL
from tests.worker_processes import (
    CODES,
    GOOD_AND_BAD,
    QUEUE,
    TIMEOUT_S,
    Start,
    ask_all,
    codes_of,
    is_announced,
    is_queue_empty,
    model_of,
    state_of,
    wait_for_workers,
)
from wire import Address, Producer, ResultCache
from wire.result_cache import Question


def test_a_worker_says_what_it_serves_and_knows_its_speed_before_its_first_job(
    start: Start, producer: Producer
) -> None:
    start(MAX_BATCH_SIZE="3", PRECISION="fp32")
    wait_for_workers(producer, 1)
    state = state_of(producer)
    assert (state.model, state.version) == ("efficientnet-lite0", "1-fp32")
    assert len(state.labels) == 1_000
    assert len(state.preprocessing) == 16
    assert (state.workers[0].consumers, state.workers[0].max_batch) == (2, 3)
    assert state.workers[0].rate > 0
    assert state.workers[0].slowness > 0
    assert state.rate == pytest.approx(state.workers[0].rate)


def test_a_bad_image_fails_and_its_neighbours_do_not_where_they_are_decoded_together(
    start: Start, producer: Producer
) -> None:
    start(DECODE_THREADS="3")
    wait_for_workers(producer, 1)
    assert codes_of(producer, GOOD_AND_BAD * 4) == CODES * 4


def test_a_worker_that_says_it_serves_another_version_answers_with_it_though_its_consumers_waited(
    start: Start, producer: Producer, bundles: Path, tmp_path: Path
) -> None:
    versions = [f"efficientnet-lite0/1-{precision}" for precision in ("fp32", "int8")]
    own = tmp_path / "bundles"
    for version in versions:
        copied(bundles, own / version, Path(version).name)
    (own / ACTIVE_FILE).write_text(f"{versions[-1]}\n")
    link_compiled(bundles, own)
    start(BUNDLES_FOLDER=str(own))
    wait_for_workers(producer, 1)
    rounds = 2 if FULL else 1
    for before, after in zip(versions[::-1] * rounds, versions * rounds, strict=True):
        assert model_of(producer.submit("0.jpg", timeout_s=TIMEOUT_S)) == before
        activate(own, after, before, PROMOTED)
        wait_until(partial(is_announced, producer, after), f"{after} was announced", TIMEOUT_S)
        assert [model_of(producer.submit("0.jpg", timeout_s=TIMEOUT_S)) for _ in range(4)] == [after] * 4
    for version in versions:
        key = compiled.key(heat_maps.FINDING, bundle.load(own / version).digest)
        wait_until(partial(are_maps_found, own / version, key), "whether there are heat maps was checked", TIMEOUT_S)


def are_maps_found(folder: Path, finding: str) -> bool:
    return compiled.kept(folder, finding) == b""


def test_other_weights_under_a_copied_description_do_not_get_the_answers_kept_for_the_first(
    start: Start, producer: Producer, redis_server: RedisServer, bundles: Path, folder: Path
) -> None:
    tmp_path = folder.parent
    image = hashlib.sha256((folder / "0.jpg").read_bytes()).hexdigest()
    cache = ResultCache(Address(port=redis_server.port), QUEUE, max_entries=100, ttl_s=60, timeout_s=TIMEOUT_S)
    fp32 = (bundles / "efficientnet-lite0" / "1-fp32" / "model.onnx").read_bytes()
    kept = []
    for name in ("own", "other"):
        folder = copied(bundles, tmp_path / name / "efficientnet-lite0" / "1-int8")
        if name == "other":
            sealed(folder, model=fp32)
        link_compiled(bundles, tmp_path / name)
        worker = start(BUNDLES_FOLDER=str(tmp_path / name))
        wait_for_workers(producer, 1)
        served = state_of(producer).served
        assert served is not None
        question = Question(image, served)
        found = cache.find(question, 5)
        answer = producer.submit("0.jpg", timeout_s=TIMEOUT_S)
        cache.keep(question, 5, answer, found.slot)
        kept.append((found.answer, cache.find(question, 5).answer is not None))
        worker.terminate()
        wait_for_end(worker, "the worker ended after SIGTERM")
    assert kept == [(None, True), (None, True)]


def test_a_killed_worker_costs_no_answer(start: Start, producer: Producer, redis_server: RedisServer) -> None:
    # One consumer, and a lease that is long for the other worker: on a machine that stands still, neither takes over
    # what the other has in hand again and again, until it counts as poison.
    first, _ = start(LEASE_MS="10000"), start(LEASE_MS="300", CONSUMERS="1")
    wait_for_workers(producer, 2)
    with ThreadPoolExecutor(16) as pool:
        futures = ask_all(pool, producer, ["0.jpg", "1.jpg"] * 60)
        wait_until(lambda: sum(future.done() for future in futures) > 10, "some were answered")
        first.kill()
        assert all(future.result().predictions for future in futures)
    wait_until(lambda: is_queue_empty(redis_server), "the queue was empty")
