import hashlib
import logging
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

import settings
from inference.arrays import Batch, Pixels, Scores
from inference.model import Model, load
from serving.classifier import Classifier, Occupancy, Outcome
from sightline_testing import sample_images
from sightline_testing.hostile import jpegs
from storage.images.folder import image_folder
from wire import Answer, Delivery, Failure, Job


@pytest.fixture(scope="module")
def model(bundles: Path) -> Model:
    return load(bundles / "efficientnet-lite0" / "1-int8", "openvino", streams=2, cores=2)


@pytest.fixture
def classifier(model: Model, uploads: Path) -> Classifier:
    for seed in range(4):
        (uploads / f"{seed}.jpg").write_bytes(sample_images.jpeg(seed=seed))
    (uploads / "camera.png").write_bytes(sample_images.encode(sample_images.photograph(), "PNG"))
    (uploads / "broken.jpg").write_bytes(sample_images.bad("truncated.jpg").content)
    (uploads / "text.jpg").write_bytes(sample_images.bad("text.jpg").content)
    return Classifier(model, image_folder(uploads), 8, Occupancy())


def deliveries(*images: str, top_k: int = 5, depth: int = 0) -> list[Delivery]:
    depth = depth or len(images)
    return [
        Delivery(f"{at}-0", Job(f"job{at}", image, "replies", 5_000, top_k), 1, 1.5, math.inf, depth)
        for at, image in enumerate(images)
    ]


def replies(outcomes: Sequence[Outcome]) -> list[str]:
    return [reply.predictions[0][0] if isinstance(reply, Answer) else reply.code for _, reply in outcomes]


def test_each_job_gets_the_answer_to_its_own_image(classifier: Classifier) -> None:
    batch = deliveries("0.jpg", "camera.png", "1.jpg")
    outcomes = classifier.outcomes(batch)
    assert [delivery for delivery, _ in outcomes] == batch
    assert [reply.id for _, reply in outcomes] == ["job0", "job1", "job2"]
    assert replies(outcomes) == [sample_images.SCENE_LABEL, sample_images.PHOTOGRAPH_LABEL, sample_images.SCENE_LABEL]


def test_how_long_decoding_took_is_known_of_each_batch_whatever_came_of_it(
    classifier: Classifier,
) -> None:
    outcomes = classifier.outcomes(deliveries("0.jpg", "camera.png", "broken.jpg"))
    decoded_s = sum(reply.timings["decode"] for _, reply in outcomes if isinstance(reply, Answer)) / 1000
    assert 0 < decoded_s <= classifier.decode_s
    classifier.outcomes(deliveries("text.jpg"))
    assert 0 < classifier.decode_s < decoded_s


def test_an_image_has_the_same_answer_alone_and_in_company(classifier: Classifier) -> None:
    together = classifier.outcomes(deliveries("0.jpg", "broken.jpg", "camera.png"))
    [(_, alone)] = classifier.outcomes(deliveries("camera.png"))
    assert isinstance(alone, Answer)
    assert isinstance(together[2][1], Answer)
    for one, other in zip(alone.predictions, together[2][1].predictions, strict=True):
        assert one[0] == other[0]
        assert one[1] == pytest.approx(other[1], abs=1e-6)


def test_a_bad_image_fails_alone_wherever_it_stands(classifier: Classifier) -> None:
    outcomes = classifier.outcomes(
        deliveries("broken.jpg", "0.jpg", "nowhere.jpg", "camera.png", "text.jpg", "../0.jpg")
    )
    assert replies(outcomes) == [
        "image_broken", sample_images.SCENE_LABEL, "image_missing", sample_images.PHOTOGRAPH_LABEL, "unsupported_type",
        "image_missing",
    ]  # fmt: skip


def test_a_batch_of_nothing_but_bad_images_needs_no_engine(classifier: Classifier) -> None:
    assert replies(classifier.outcomes(deliveries("broken.jpg", "text.jpg"))) == ["image_broken", "unsupported_type"]


def test_an_answer_says_what_was_asked_by_which_model_and_how_long_it_took(classifier: Classifier) -> None:
    [(_, answer)] = classifier.outcomes(deliveries("camera.png", top_k=3))
    assert isinstance(answer, Answer)
    assert len(answer.predictions) == 3
    assert (answer.model, answer.version) == ("efficientnet-lite0", "1-int8")
    assert answer.timings["queue"] == 1.5
    assert min(answer.timings["decode"], answer.timings["infer"]) > 0
    assert Answer.decode(answer.encode()).predictions == answer.predictions


def test_an_answer_says_which_bytes_were_read(classifier: Classifier) -> None:
    names = ("1.jpg", "camera.png", "0.jpg")
    digests = [reply.sha256 for _, reply in classifier.outcomes(deliveries(*names)) if isinstance(reply, Answer)]
    assert digests == [hashlib.sha256(classifier.images.read(name)).hexdigest() for name in names]


def test_images_may_be_decoded_by_a_pool(model: Model, classifier: Classifier) -> None:
    batch = deliveries("0.jpg", "broken.jpg", "camera.png", "1.jpg")
    with ThreadPoolExecutor(3) as pool:
        pooled = Classifier(model, classifier.images, 8, Occupancy(), pool.map)
        assert replies(pooled.outcomes(batch)) == replies(classifier.outcomes(batch))


STRANGE = b"\xff\xd8\xffstrange"


