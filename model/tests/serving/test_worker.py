"""ml_service.classify_process() as a process of its own, with a real Redis and a real model."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

import ml_service
import settings
from inference.bundle import ACTIVE_FILE
from registry.activation import PROMOTED, activate
from sightline_testing import pictures
from sightline_testing.hostile import jpegs
from sightline_testing.redis_server import RedisServer
from sightline_testing.waiting import wait_until
from tests.bundle_copies import copied, sealed
from tests.hidden_weights import TRICKS
from wire import Address, Answer, JobFailed, Producer, QueueSnapshot, QueueUnavailable, ResultCache
from wire.decode_cost import decode_ms
from wire.redis.keys import GROUP
from wire.result_cache import Question

MODEL = Path(__file__).resolve().parents[2]
QUEUE = "worker-test"
TIMEOUT_S = 60.0
# Runs the worker with a decoder that never comes back from one picture.
HANGING = (
    "import sys, time, ml_service\nfrom serving import classifier\n"
    "decode = classifier.Classifier._decode\n"
    "def hang(self, delivery, out):\n"
    "    while delivery.job.image == 'hang.jpg': time.sleep(1)\n"
    "    return decode(self, delivery, out)\n"
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
Process = subprocess.Popen[str]
Start = Callable[..., Process]


@pytest.fixture
def folder(uploads: Path) -> Path:
    for seed in range(4):
        (uploads / f"{seed}.jpg").write_bytes(pictures.jpeg(seed=seed))
    (uploads / "camera.png").write_bytes(pictures.encode(pictures.photograph(), "PNG"))
    (uploads / "broken.jpg").write_bytes(pictures.bad("truncated.jpg").content)
    return uploads


@pytest.fixture
def producer(redis_server: RedisServer) -> Iterator[Producer]:
    producer = Producer(Address(port=redis_server.port), QUEUE, max_queue_size=10_000)
    yield producer
    producer.close()


@pytest.fixture
def start(redis_server: RedisServer, folder: Path, bundles: Path, tmp_path: Path) -> Iterator[Start]:
    processes: list[Process] = []

    def start_one(*arguments: str, **changes: str) -> Process:
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": ".",
            "UPLOAD_FOLDER": str(folder),
            "BUNDLES_FOLDER": str(bundles),
            "REDIS_PORT": str(redis_server.port),
            "REDIS_QUEUE": QUEUE,
            "LANES": "2",
            **changes,
        }
        with (tmp_path / f"worker{len(processes)}.log").open("w") as log:
            command = [sys.executable, *(arguments or ("ml_service.py",))]
            processes.append(subprocess.Popen(command, cwd=MODEL, env=environment, stderr=log, text=True))
        return processes[-1]

    yield start_one
    for process in processes:
        process.kill()
        process.wait()


def workers(producer: Producer) -> int:
    try:
        return len(producer.refresh().workers)
    except QueueUnavailable:
        return 0


def wait_for_workers(producer: Producer, count: int) -> None:
    wait_until(lambda: workers(producer) == count, f"{count} workers were heard of", TIMEOUT_S)


def model_of(named: Answer | QueueSnapshot) -> str:
    return f"{named.model}/{named.version}"


def is_announced(producer: Producer, version: str) -> bool:
    return model_of(producer.refresh()) == version


def ask_all(pool: ThreadPoolExecutor, producer: Producer, images: list[str]) -> list[Future[Answer]]:
    return [pool.submit(producer.submit, image, timeout_s=TIMEOUT_S) for image in images]


def is_queue_empty(redis_server: RedisServer) -> bool:
    jobs = f"{{{QUEUE}}}:jobs"
    pending = redis_server.command("XPENDING", jobs, GROUP)
    return redis_server.command("XLEN", jobs) == b":0\r\n" and pending.startswith(b"*4\r\n:0\r\n")


def test_every_job_is_answered_as_predict_does_and_nothing_stays_behind(
    start: Start, producer: Producer, redis_server: RedisServer, bundles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start()
    wait_for_workers(producer, 1)
    images = ["0.jpg", "camera.png", "1.jpg", "2.jpg", "3.jpg"] * 12
    with ThreadPoolExecutor(16) as pool:
        answers = [future.result() for future in ask_all(pool, producer, images)]
    monkeypatch.setattr(settings, "BUNDLES_FOLDER", str(bundles))
    for image, answer in zip(images, answers, strict=True):
        label, probability = answer.predictions[0]
        assert (label, round(probability, 4)) == ml_service.predict(image)
    wait_until(lambda: is_queue_empty(redis_server), "the queue was empty")


def test_a_worker_says_what_it_serves(start: Start, producer: Producer) -> None:
    start(MAX_BATCH_SIZE="3", PRECISION="fp32")
    wait_for_workers(producer, 1)
    state = producer.refresh()
    assert (state.model, state.version) == ("efficientnet-lite0", "1-fp32")
    assert len(state.labels) == 1_000
    assert len(state.preprocessing) == 16
    assert (state.workers[0].lanes, state.workers[0].max_batch) == (2, 3)


def test_a_worker_that_says_it_serves_another_version_answers_with_it_though_its_lanes_waited(
    start: Start, producer: Producer, bundles: Path, tmp_path: Path
) -> None:
    versions = [f"efficientnet-lite0/1-{precision}" for precision in ("fp32", "int8")]
    own = tmp_path / "bundles"
    for version in versions:
        shutil.copytree(bundles / version, own / version)
    (own / ACTIVE_FILE).write_text(f"{versions[-1]}\n")
    start(BUNDLES_FOLDER=str(own))
    wait_for_workers(producer, 1)
    for before, after in zip(versions[::-1] * 2, versions * 2, strict=True):
        assert model_of(producer.submit("0.jpg", timeout_s=TIMEOUT_S)) == before
        activate(own, after, before, PROMOTED)
        wait_until(partial(is_announced, producer, after), f"{after} was announced", TIMEOUT_S)
        assert [model_of(producer.submit("0.jpg", timeout_s=TIMEOUT_S)) for _ in range(4)] == [after] * 4


def test_other_weights_under_a_copied_description_do_not_get_the_answers_kept_for_the_first(
    start: Start, producer: Producer, redis_server: RedisServer, bundles: Path, folder: Path
) -> None:
    tmp_path = folder.parent
    picture = hashlib.sha256((folder / "0.jpg").read_bytes()).hexdigest()
    cache = ResultCache(Address(port=redis_server.port), QUEUE, max_entries=100, ttl_s=60, timeout_s=TIMEOUT_S)
    fp32 = (bundles / "efficientnet-lite0" / "1-fp32" / "model.onnx").read_bytes()
    kept = []
    for name in ("own", "other"):
        folder = copied(bundles, tmp_path / name / "efficientnet-lite0" / "1-int8")
        if name == "other":
            sealed(folder, model=fp32)
        worker = start(BUNDLES_FOLDER=str(tmp_path / name))
        wait_for_workers(producer, 1)
        served = producer.refresh().served
        assert served is not None
        question = Question(picture, served)
        found = cache.find(question, 5)
        answer = producer.submit("0.jpg", timeout_s=TIMEOUT_S)
        cache.keep(question, 5, answer, found.slot)
        kept.append((found.answer, cache.find(question, 5).answer is not None))
        worker.terminate()
        worker.wait()
    assert kept == [(None, True), (None, True)]


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


@pytest.mark.parametrize("threads", ["0", "3"])
def test_a_bad_picture_fails_and_its_neighbours_do_not(start: Start, producer: Producer, threads: str) -> None:
    start(DECODE_THREADS=threads)
    wait_for_workers(producer, 1)
    with ThreadPoolExecutor(8) as pool:
        futures = ask_all(pool, producer, ["0.jpg", "broken.jpg", "nowhere.jpg", "camera.png"] * 4)
        faults = [future.exception() for future in futures]
    assert [fault is None for fault in faults] == [True, False, False, True] * 4
    codes = {fault.failure.code for fault in faults if isinstance(fault, JobFailed)}
    assert codes == {"image_broken", "image_missing"}


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


def test_a_killed_worker_costs_no_answer(start: Start, producer: Producer, redis_server: RedisServer) -> None:
    first, _ = start(LEASE_MS="300"), start(LEASE_MS="300")
    wait_for_workers(producer, 2)
    with ThreadPoolExecutor(16) as pool:
        futures = ask_all(pool, producer, ["0.jpg", "1.jpg"] * 60)
        wait_until(lambda: sum(future.done() for future in futures) > 10, "some were answered")
        first.kill()
        assert all(future.result().predictions for future in futures)
    wait_until(lambda: is_queue_empty(redis_server), "the queue was empty")


def test_a_batch_that_hangs_ends_the_worker_and_another_one_serves_on(start: Start, producer: Producer) -> None:
    hanging = start("-c", HANGING, MAX_BATCH_S="1", LEASE_MS="300")
    wait_for_workers(producer, 1)
    with ThreadPoolExecutor(4) as pool:
        hung = pool.submit(producer.submit, "hang.jpg", timeout_s=TIMEOUT_S)
        assert hanging.wait(TIMEOUT_S) == os.EX_SOFTWARE
        start(LEASE_MS="300")
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


def test_rubbish_in_the_queue_stops_nobody(start: Start, producer: Producer, redis_server: RedisServer) -> None:
    start()
    wait_for_workers(producer, 1)
    for rubbish in (
        b"",
        b"{}",
        b"\xff" * 100,
        b'{"v":1,"id":"x","image":"../../etc/passwd","reply_to":"y","ttl_ms":9}',
    ):
        redis_server.command("XADD", f"{{{QUEUE}}}:jobs", "*", "job", rubbish)
    assert producer.submit("0.jpg", timeout_s=TIMEOUT_S).predictions
    wait_until(lambda: is_queue_empty(redis_server), "the queue was empty")


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


def test_a_worker_knows_its_speed_before_its_first_job(start: Start, producer: Producer) -> None:
    start()
    wait_for_workers(producer, 1)
    state = producer.refresh()
    [worker] = state.workers
    assert worker.rate > 0
    assert worker.slowness > 0
    assert state.rate == pytest.approx(worker.rate)


def test_expensive_images_are_answered_one_after_the_other(start: Start, producer: Producer, folder: Path) -> None:
    content = jpegs.refining_scans(5_000, 5_000, 43)
    for number in range(3):
        (folder / f"expensive{number}.jpg").write_bytes(content + bytes((number,)))
    start()
    wait_for_workers(producer, 1)
    with ThreadPoolExecutor(8) as pool:
        names = [f"expensive{number}.jpg" for number in range(3)]
        asked = [
            pool.submit(producer.submit, name, timeout_s=TIMEOUT_S, decode_ms=decode_ms(content)) for name in names
        ]
        usual = [pool.submit(producer.submit, "0.jpg", timeout_s=TIMEOUT_S) for _ in range(20)]
        assert all(each.result().predictions for each in (*asked, *usual))
