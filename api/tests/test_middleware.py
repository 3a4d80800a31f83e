import threading
from contextlib import suppress

import pytest

import middleware
import settings
from images.uploads import StoredImage
from middleware import PredictOptions, current_options, model_predict
from predict import job_queue
from sightline_testing.redis_server import RedisServer
from tests.serving import CONFIDENCE, LABELS, MODEL, VERSION, EchoWorker, wait_until
from wire import Answer, Delivery, Failure, JobFailed, QueueFull, QueueUnavailable
from wire.errors import Abandoned, DeadlineExceeded, NoWorker

NAME = "00000000000000000000000000000000.jpg"


def answered(name: str) -> tuple[str, float]:
    """Ask until there is an answer: on a machine this busy, Redis may seem to be away for a moment."""
    while True:
        with suppress(QueueUnavailable):
            return model_predict(name)


def test_the_answer_is_a_pair_with_everything_else_beside_it(worker: EchoWorker) -> None:
    prediction = answered(NAME)
    class_name, score = prediction
    assert (class_name, score) == (LABELS[0], CONFIDENCE)
    assert isinstance(prediction, middleware.Prediction)
    assert [label for label, _ in prediction.predictions] == list(LABELS[:5])
    assert prediction.model_version == f"{MODEL}/{VERSION}"
    assert prediction.timings == {"queue": 1.25, "decode": 2.5, "infer": 4.125}
    assert prediction.cache == ""
    assert worker.images == [NAME]


def test_a_request_s_ask_goes_with_its_job(worker: EchoWorker) -> None:
    jobs: list[Delivery] = []
    answer = worker.reply

    def keep(delivery: Delivery) -> Answer | Failure | None:
        jobs.append(delivery)
        return answer(delivery)

    worker.reply = keep
    token = current_options.set(PredictOptions(job_id="the-id", top_k=7, timeout_s=3.0, traceparent="00-trace"))
    try:
        prediction = answered(NAME)
    finally:
        current_options.reset(token)
    job = jobs[0].job
    assert (job.id, job.top_k, job.ttl_ms, job.traceparent) == ("the-id", 7, 3000, "00-trace")
    assert isinstance(prediction, middleware.Prediction)
    assert len(prediction.predictions) == 7


def test_a_failure_of_the_worker_is_raised(worker: EchoWorker) -> None:
    worker.reply = lambda delivery: Failure(delivery.job.id, "image_broken", "it ends too early")
    with pytest.raises(JobFailed) as failure:
        answered(NAME)
    assert failure.value.failure.code == "image_broken"


def test_the_deadline_is_the_setting_at_the_time_of_the_call(
    worker: EchoWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.reply = lambda _: None
    monkeypatch.setattr(settings, "REQUEST_TIMEOUT_S", 0.05)
    with pytest.raises(DeadlineExceeded):
        answered(NAME)


def test_a_caller_that_has_gone_is_not_waited_for(worker: EchoWorker) -> None:
    worker.reply = lambda _: None
    token = current_options.set(PredictOptions(is_abandoned=lambda: True))
    try:
        with pytest.raises(Abandoned):
            answered(NAME)
    finally:
        current_options.reset(token)


def test_nobody_waits_for_a_redis_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "REDIS_PORT", 1)
    with pytest.raises(QueueUnavailable):
        model_predict(NAME)
    job_queue.close_queue()


def test_without_a_worker_the_caller_hears_so(queue: RedisServer) -> None:
    job_queue.open_queue()
    wait_until(lambda: job_queue.queue_state() is not None, "the queue's state is known")
    wait_until(lambda: _refusal() is NoWorker, "the grace for restarting workers has ended")


def _refusal() -> type[Exception] | None:
    token = current_options.set(PredictOptions(timeout_s=0.05))
    try:
        model_predict(NAME)
    except (NoWorker, DeadlineExceeded) as error:
        return type(error)
    finally:
        current_options.reset(token)
    return None


def test_the_queue_s_bound_is_the_setting(worker: EchoWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "MAX_QUEUE_SIZE", 1)
    release = threading.Event()
    answer = worker.reply

    def hold(delivery: Delivery) -> Answer | Failure | None:
        release.wait()
        return answer(delivery)

    worker.reply = hold
    first = threading.Thread(target=answered, args=(NAME,))
    first.start()
    try:
        wait_until(lambda: worker.images != [], "the first job is in progress")
        with pytest.raises(QueueFull):
            answered(NAME)
        wait_until(_is_full, "the queue is seen to be full")
    finally:
        release.set()
        first.join()


def _is_full() -> bool:
    try:
        job_queue.check_room()
    except QueueFull:
        return True
    return False


def depth() -> int:
    queue = job_queue._process.queue
    assert queue is not None
    return queue.producer.depth()


def test_a_job_that_was_handed_in_counts_before_anybody_looks_again(worker: EchoWorker) -> None:
    worker.reply = lambda _: None
    job_queue.open_queue()
    wait_until(lambda: (now := job_queue.queue_state()) is not None and bool(now.workers), "the worker is known")
    bound = job_queue.queue_bound()
    assert bound is not None
    assert job_queue.room_fault(bound) is None
    job_queue.submit_job(StoredImage(NAME), PredictOptions())
    assert job_queue.room_fault(bound) is not None
    wait_until(lambda: (now := job_queue.queue_state()) is not None and now.depth == 1, "the next look counts it")
    assert job_queue.room_fault(bound) is not None
    assert job_queue.room_fault(bound - 1) is None


def test_everything_passes_while_the_queue_s_state_is_unknown() -> None:
    job_queue.close_queue()
    assert job_queue.queue_state() is None
    job_queue.check_room()


def test_other_settings_make_another_connection(worker: EchoWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    answered(NAME)
    monkeypatch.setattr(settings, "REDIS_PORT", 1)
    with pytest.raises(QueueUnavailable):
        model_predict(NAME)
    monkeypatch.setattr(settings, "REDIS_PORT", worker.port)
    assert answered(NAME)[0] == LABELS[0]


def test_the_reply_stream_is_gone_once_the_queue_is_closed(worker: EchoWorker, queue: RedisServer) -> None:
    answered(NAME)
    assert b"replies" in queue.command("KEYS", "*")
    job_queue.close_queue()
    assert b"replies" not in queue.command("KEYS", "*")


def test_threads_share_one_connection_and_each_gets_its_own_answer(worker: EchoWorker) -> None:
    def echo(delivery: Delivery) -> Answer:
        return Answer(delivery.job.id, ((delivery.job.image, 1.0),), MODEL, VERSION)

    worker.reply = echo
    answers: dict[str, str] = {}

    def ask(name: str) -> None:
        answers[name] = answered(name)[0]

    threads = [threading.Thread(target=ask, args=(f"{number}.jpg",)) for number in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {f"{number}.jpg": f"{number}.jpg" for number in range(32)}
