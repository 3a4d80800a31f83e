"""Which workers may serve a queue together: those of one model in one precision."""

import os
import shutil
import signal
from contextlib import closing
from pathlib import Path

from inference import compiled
from inference.bundle import ACTIVE_FILE
from registry.activation import PROMOTED, activate
from sightline_testing.client import Client
from sightline_testing.redis_server import RedisServer, free_port
from sightline_testing.waiting import wait_until
from tests.bundle_copies import link_compiled
from tests.worker_processes import (
    QUEUE,
    TIMEOUT_S,
    Start,
    is_announced,
    model_of,
    patient_producer,
    state_of,
    wait_for_workers,
)
from wire import Producer

INT8, FP32 = (f"efficientnet-lite0/1-{precision}" for precision in ("int8", "fp32"))
COMPILED = shutil.ignore_patterns(compiled.FOLDER)


def test_a_worker_of_another_precision_waits_and_says_why_until_the_queue_is_free(
    start: Start, producer: Producer, redis_server: RedisServer
) -> None:
    first = start(PRECISION="int8")
    wait_for_workers(producer, 1)
    port = free_port()
    other = start(PRECISION="fp32", METRICS_PORT=str(port))
    wait_until(lambda: "MODEL_CLASS" in why(producer), "the reason is published", TIMEOUT_S)
    theirs, own = "efficientnet-lite0 int8", "efficientnet-lite0 fp32"
    assert f"of the queue {QUEUE} serve {theirs}, and this one has {own}. Set MODEL_CLASS" in why(producer)
    answer = Client(f"http://127.0.0.1:{port}").get("/readyz")
    assert (answer.status, answer.text.strip()) == (503, why(producer))
    wait_for_workers(producer, 1)
    with closing(patient_producer(redis_server.port, f"{QUEUE}.large")) as large:
        start(PRECISION="fp32", MODEL_CLASS="large")
        wait_for_workers(large, 1)
        # Each class knows what its workers serve, which is when answers are kept.
        assert (served := state_of(large).served) is not None
        assert served.version == "1-fp32"
        assert model_of(large.submit("0.jpg", timeout_s=TIMEOUT_S)) == FP32
        assert model_of(producer.submit("0.jpg", timeout_s=TIMEOUT_S)) == INT8
    first.send_signal(signal.SIGTERM)
    assert first.wait(TIMEOUT_S) == 0
    wait_until(lambda: is_announced(producer, FP32) and not why(producer), "the other one serves", TIMEOUT_S)
    other.send_signal(signal.SIGTERM)
    assert other.wait(TIMEOUT_S) == 0


def test_a_worker_that_waits_joins_once_it_is_promoted_to_what_the_others_serve(
    start: Start, producer: Producer, bundles: Path, tmp_path: Path
) -> None:
    own = [tmp_path / name for name in ("one", "other")]
    for folder, active in zip(own, (INT8, FP32), strict=True):
        for version in (INT8, FP32):
            shutil.copytree(bundles / version, folder / version, copy_function=os.link, ignore=COMPILED)
        (folder / ACTIVE_FILE).write_text(f"{active}\n")
        link_compiled(bundles, folder)
    start(BUNDLES_FOLDER=str(own[0]))
    wait_for_workers(producer, 1)
    waiting = start(BUNDLES_FOLDER=str(own[1]))
    wait_until(lambda: "MODEL_CLASS" in why(producer), "the reason is published", TIMEOUT_S)
    activate(own[1], INT8, FP32, PROMOTED)
    wait_for_workers(producer, 2)
    assert waiting.poll() is None
    # A promotion while both serve is followed by each when it has loaded: that is no reason to end.
    for folder in own:
        activate(folder, FP32, INT8, PROMOTED)
    wait_until(lambda: {each.version for each in producer.refresh().workers} == {"1-fp32"}, "both follow", TIMEOUT_S)


def test_of_two_kinds_that_start_at_once_one_serves(start: Start, producer: Producer) -> None:
    waiting = [start(PRECISION=precision) for precision in ("int8", "fp32")]
    wait_until(lambda: "MODEL_CLASS" in why(producer), "one publishes the reason", TIMEOUT_S)
    wait_for_workers(producer, 1)
    assert [each.poll() for each in waiting] == [None, None]
    waiting[0].send_signal(signal.SIGTERM)
    assert waiting[0].wait(TIMEOUT_S) == 0
    wait_until(lambda: not why(producer) and is_announced(producer, FP32), "the one that is left serves", TIMEOUT_S)


def why(producer: Producer) -> str:
    return producer.refresh().startup_error
