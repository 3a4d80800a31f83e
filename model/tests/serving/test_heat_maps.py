"""Heat maps by the real model: the map is exact, and covers the object."""

import io
import math
import os
import subprocess
import sys
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper
from PIL import Image

import settings
from inference.engines import probabilities
from inference.model import Model, load
from serving import heat_maps
from serving.classifier import Classifier, Occupancy
from serving.heat_maps import COLOURS, LONGEST_SIDE, UNSEEN, NotExplainableError, drawn, explain
from sightline_testing import sample_images
from storage.images.folder import image_folder
from tests.bundle_copies import NAME, copied, link_compiled, of_graph, sealed
from wire import ActivationMap, Answer, Delivery, Failure, Job

Drawn = NDArray[np.uint8]
JOB = Job("job", "camera.png", "replies", 5000)
EXIF_ORIENTATION = 0x0112


@pytest.fixture(scope="module", params=["1-int8", "1-fp32"])
def model(request: pytest.FixtureRequest, bundles: Path) -> Model:
    return load(bundles / "efficientnet-lite0" / request.param, "openvino", streams=1, cores=1)


@pytest.fixture(scope="module")
def photograph() -> bytes:
    return sample_images.encode(sample_images.photograph(), "PNG")


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
    # The softmax determines logits up to a constant; int8 rounds the features on their way.
    found = probabilities(np.array([means], np.float32), "logits")[0]
    assert found == pytest.approx(np.array(told) / sum(told), abs=1e-3 if model.bundle.precision == "fp32" else 0.05)


def test_a_rank_stands_for_the_class_at_that_place(model: Model, photograph: bytes) -> None:
    first, third = (explained(model, photograph, rank=rank) for rank in (1, 3))
    assert first.label == sample_images.PHOTOGRAPH_LABEL
    assert third.label != first.label
    assert explained(model, photograph, label=third.label) == third


def test_the_map_lies_where_the_thing_is(model: Model) -> None:
    middles = []
    for left in (0, 480):
        ground = Image.new("RGB", (800, 800), (128, 128, 128))
        ground.paste(sample_images.photograph().convert("RGB").resize((320, 320)), (left, 240))
        found = explained(model, sample_images.encode(ground, "PNG"), label=sample_images.PHOTOGRAPH_LABEL)
        values = np.array(found.values).reshape(found.rows, found.columns).clip(0)
        middles.append((values.sum(axis=0) * np.arange(found.columns)).sum() / values.sum())
    left_one, right_one = middles
    assert left_one < 2.5
    assert right_one > 3.5


@pytest.mark.parametrize(("size", "view"), [((600, 400), (125, 25, 475, 375)), ((400, 600), (25, 125, 375, 475))])
def test_the_map_says_which_part_of_the_image_it_is_of(
    model: Model, size: tuple[int, int], view: tuple[int, int, int, int]
) -> None:
    found = explained(model, sample_images.encode(sample_images.photograph().resize(size), "PNG"), rank=1)
    assert (found.picture, found.view) == (size, view)
    assert (found.rows, found.columns) == (7, 7)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_turned_image_has_the_map_of_the_upright_one(model: Model, kind: str) -> None:
    upright = sample_images.photograph().convert("RGB").resize((600, 400))
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6  # a quarter turn to the right makes it upright
    turned = io.BytesIO()
    upright.transpose(Image.Transpose.ROTATE_90).save(turned, kind, exif=exif, quality=95)
    found = explained(model, turned.getvalue(), label=sample_images.PHOTOGRAPH_LABEL)
    expected = explained(model, sample_images.encode(upright, "PNG"), label=sample_images.PHOTOGRAPH_LABEL)
    assert (found.picture, found.view) == (expected.picture, expected.view) == ((600, 400), (125, 25, 475, 375))
    assert np.corrcoef(found.values, expected.values)[0, 1] > 0.98


def pixels_of(png: bytes) -> Drawn:
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGBA"))


def test_an_explained_answer_brings_its_map_drawn(model: Model, photograph: bytes) -> None:
    found = explained(model, photograph, rank=1)
    size = (found.picture[0], found.picture[1])
    assert found.png == drawn(np.array(found.values, np.float32).reshape(found.rows, found.columns), size, found.view)


