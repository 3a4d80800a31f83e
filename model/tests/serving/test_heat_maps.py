"""Where it looked, by the real model: the map is exact, and lies where the thing is."""

import hashlib
import io
import math
import os
import shutil
import subprocess
import sys
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

import settings
from inference.engines import probabilities
from inference.model import Model, load
from serving import heat_maps
from serving.classifier import Classifier, Occupancy
from serving.heat_maps import NotExplainableError, explain
from sightline_testing import pictures
from tests.bundle_copies import copied, sealed
from wire import ActivationMap, Answer, Delivery, Failure, Job

JOB = Job("job", "camera.png", "replies", 5000)
EXIF_ORIENTATION = 0x0112


@pytest.fixture(scope="module", params=["1-int8", "1-fp32"])
def model(request: pytest.FixtureRequest, bundles: Path) -> Model:
    return load(bundles / "efficientnet-lite0" / request.param, "openvino", streams=1, cores=1)


@pytest.fixture
def photograph() -> bytes:
    return pictures.encode(pictures.photograph(), "PNG")


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heat_maps, "LOAD_TIMEOUT_S", 60.0)


def explained(model: Model, content: bytes, rank: int = 0, label: str = "") -> ActivationMap:
    pixels = model.new_batch(1)
    model.prepare(content, pixels[0])
    return explain(model, replace(JOB, explain_rank=rank, explain_label=label), content, model.predict(pixels)[0])


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_the_mean_of_each_class_s_map_is_its_logit(
    model: Model, photograph: bytes, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "ENGINE", engine)
    pixels = model.new_batch(1)
    model.prepare(photograph, pixels[0])
    scores = model.predict(pixels)
    labels = [label for label, _ in model.top_k(scores[0], 5)]
    means = [np.mean(explained(model, photograph, label=label).values) for label in labels]
    told = [float(scores[0][model.bundle.labels.index(label)]) for label in labels]
    # What softmax makes of logits tells them up to a constant; int8 rounds the features on their way.
    found = probabilities(np.array([means], np.float32), "logits")[0]
    assert found == pytest.approx(np.array(told) / sum(told), abs=1e-3 if model.bundle.precision == "fp32" else 0.05)


def test_a_worker_that_explains_has_no_onnx_library(model: Model) -> None:
    program = (
        "import sys\n"
        "from inference import bundle\n"
        "from pathlib import Path\n"
        "from serving.heat_maps import Maps\n"
        "folder = Path(sys.argv[1])\n"
        "Maps(folder, bundle.load(folder).digest, 'openvino')\n"
        "assert not {'onnx', 'google.protobuf', 'onnx_tools'} & sys.modules.keys()\n"
    )
    command = [sys.executable, "-c", program, str(model.bundle.folder)]
    subprocess.run(command, check=True, cwd=heat_maps.MODEL, env=os.environ | {"PYTHONPATH": "."})


def test_a_rank_stands_for_the_class_at_that_place(model: Model, photograph: bytes) -> None:
    first, third = (explained(model, photograph, rank=rank) for rank in (1, 3))
    assert first.label == pictures.PHOTOGRAPH_LABEL
    assert third.label != first.label
    assert explained(model, photograph, label=third.label) == third


def test_the_map_lies_where_the_thing_is(model: Model) -> None:
    middles = []
    for left in (0, 480):
        ground = Image.new("RGB", (800, 800), (128, 128, 128))
        ground.paste(pictures.photograph().convert("RGB").resize((320, 320)), (left, 240))
        found = explained(model, pictures.encode(ground, "PNG"), label=pictures.PHOTOGRAPH_LABEL)
        values = np.array(found.values).reshape(found.rows, found.columns).clip(0)
        middles.append((values.sum(axis=0) * np.arange(found.columns)).sum() / values.sum())
    left_one, right_one = middles
    assert left_one < 2.5
    assert right_one > 3.5


@pytest.mark.parametrize(("size", "view"), [((600, 400), (125, 25, 475, 375)), ((400, 600), (25, 125, 375, 475))])
def test_the_map_says_which_part_of_the_picture_it_is_of(
    model: Model, size: tuple[int, int], view: tuple[int, int, int, int]
) -> None:
    found = explained(model, pictures.encode(pictures.photograph().resize(size), "PNG"), rank=1)
    assert (found.picture, found.view) == (size, view)
    assert (found.rows, found.columns) == (7, 7)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_turned_picture_has_the_map_of_the_upright_one(model: Model, kind: str) -> None:
    upright = pictures.photograph().convert("RGB").resize((600, 400))
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6  # a quarter turn to the right makes it upright
    turned = io.BytesIO()
    upright.transpose(Image.Transpose.ROTATE_90).save(turned, kind, exif=exif, quality=95)
    found = explained(model, turned.getvalue(), label=pictures.PHOTOGRAPH_LABEL)
    expected = explained(model, pictures.encode(upright, "PNG"), label=pictures.PHOTOGRAPH_LABEL)
    assert (found.picture, found.view) == (expected.picture, expected.view) == ((600, 400), (125, 25, 475, 375))
    assert np.corrcoef(found.values, expected.values)[0, 1] > 0.98