class Fragile:
    """A model in which one image breaks what no image should be able to break."""

    def __init__(self, model: Model, breaks_decode: bool) -> None:
        self.model = model
        self.bundle, self.new_batch, self.top_k = model.bundle, model.new_batch, model.top_k
        self.breaks_decode = breaks_decode
        self.is_alone: list[bool] = []

    def prepare(self, content: bytes, out: Pixels, _budget_s: float) -> None:
        if content == STRANGE and self.breaks_decode:
            raise MemoryError
        out[...] = 0 if content == STRANGE else 127

    def predict(self, batch: Batch, *, is_alone: bool = False) -> Scores:
        if not batch.all():
            raise RuntimeError("the engine has had enough")
        self.is_alone.append(is_alone)
        return self.model.predict(batch, is_alone=is_alone)


@pytest.mark.parametrize("breaks_decode", [True, False])
def test_what_nobody_foresaw_fails_alone_too_and_is_logged_with_its_job(
    model: Model, classifier: Classifier, uploads: Path, breaks_decode: bool, caplog: pytest.LogCaptureFixture
) -> None:
    (uploads / "strange.jpg").write_bytes(STRANGE)
    fragile = Classifier(Fragile(model, breaks_decode), classifier.images, 8, Occupancy())  # type: ignore[arg-type]
    with caplog.at_level(logging.ERROR):
        outcomes = fragile.outcomes(deliveries("0.jpg", "strange.jpg", "1.jpg"))
    assert [isinstance(reply, Failure) for _, reply in outcomes] == [False, True, False]
    assert replies(outcomes)[1] == "internal"
    assert ["job1" in record.getMessage() for record in caplog.records] == [True]


def test_only_the_one_job_of_the_queue_may_use_every_core(model: Model, classifier: Classifier) -> None:
    watched, busy = Fragile(model, breaks_decode=False), Occupancy()
    consumer = Classifier(watched, classifier.images, 8, busy)  # type: ignore[arg-type]
    consumer.outcomes(deliveries("0.jpg"))
    consumer.outcomes(deliveries("0.jpg", "1.jpg"))
    consumer.outcomes(deliveries("0.jpg", depth=2))  # another worker, or a waiting job, has use for a core
    consumer.outcomes(deliveries("0.jpg", "broken.jpg"))
    with busy:
        consumer.outcomes(deliveries("0.jpg"))
    consumer.outcomes(deliveries("0.jpg"))
    assert watched.is_alone == [True, False, False, False, False, True]
    assert busy.count == 0


def test_an_image_that_takes_longer_than_its_budget_is_refused_by_its_header(model: Model, uploads: Path) -> None:
    (uploads / "scans.jpg").write_bytes(jpegs.progressive(2_000, 1_500, 50))
    (uploads / "0.jpg").write_bytes(sample_images.jpeg())
    classifier = Classifier(model, image_folder(uploads), 8, Occupancy(), max_decode_ms=10)
    [(_, refused), (_, answered)] = classifier.outcomes(deliveries("scans.jpg", "0.jpg"))
    assert isinstance(refused, Failure)
    assert refused.code == "image_too_large"
    assert "DECODE_BUDGET_S=2" in refused.detail
    assert isinstance(answered, Answer)


def test_an_image_of_a_format_that_is_left_out_is_refused(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "FORMATS", "jpeg")
    [(_, refused), (_, answered)] = classifier.outcomes(deliveries("camera.png", "0.jpg"))
    assert isinstance(refused, Failure)
    assert (refused.code, refused.detail) == ("unsupported_type", "png is not among FORMATS=jpeg")
    assert isinstance(answered, Answer)


def test_an_image_of_one_colour_is_answered_with_a_warning(classifier: Classifier, uploads: Path) -> None:
    (uploads / "flat.png").write_bytes(sample_images.encode(Image.new("RGB", (64, 64), (9, 99, 199)), "PNG"))
    (uploads / "clear.png").write_bytes(sample_images.encode(Image.new("RGBA", (64, 64)), "PNG"))
    outcomes = classifier.outcomes(deliveries("flat.png", "clear.png", "0.jpg"))
    answers = [answer for _, answer in outcomes if isinstance(answer, Answer)]
    assert [answer.warnings for answer in answers] == [("one_colour",), ("one_colour",), ()]


def test_an_image_that_turns_out_to_take_longer_than_its_budget_is_refused(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "DECODE_BUDGET_S", 1e-6)
    [(_, refused)] = classifier.outcomes(deliveries("camera.png"))
    assert isinstance(refused, Failure)
    assert refused.code == "image_too_large"
    assert "DECODE_BUDGET_S=1e-06" in refused.detail
    monkeypatch.undo()
    assert replies(classifier.outcomes(deliveries("camera.png"))) == [sample_images.PHOTOGRAPH_LABEL]


def test_a_job_whose_time_ran_out_in_the_hands_of_the_worker_is_not_decoded(classifier: Classifier) -> None:
    late = [replace(each, deadline=0.0) for each in deliveries("0.jpg")]
    assert replies(classifier.outcomes([*late, *deliveries("camera.png")])) == [
        "expired",
        sample_images.PHOTOGRAPH_LABEL,
    ]


def test_a_worker_is_sound_while_an_image_of_its_own_is_classified(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert classifier.is_sound()
    monkeypatch.setattr(Model, "predict", lambda *_, **__: 1 / 0)
    assert not classifier.is_sound()