def test_a_place_is_the_redder_the_more_it_adds_and_dark_where_the_model_saw_nothing() -> None:
    pixels = pixels_of(drawn(np.array([[3.0, -1.0], [2.0, -2.0]], np.float32), (400, 200), (100, 0, 300, 200)))
    assert pixels.shape == (LONGEST_SIDE // 2, LONGEST_SIDE, 4)
    assert pixels[12, 30, 3] > 150
    assert pixels[12, 65, 3] < 20
    unseen = COLOURS[UNSEEN]
    assert (pixels[:, :24] == unseen).all()
    assert (pixels[:, 72:] == unseen).all()
    assert not (pixels[:, 24:72] == unseen).all(axis=2).any()


def test_each_cell_s_middle_has_its_own_shade_and_the_edge_that_of_its_cell() -> None:
    values = np.linspace(0, 1, 9, dtype=np.float32).reshape(3, 3)
    pixels = pixels_of(drawn(values, (99, 99), (0, 0, 99, 99)))
    for row, column in np.ndindex(3, 3):
        middle = pixels[16 + 32 * row, 16 + 32 * column].astype(int)
        expected = COLOURS[int(values[row, column] * (UNSEEN - 1))].astype(int)
        assert np.abs(middle - expected).max() <= 3
    assert np.abs(pixels[0, 0].astype(int) - COLOURS[0]).max() <= 3
    assert np.abs(pixels[-1, -1].astype(int) - COLOURS[UNSEEN - 1]).max() <= 3


@pytest.mark.parametrize(
    ("size", "view"),
    [
        ((1, 50), (0, 0, 1, 50)),
        ((50, 1), (0, 0, 50, 1)),
        ((12_000, 8_000), (2_000, 0, 10_000, 8_000)),
        ((30_000, 8), (14_996, 0, 15_004, 8)),
        ((8, 30_000), (0, 14_996, 8, 15_004)),
        ((30_000, 8), (14_840, 0, 14_848, 8)),
        ((5_000, 100), (2_450, 0, 2_550, 100)),
    ],
)
@pytest.mark.parametrize("cells", [(1, 1), (7, 7), (128, 128), (1, 128)])
def test_images_of_any_proportions_can_be_drawn(
    size: tuple[int, int], view: tuple[int, int, int, int], cells: tuple[int, int]
) -> None:
    values = np.arange(math.prod(cells), dtype=np.float32).reshape(cells)
    assert max(pixels_of(drawn(values, size, view)).shape) == LONGEST_SIDE


def test_where_nothing_adds_to_a_class_nothing_is_coloured() -> None:
    pixels = pixels_of(drawn(np.array([[-3.0, -1.0], [-2.0, -2.0]], np.float32), (100, 100), (0, 0, 100, 100)))
    assert not pixels[..., 3].any()


def test_a_class_that_the_model_lacks_is_told(model: Model, photograph: bytes) -> None:
    with pytest.raises(NotExplainableError, match="no class 'unicorn'"):
        explained(model, photograph, label="unicorn")


def test_a_draft_that_lies_nowhere_yet_is_told(model: Model, photograph: bytes) -> None:
    draft = replace(model, bundle=replace(model.bundle, folder=None))
    with pytest.raises(NotExplainableError, match="a draft without a folder"):
        explained(draft, photograph)


CLASSES = ("red", "green", "blue")
SIDE = 32


def served(tmp_path: Path, *nodes: NodeProto, layout: str = "NCHW", **constants: Any) -> Model:
    """Load a bundle of a graph of these nodes, from `image` to the output of the last one."""
    shape: list[str | int] = ["N", 3, SIDE, SIDE] if layout == "NCHW" else ["N", SIDE, SIDE, 3]
    graph = helper.make_graph(
        list(nodes),
        "own",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    content = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()
    folder = of_graph(tmp_path / "own-bundles", content, CLASSES, (SIDE, SIDE), layout=layout)
    return load(folder, "openvino", streams=1, cores=1)


@pytest.fixture
def unexplainable(tmp_path: Path) -> Model:
    """A bundle of which no layer is linear: the mean of each colour is what it puts out."""
    return served(tmp_path, helper.make_node("ReduceMean", ["image"], ["logits"], axes=[2, 3], keepdims=0))


def deliveries(*jobs: Job) -> list[Delivery]:
    return [Delivery(f"{at}-0", job, 1, 1.5, math.inf) for at, job in enumerate(jobs)]


@pytest.fixture
def folder(uploads: Path, photograph: bytes) -> Path:
    (uploads / "camera.png").write_bytes(photograph)
    (uploads / "0.jpg").write_bytes(sample_images.jpeg(seed=0))
    return uploads


def classifier(model: Model, folder: Path) -> Classifier:
    return Classifier(model, image_folder(folder), 8, Occupancy())


def test_only_who_asks_gets_a_map_and_the_others_of_its_batch_their_answers(model: Model, folder: Path) -> None:
    jobs = (replace(JOB, id="a"), replace(JOB, id="b", explain_rank=1), replace(JOB, id="c", image="0.jpg"))
    replies = [reply for _, reply in classifier(model, folder).outcomes(deliveries(*jobs))]
    answers = [reply for reply in replies if isinstance(reply, Answer)]
    assert [answer.activation_map is not None for answer in answers] == [False, True, False]
    assert answers[0].predictions == answers[1].predictions
    assert Answer.decode(answers[1].encode()) == answers[1]


def test_a_bundle_without_such_a_layer_says_so_and_answers_all_the_same(unexplainable: Model, folder: Path) -> None:
    jobs = (replace(JOB, id="a"), replace(JOB, id="b", explain_rank=1))
    plain, asked = (reply for _, reply in classifier(unexplainable, folder).outcomes(deliveries(*jobs)))
    assert isinstance(plain, Answer)
    assert isinstance(asked, Failure)
    assert asked.code == "not_explainable"
    assert "no last layer" in asked.detail


def test_while_it_is_being_loaded_nobody_waits_long(
    model: Model, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heat_maps, "LOAD_TIMEOUT_S", 0.01)
    monkeypatch.setattr(heat_maps._loader, "submit", lambda *_: Future())
    monkeypatch.setattr(heat_maps, "_kept", {})
    [(_, reply)] = classifier(model, folder).outcomes(deliveries(replace(JOB, explain_rank=1)))
    assert isinstance(reply, Failure)
    assert reply.code == "not_ready"


class Waits(Future[heat_maps.Maps]):
    """A load without an end, and how long was waited for it."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def result(self, timeout: float | None = None) -> heat_maps.Maps:
        assert timeout is not None
        self.seconds.append(timeout)
        return super().result(timeout)


def test_all_jobs_of_a_batch_wait_for_what_is_being_loaded_no_longer_than_one(
    model: Model, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A batch that takes longer than MAX_BATCH_S ends the worker.
    monkeypatch.setattr(heat_maps, "LOAD_TIMEOUT_S", 0.1)
    waits = Waits()
    monkeypatch.setattr(heat_maps._loader, "submit", lambda *_: waits)
    monkeypatch.setattr(heat_maps, "_kept", {})
    jobs = [replace(JOB, id=str(number), explain_rank=1) for number in range(8)]
    replies = [reply for _, reply in classifier(model, folder).outcomes(deliveries(*jobs))]
    assert [reply.code for reply in replies if isinstance(reply, Failure)] == ["not_ready"] * 8
    assert len(waits.seconds) == 8
    assert sum(waits.seconds) < 0.2


def test_a_bundle_that_was_replaced_meanwhile_explains_no_answer_of_the_first(
    bundles: Path, folder: Path, tmp_path: Path
) -> None:
    own = copied(bundles, tmp_path / "bundles" / NAME / "1-fp32", "1-fp32")
    link_compiled(bundles, tmp_path / "bundles")
    served = load(own, "openvino", streams=1, cores=1)
    labels = (own / "labels.txt").read_bytes().splitlines(keepends=True)
    sealed(own, labels=b"".join(labels[::-1]))
    [(_, reply)] = classifier(served, folder).outcomes(deliveries(replace(JOB, explain_rank=1)))
    assert isinstance(reply, Failure)
    assert reply.code == "not_explainable"
    assert "was replaced" in reply.detail


HEAD = np.diag([3.0, 2.0, 1.0]).astype(np.float32)
MATRIX = helper.make_node("MatMul", ["features", "head"], ["scores"])
FAR_APART = helper.make_node("Relu", ["image"], ["map"])


def test_a_worker_that_explains_has_no_onnx_library(tmp_path: Path) -> None:
    mean = helper.make_node("ReduceMean", ["map"], ["features"], axes=[2, 3], keepdims=0)
    own = served(tmp_path, FAR_APART, mean, MATRIX, head=HEAD)
    program = (
        "import sys\n"
        "from inference import bundle\n"
        "from pathlib import Path\n"
        "from serving.heat_maps import Maps\n"
        "folder = Path(sys.argv[1])\n"
        "Maps(folder, bundle.load(folder).digest, 'openvino')\n"
        "assert not {'onnx', 'google.protobuf', 'onnx_tools'} & sys.modules.keys()\n"
    )
    command = [sys.executable, "-c", program, str(own.bundle.folder)]
    subprocess.run(command, check=True, cwd=heat_maps.MODEL, env=os.environ | {"PYTHONPATH": "."})


def outcome(served: Model, folder: Path, **wishes: Any) -> Answer | Failure:
    job = replace(JOB, **{"explain_rank": 1, **wishes})
    [(_, reply)] = classifier(served, folder).outcomes(deliveries(job))
    return reply


def test_a_network_with_channels_last_has_its_map_the_right_way_round(tmp_path: Path, folder: Path) -> None:
    mean = helper.make_node("ReduceMean", ["map"], ["features"], axes=[1, 2], keepdims=0)
    own = served(tmp_path, FAR_APART, mean, MATRIX, layout="NHWC", head=HEAD)
    ground = Image.new("RGB", (SIDE, SIDE), (0, 0, 255))
    ground.paste((255, 0, 0), (0, 0, SIDE // 4, SIDE))
    (folder / "left.png").write_bytes(sample_images.encode(ground, "PNG"))
    reply = outcome(own, folder, image="left.png", explain_label="red")
    assert isinstance(reply, Answer)
    assert reply.activation_map is not None
    values = np.array(reply.activation_map.values).reshape(SIDE, SIDE)
    assert values[:, : SIDE // 4] == pytest.approx(3 * 255)
    assert values[:, SIDE // 4 :] == pytest.approx(0)


TOKENS = helper.make_node("Reshape", ["image", "shape"], ["rows"])
NO_MAPS: dict[str, tuple[NodeProto, ...]] = {
    "tokens": (
        TOKENS,
        helper.make_node("Transpose", ["rows"], ["tokens"], perm=[0, 2, 1]),
        helper.make_node("ReduceMean", ["tokens"], ["features"], axes=[1], keepdims=0),
    ),
    "rows": (TOKENS, helper.make_node("ReduceMean", ["rows"], ["features"], axes=[2], keepdims=0)),
    "all": (
        helper.make_node("ReduceMean", ["image"], ["one"], keepdims=0, axes=[0, 1, 2, 3]),
        helper.make_node("Mul", ["one", "many"], ["features"]),
    ),
    "features": (
        helper.make_node("ReduceMean", ["image"], ["one"], axes=[1, 2], keepdims=0),
        helper.make_node("Slice", ["one", "zero", "three", "axis"], ["features"]),
    ),
    "a part of the map": (
        helper.make_node("AveragePool", ["image"], ["means"], kernel_shape=[SIDE // 2, SIDE], strides=[SIDE, SIDE]),
        helper.make_node("Flatten", ["means"], ["features"]),
    ),
    "the largest": (
        helper.make_node("GlobalMaxPool", ["image"], ["most"]),
        helper.make_node("Flatten", ["most"], ["features"]),
    ),
}


@pytest.mark.parametrize("kind", NO_MAPS)
def test_a_mean_over_anything_else_is_not_explainable_and_never_an_internal_fault(
    tmp_path: Path, folder: Path, kind: str
) -> None:
    numbers: dict[str, Any] = {
        "shape": np.array([0, 3, SIDE * SIDE]),
        "many": np.ones((1, 3), np.float32),
        "zero": np.array([0]),
        "three": np.array([3]),
        "axis": np.array([1]),
    }
    own = served(tmp_path, *NO_MAPS[kind], MATRIX, head=HEAD, **numbers)
    for _ in range(2):
        reply = outcome(own, folder)
        assert isinstance(reply, Failure)
        assert (reply.code, reply.detail.count("no map can be shown")) == ("not_explainable", 1)
    assert isinstance(outcome(own, folder, explain_rank=0), Answer)


@pytest.mark.parametrize("kind", ["tokens", "a part of the map"])
def test_what_has_no_maps_is_found_out_and_kept_when_a_bundle_is_loaded(
    tmp_path: Path, folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    own = served(tmp_path, *NO_MAPS[kind], MATRIX, head=HEAD, shape=np.array([0, 3, SIDE * SIDE]))
    for _ in range(2):
        fault = heat_maps.check(own.bundle).result()
        assert "no map can be shown" in fault
        # Neither the next start nor a request has to read the graph again.
        monkeypatch.setattr(sys, "executable", "/nowhere/python")
    reply = outcome(own, folder)
    assert isinstance(reply, Failure)
    assert (reply.code, reply.detail) == ("not_explainable", fault)
    assert [each.getMessage() for each in caplog.records if each.levelname == "WARNING"] == [
        f"no heat maps: {fault}"
    ] * 2


def test_a_check_that_fails_is_no_finding(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    mean = helper.make_node("ReduceMean", ["map"], ["features"], axes=[2, 3], keepdims=0)
    own = served(tmp_path, FAR_APART, mean, MATRIX, head=HEAD)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "executable", "/nowhere/python")
        assert heat_maps.check(own.bundle).result() == ""
    assert "is not known" in caplog.text
    assert heat_maps.check(own.bundle).result() == ""
    assert isinstance(outcome(own, folder), Answer)


def test_a_check_takes_no_time_from_those_who_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mean = helper.make_node("ReduceMean", ["map"], ["features"], axes=[2, 3], keepdims=0)
    own = served(tmp_path, FAR_APART, mean, MATRIX, head=HEAD)
    told, program = tmp_path / "niceness", tmp_path / "python"
    program.write_text(f"#!/bin/sh\ncat >/dev/null\nnice >{told}\n")  # the graph comes once the priority is set
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    assert heat_maps.check(own.bundle).result() == ""
    assert told.read_text() == "19\n"


def test_a_fault_while_the_graph_of_the_map_is_loaded_passes_with_its_cause(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heat_maps, "AGAIN_AFTER_S", 0.0)
    mean = helper.make_node("ReduceMean", ["map"], ["features"], axes=[2, 3], keepdims=0)
    own = served(tmp_path, FAR_APART, mean, MATRIX, head=HEAD)
    assert own.bundle.folder is not None
    moved = own.bundle.folder.with_name("moved")
    with monkeypatch.context() as patched:
        patched.setattr(sys, "executable", "/nowhere/python")
        failed = [outcome(own, folder)]
    own.bundle.folder.rename(moved)
    failed.append(outcome(own, folder))
    moved.rename(own.bundle.folder)
    with monkeypatch.context() as patched:
        patched.setattr(heat_maps, "COMMAND", ("-c", "import os; os.kill(os.getpid(), 9)"))
        failed.append(outcome(own, folder))
    assert [reply.code for reply in failed if isinstance(reply, Failure)] == ["not_ready"] * 3
    assert isinstance(outcome(own, folder), Answer)


def test_what_makes_maps_is_no_growth_of_the_worker(model: Model, photograph: bytes) -> None:
    explained(model, photograph, rank=1)
    assert heat_maps.held_mb() > 1


def test_a_fault_is_not_tried_again_at_each_request(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    mean = helper.make_node("ReduceMean", ["map"], ["features"], axes=[2, 3], keepdims=0)
    own = served(tmp_path, FAR_APART, mean, MATRIX, head=HEAD)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    for _ in range(3):
        reply = outcome(own, folder)
        assert isinstance(reply, Failure)
        assert reply.code == "not_ready"
    assert len([each for each in caplog.records if each.levelname == "ERROR"]) == 1
