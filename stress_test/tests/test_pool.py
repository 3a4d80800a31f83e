"""What is sent is distinct, realistic, and named rightly by the default model."""

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from sightline_testing.client import Client
from sightline_testing.service import Service, running_service
from stress_test.answers import REFUSED, Answers
from stress_test.pool import SIZES, Pool, Upload, as_another_file, make, read

FEW = tuple(replace(size, count=1 if size.name == "phone" else 4) for size in SIZES)
ONE = Upload("a.jpg", b"\xff\xd8\xff\xd9", "photograph", "tripod")
RIGHT = {"success": True, "prediction": "tripod", "score": 0.9}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Upload]:
    folder = tmp_path_factory.mktemp("images")
    make(folder, FEW)
    return read(folder)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("service")) as service:
        yield service


def test_the_service_names_every_made_image_by_its_label(service: Service, images: list[Upload]) -> None:
    answers = Answers()
    for image in images:
        sent = as_another_file(image.content, 7)
        answer = Client(service.url).upload("/predict", sent, image.name)
        assert answers.fault(image, answer.status, dict(answer.headers), json.loads(answer.body)) is None


def test_images_are_distinct_and_of_the_sizes_that_people_send(images: list[Upload]) -> None:
    assert len({image.content for image in images}) == len(images) == 9
    assert {image.label for image in images} == {"analog_clock", "pinwheel", "tripod", "crossword_puzzle"}
    pixels = {image.size: Image.open(io.BytesIO(image.content)).size for image in images}
    assert max(pixels["thumbnail"]) == 160
    assert max(pixels["photograph"]) == 1024
    assert pixels["phone"][0] * pixels["phone"][1] > 12_000_000


def test_no_upload_is_one_that_was_sent_before(images: list[Upload]) -> None:
    pool = Pool(images, {"thumbnail": 1.0, "photograph": 1.0, "phone": 0.0}, repeats=0.0)
    assert len({pool.next()[1] for _ in range(100)}) == 100


def test_repeats_are_files_sent_before(images: list[Upload]) -> None:
    pool = Pool(images, {"thumbnail": 1.0, "photograph": 0.0, "phone": 0.0}, repeats=1.0)
    assert all(image.content == content for image, content in (pool.next() for _ in range(20)))


def test_another_file_is_the_same_image(images: list[Upload]) -> None:
    first = images[0].content
    other = as_another_file(first, 42)
    assert other != first
    assert Image.open(io.BytesIO(other)).tobytes() == Image.open(io.BytesIO(first)).tobytes()


def test_a_folder_without_labels_is_taken_as_it_is(tmp_path: Path, images: list[Upload]) -> None:
    (tmp_path / "mine.JPG").write_bytes(images[0].content)
    (tmp_path / "notes.txt").write_text("no image")
    (found,) = read(tmp_path)
    assert (found.size, found.label, found.media_type) == ("other", None, "image/jpeg")


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no images"):
        read(tmp_path)


def test_a_wrong_label_is_a_failure() -> None:
    assert Answers().fault(ONE, 200, {}, RIGHT) is None
    assert Answers().fault(ONE, 200, {}, RIGHT | {"prediction": "radio"}) == "a.jpg: radio instead of tripod"


def test_an_answer_that_belongs_to_another_image_is_seen_by_its_score() -> None:
    answers = Answers()
    assert answers.fault(ONE, 200, {}, RIGHT) is None
    assert answers.fault(ONE, 200, {}, RIGHT | {"score": 0.8951}) is None
    assert answers.fault(ONE, 200, {}, RIGHT | {"score": 0.5}) == "a.jpg: first 0.9, now 0.5"


@pytest.mark.parametrize("document", [None, [], {"success": True}, RIGHT | {"success": False}, RIGHT | {"more": 1}])
def test_an_answer_of_another_shape_is_a_failure(document: object) -> None:
    assert "another shape" in (Answers().fault(ONE, 200, {}, document) or "")


def test_a_refusal_must_say_when_to_come_back() -> None:
    assert Answers().fault(ONE, 503, {"Retry-After": "1"}, None) == REFUSED
    assert Answers().fault(ONE, 503, {}, None) == "503 without Retry-After"
    assert Answers().fault(ONE, 504, {}, None) == "status 504"
    assert "connection" in (Answers().fault(ONE, 0, {}, None) or "")
