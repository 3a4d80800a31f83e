"""How a worker process refuses to start, stops, dies and comes back."""

import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from inference.bundle import ACTIVE_FILE
from sightline_testing.redis_server import RedisServer
from sightline_testing.waiting import wait_until
from tests.bundle_copies import copied, sealed
from tests.hidden_weights import TRICKS
from tests.worker_processes import QUEUE, TIMEOUT_S, Start, ask_all, wait_for_workers, workers
from wire import JobFailed, Producer
from wire.redis.keys import GROUP

# Runs the worker with a decoder that never comes back from one image.
HANGING = (
    "import sys, time, ml_service\nfrom serving import classifier\n"
    "decode = classifier.Classifier._decode\n"
    "def hang(self, delivery, *rest):\n"
    "    while delivery.job.image == 'hang.jpg': time.sleep(1)\n"
    "    return decode(self, delivery, *rest)\n"
    "classifier.Classifier._decode = hang\n"
    "sys.exit(ml_service.main([]))\n"
)
# Runs the worker below a supervisor that does not read any more.
UNREAD = (
    "import os, sys, ml_service, settings\n"
    "read_end, settings.READY_FD = os.pipe()\n"
    "os.close(read_end)\n"
    "sys.exit(ml_service.main([]))\n"
)


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"\xff\xfe", "active is not UTF-8"), (None, "active cannot be read: it is not a regular file")],
)
def test_a_worker_that_cannot_read_what_is_active_says_so_in_one_line(
    start: Start, producer: Producer, tmp_path: Path, content: bytes | None, told: str
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    if content is None:
        (own / ACTIVE_FILE).mkdir()
    else:
        (own / ACTIVE_FILE).write_bytes(content)
    assert start(BUNDLES_FOLDER=str(own)).wait(TIMEOUT_S) == os.EX_CONFIG
    assert told in producer.refresh().startup_error
    [line] = (tmp_path / "worker0.log").read_text().splitlines()
    assert told in line


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_a_worker_refuses_a_graph_with_hidden_weights_and_says_so(
    start: Start, producer: Producer, bundles: Path, tmp_path: Path, engine: str
) -> None:
    folder = copied(bundles, tmp_path / "own" / "efficientnet-lite0" / "1-int8")
    sealed(folder, model=TRICKS["keys of more than 32 bits"]("/etc/hostname"))
    worker = start(BUNDLES_FOLDER=str(tmp_path / "own"), ENGINE=engine)
    assert worker.wait(TIMEOUT_S) == os.EX_CONFIG
    assert "model.onnx is no plain ONNX file: field number 536870925" in producer.refresh().startup_error


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_told_to_stop_answers_what_it_has_and_leaves_no_trace(
    start: Start, producer: Producer, redis_server: RedisServer, number: signal.Signals
) -> None:
    first = start()
    wait_for_workers(producer, 1)
    with ThreadPoolExecutor(16) as pool:
        futures = ask_all(pool, producer, ["0.jpg", "1.jpg"] * 40)
        wait_until(lambda: sum(future.done() for future in futures) > 4, "some were answered")
        first.send_signal(number)
        first.send_signal(number)
        assert first.wait(TIMEOUT_S) == 0
        assert workers(producer) == 0
        assert redis_server.command("XINFO", "CONSUMERS", f"{{{QUEUE}}}:jobs", GROUP) == b"*0\r\n"
        start()
        assert all(future.result().predictions for future in futures)


def test_a_worker_whose_supervisor_was_killed_as_it_became_ready_ends_when_it_is_told_to(
    start: Start, producer: Producer
) -> None:
    worker = start("-c", UNREAD)
    wait_for_workers(producer, 1)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(TIMEOUT_S) == 0
    assert workers(producer) == 0


def test_workers_that_stood_still_as_they_were_told_to_stop_do_so_when_they_go_on(
    start: Start, producer: Producer
) -> None:
    processes = [start(), start()]
    wait_for_workers(producer, 2)
    for process in processes:
        for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGCONT):
            process.send_signal(number)
    assert [process.wait(TIMEOUT_S) for process in processes] == [0, 0]


def test_a_batch_that_hangs_ends_the_worker_and_another_one_serves_on(start: Start, producer: Producer) -> None:
    # With one consumer each, no other one of the same worker takes over what it holds while the machine stands still.
    hanging = start("-c", HANGING, MAX_BATCH_S="1", CONSUMERS="1")
    wait_for_workers(producer, 1)
    with ThreadPoolExecutor(4) as pool:
        hung = pool.submit(producer.submit, "hang.jpg", timeout_s=TIMEOUT_S)
        assert hanging.wait(TIMEOUT_S) == os.EX_SOFTWARE
        start(LEASE_MS="300", CONSUMERS="1")
        assert producer.submit("0.jpg", timeout_s=TIMEOUT_S).predictions
        fault = hung.exception()
    assert isinstance(fault, JobFailed)
    assert fault.failure.code == "image_missing"  # the second worker does not hang on it, and there is no such file


def test_a_worker_waits_for_redis_and_comes_back_to_it(
    start: Start, producer: Producer, redis_server: RedisServer
) -> None:
    redis_server.kill()
    try:
        worker = start()
        with pytest.raises(subprocess.TimeoutExpired):
            worker.wait(2)
    finally:
        redis_server.start()
    wait_for_workers(producer, 1)
    assert producer.submit("0.jpg", timeout_s=TIMEOUT_S).predictions
    redis_server.kill()
    redis_server.start()
    wait_for_workers(producer, 1)
    assert producer.submit("1.jpg", timeout_s=TIMEOUT_S).predictions


def test_a_worker_without_a_whole_bundle_says_so_and_never_serves(
    start: Start, producer: Producer, bundles: Path, tmp_path: Path
) -> None:
    torn = tmp_path / "bundles" / "efficientnet-lite0" / "1-int8"
    torn.mkdir(parents=True)
    for file in (bundles / "efficientnet-lite0" / "1-int8").glob("*.*"):
        (torn / file.name).write_bytes(file.read_bytes() if file.suffix == ".toml" else file.read_bytes()[:-1])
    for place in ("bundles", "nowhere"):
        worker = start(BUNDLES_FOLDER=str(tmp_path / place))
        assert worker.wait(TIMEOUT_S) == os.EX_CONFIG
    logs = [path.read_text() for path in sorted(tmp_path.glob("worker*.log"))]
    assert ["cannot serve" in log for log in logs] == [True, True]
    assert "SHA-256" in logs[0]
    assert "is missing" in logs[1]
    assert workers(producer) == 0