def test_a_class_that_the_model_lacks_is_told(model: Model, photograph: bytes) -> None:
    with pytest.raises(NotExplainableError, match="no class 'unicorn'"):
        explained(model, photograph, label="unicorn")


def test_a_draft_that_lies_nowhere_yet_is_told(model: Model, photograph: bytes) -> None:
    draft = replace(model, bundle=replace(model.bundle, folder=None))
    with pytest.raises(NotExplainableError, match="a draft without a folder"):
        explained(draft, photograph)


@pytest.fixture
def unexplainable(model: Model, tmp_path: Path) -> Model:
    """A bundle of which no layer is linear: the mean of each colour is what it puts out."""
    assert model.bundle.folder is not None
    folder = Path(shutil.copytree(model.bundle.folder, tmp_path / "bundle"))
    places = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, 224, 224])
    means = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 3])
    node = helper.make_node("ReduceMean", ["image"], ["logits"], axes=[2, 3], keepdims=0)
    graph = helper.make_graph([node], "colours", [places], [means])
    made = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    onnx.save(made, folder / "model.onnx")
    (folder / "labels.txt").write_text("red\ngreen\nblue\n")
    description = (folder / "bundle.toml").read_text()
    for name in ("model.onnx", "labels.txt"):
        before = hashlib.sha256((model.bundle.folder / name).read_bytes()).hexdigest()
        description = description.replace(before, hashlib.sha256((folder / name).read_bytes()).hexdigest())
    (folder / "bundle.toml").write_text(description)
    return load(folder, "openvino", streams=1, cores=1)


def deliveries(*jobs: Job) -> list[Delivery]:
    return [Delivery(f"{at}-0", job, 1, 1.5, math.inf) for at, job in enumerate(jobs)]


@pytest.fixture
def folder(uploads: Path, photograph: bytes) -> Path:
    (uploads / "camera.png").write_bytes(photograph)
    (uploads / "0.jpg").write_bytes(pictures.jpeg(seed=0))
    return uploads


def test_only_who_asks_gets_a_map_and_the_others_of_its_batch_their_answers(model: Model, folder: Path) -> None:
    jobs = (replace(JOB, id="a"), replace(JOB, id="b", explain_rank=1), replace(JOB, id="c", image="0.jpg"))
    replies = [reply for _, reply in Classifier(model, folder, 8, Occupancy()).outcomes(deliveries(*jobs))]
    answers = [reply for reply in replies if isinstance(reply, Answer)]
    assert [answer.activation_map is not None for answer in answers] == [False, True, False]
    assert answers[0].predictions == answers[1].predictions
    assert Answer.decode(answers[1].encode()) == answers[1]


def test_a_bundle_without_such_a_layer_says_so_and_answers_all_the_same(unexplainable: Model, folder: Path) -> None:
    jobs = (replace(JOB, id="a"), replace(JOB, id="b", explain_rank=1))
    plain, asked = (reply for _, reply in Classifier(unexplainable, folder, 8, Occupancy()).outcomes(deliveries(*jobs)))
    assert isinstance(plain, Answer)
    assert isinstance(asked, Failure)
    assert asked.code == "not_explainable"
    assert "ReduceMean" in asked.detail


def test_while_it_is_being_loaded_nobody_waits_long(
    model: Model, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heat_maps, "LOAD_TIMEOUT_S", 0.01)
    monkeypatch.setattr(heat_maps, "_loading", lambda *_: Future())
    [(_, reply)] = Classifier(model, folder, 8, Occupancy()).outcomes(deliveries(replace(JOB, explain_rank=1)))
    assert isinstance(reply, Failure)
    assert reply.code == "not_ready"


def test_a_bundle_that_was_replaced_meanwhile_explains_no_answer_of_the_first(
    bundles: Path, folder: Path, tmp_path: Path
) -> None:
    own = copied(bundles, tmp_path / "bundle", "1-fp32")
    served = load(own, "openvino", streams=1, cores=1)
    labels = (own / "labels.txt").read_bytes().splitlines(keepends=True)
    sealed(own, labels=b"".join(labels[::-1]))
    [(_, reply)] = Classifier(served, folder, 8, Occupancy()).outcomes(deliveries(replace(JOB, explain_rank=1)))
    assert isinstance(reply, Failure)
    assert reply.code == "not_explainable"
    assert "was replaced" in reply.detail
