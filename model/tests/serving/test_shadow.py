"""The counts of a shadow are right, however many threads count."""

import math
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from inference import model
from inference.model import Model
from serving.classifier import Classifier, Occupancy
from serving.shadow import MAX_WAITING, Shadow
from sightline_testing import sample_images
from sightline_testing.waiting import wait_until
from storage.images.folder import image_folder
from wire import Answer, Delivery, Job
from wire.messages import CandidateAnswer

THREADS, OFFERS = 4, 5_000


@pytest.fixture(scope="module")
def ready(bundles: Path) -> Model:
    return model.load(bundles / "efficientnet-lite0" / "1-int8", "openvino", streams=1, cores=1)


@pytest.fixture
def _often_switching() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_often_switching")
def test_every_job_that_is_skipped_is_counted_once(ready: Model, tmp_path: Path) -> None:
    shadow = Shadow(ready, 1.0, image_folder(tmp_path), has_idle_consumer=lambda: False)
    answer = Answer("job", (("cat", 0.5),), "m", "1", {"decode": 1.0, "infer": 1.0})
    offered = [(Delivery("0-0", Job("job", "x.png", "replies", 5_000), 1, 1.5, math.inf), answer)]

    def offer() -> None:
        for _ in range(OFFERS):
            shadow.offer(offered)

    threads = [threading.Thread(target=offer) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # What waits still is skipped by the shadow itself, since no consumer is idle.
    wait_until(lambda: shadow.counts()["skipped"] == THREADS * OFFERS, "each job is counted")
    shadow.stop()
    assert THREADS * OFFERS > MAX_WAITING


def test_who_asks_for_the_candidate_s_answer_receives_it(ready: Model, tmp_path: Path) -> None:
    (tmp_path / "0.jpg").write_bytes(sample_images.jpeg(seed=0))
    images = image_folder(tmp_path)
    tried = [Shadow(ready, 0.0, images, has_idle_consumer=lambda: False)]
    classifier = Classifier(ready, images, 1, Occupancy(), candidate=lambda: tried[0] if tried else None)

    def answer(**wanted: bool) -> Answer:
        job = Job("job", "0.jpg", "replies", 5_000, 2, **wanted)  # type: ignore[arg-type]
        [(_, reply)] = classifier.outcomes([Delivery("0-0", job, 1, 1.5, math.inf)])
        assert isinstance(reply, Answer)
        return reply

    found = answer(candidate=True)
    assert found.candidate == CandidateAnswer("efficientnet-lite0/1-int8", found.predictions)
    assert answer().candidate is None
    tried.pop().stop()
    assert answer(candidate=True).candidate is None


def test_a_stop_is_no_job(ready: Model, tmp_path: Path) -> None:
    shadow = Shadow(ready, 1.0, image_folder(tmp_path), has_idle_consumer=lambda: False)
    for _ in range(2 * MAX_WAITING):
        shadow.stop()
    assert not any(shadow.counts().values())
