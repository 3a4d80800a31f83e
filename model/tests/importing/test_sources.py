"""Networks as their exporters write them, imported: the bundle computes what the source does, or is refused rightly."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, load_from_string, numpy_helper

import settings
from cli import models
from inference import bundle, engines
from inference.bundle import Bundle
from sightline_testing import stripes
from tests.importing import exports
from tests.importing.exports import Core, Export, node, value

SIZE = (stripes.HEIGHT, stripes.WIDTH)
HALF_MEAN, HALF_STD = (127.5,) * 3, (127.5,) * 3


@pytest.fixture
def core() -> Core:
    return Core(stripes.network(), 2, SIZE, (120.0, 110.0, 100.0), (60.0, 50.0, 40.0))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(settings, "BUNDLES_FOLDER", str(tmp_path / "bundles"))
    (tmp_path / "bundles").mkdir()
    stripes.write_labels(tmp_path / "labels.txt")
    return tmp_path


def bring(folder: Path, content: bytes, *words: object) -> int:
    (folder / "own.onnx").write_bytes(content)
    labels = [] if "--labels" in words else ["--labels", folder / "labels.txt"]
    return models.main(["import", str(folder / "own.onnx"), *map(str, [*labels, *words])])


def imported(folder: Path, name: str = "own") -> Bundle:
    [found] = (folder / "bundles" / name).iterdir()
    return bundle.load(found)


def source_outputs(export: Export, pixels: np.ndarray[Any, Any], layout: str) -> np.ndarray[Any, Any]:
    """Return what the source's graph puts out for these pixels by its own pipeline."""
    session = onnxruntime.InferenceSession(export.content, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    image = exports.expected_input(export, pixels)
    kinds = {"tensor(float16)": np.float16, "tensor(uint8)": np.uint8, "tensor(double)": np.float64}
    turned = (image.transpose(0, 3, 1, 2) if layout == "NCHW" else image).astype(kinds.get(given.type, np.float32))
    fixed = given.shape[0] if isinstance(given.shape[0], int) and given.shape[0] > 0 else len(turned)
    rows = [session.run(None, {given.name: np.repeat(each[None], fixed, axis=0)})[0].reshape(-1)[:2] for each in turned]
    return np.stack(rows).astype(np.float64)


Make = Callable[[Core], Export]
SOURCES: dict[str, tuple[Make, list[str], str]] = {
    "torchvision": (exports.torchvision, ["--preset", "torchvision"], "NCHW"),
    "torchvision, one at a time": (lambda core: exports.torchvision(core, 1), ["--preset", "torchvision"], "NCHW"),
    "torchvision, of opset 11": (lambda core: exports.torchvision(core, opset=11), ["--preset", "torchvision"], "NCHW"),
    "a batch of 0": (lambda core: exports.torchvision(core, 0), ["--preset", "torchvision"], "NCHW"),
    "a batch of 8": (lambda core: exports.torchvision(core, 8), ["--preset", "torchvision"], "NCHW"),
    "a batch of nothing": (lambda core: exports.torchvision(core, None), ["--preset", "torchvision"], "NCHW"),
    "timm": (lambda core: exports.timm(core, HALF_MEAN, HALF_STD), ["--preset", "tensorflow"], "NCHW"),
    "optimum": (
        lambda core: exports.optimum(core, HALF_MEAN, HALF_STD),
        ["--preset", "tensorflow", "--size", "97x131"],
        "NCHW",
    ),
    "optimum in fp16": (
        lambda core: exports.optimum(core, HALF_MEAN, HALF_STD, is_half=True),
        ["--preset", "tensorflow", "--size", "97x131"],
        "NCHW",
    ),
    "paddle": (exports.paddle, ["--preset", "torchvision", "--size", "97x131"], "NCHW"),
    "tf2onnx": (exports.tf2onnx, ["--preset", "tensorflow"], "NHWC"),
    "tf2onnx of logits": (lambda core: exports.tf2onnx(core, has_softmax=False), ["--preset", "tensorflow"], "NHWC"),
    "tf2onnx, pixels as bytes": (lambda core: exports.tf2onnx(core, is_uint8=True), ["--preset", "pixels"], "NHWC"),
    "Keras": (exports.keras, ["--preset", "keras-caffe"], "NHWC"),
}


@pytest.mark.parametrize("name", SOURCES)
def test_a_bundle_computes_what_the_source_computes(
    core: Core, folder: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make, words, layout = SOURCES[name]
    export = make(core)
    assert bring(folder, export.content, *words) == 0, capsys.readouterr().err
    made = imported(folder)
    assert (made.preprocessing.layout, made.preprocessing.size, made.precision) == (layout, SIZE, "fp32")
    assert exports.matches(made.preprocessing, export)
    taken = load_from_string(made.model).graph.input[0].type.tensor_type.shape
    assert taken.dim[layout.index("C")].dim_value == 3, "each engine finds out from it what comes in"
    pixels = made.preprocessing
    batch = np.empty((4, *SIZE, 3), np.uint8)
    for at, out in enumerate(batch):
        pixels.prepare(stripes.image(stripes.LABELS[at % 2], at), out)
    if name == "a batch of 0":  # its source cannot be computed as it is
        export = exports.torchvision(core)
    expected = source_outputs(export, batch, layout)
    if made.output == "logits":
        expected = engines.probabilities(expected.astype(np.float32), "logits")
    for engine in ("openvino", "onnxruntime"):
        found = engines.load(engine, made, streams=1, cores=1).predict(batch)
        # fp16 is computed in fp32 here, and in fp16 by the source.
        assert found == pytest.approx(expected, abs=0.02 if "fp16" in name else 1e-3), engine
        assert [made.labels[at] for at in found.argmax(axis=1)] == [*stripes.LABELS] * 2


@pytest.mark.parametrize("name", ["optimum in fp16", "tf2onnx, pixels as bytes", "timm"])
def test_an_adapted_network_can_be_quantised(core: Core, folder: Path, name: str) -> None:
    make, words, _ = SOURCES[name]
    usual = stripes.write_images(folder / "usual", 4)
    assert bring(folder, make(core).content, *words, "--quantize", "--calibration", usual) == 0
    int8 = bundle.load(folder / "bundles" / "own" / "1-int8")
    batch = np.empty((2, *SIZE, 3), np.uint8)
    for label, out in zip(stripes.LABELS, batch, strict=True):
        int8.preprocessing.prepare(stripes.image(label, 9), out)
    found = engines.load("openvino", int8, streams=1, cores=1).predict(batch)
    assert [int8.labels[at] for at in found.argmax(axis=1)] == list(stripes.LABELS)


def ended(core: Core, last: list[Any], given: list[Any], **constants: Any) -> bytes:
    """The core in torchvision's way, with other nodes and outputs at its end."""
    mean, std = exports.IMAGENET
    return exports.wrapped(
        core,
        lambda image: [node("Mul", ["input", "back.factors"], ["m"]), node("Add", ["m", "back.sums"], [image])],
        last,
        value("input", exports.FLOAT, [1, 3, *SIZE]),
        given,
        {**exports.planes(exports.back(core, mean, std)), **constants},
    )


ENDS: dict[str, tuple[Callable[[str], list[Any]], list[Any], list[str]]] = {
    "(1, 2, 1, 1)": (
        lambda logits: [node("Unsqueeze", [logits, "axes"], ["given"])],
        [value("given", exports.FLOAT, [1, 2, 1, 1])],
        [],
    ),
    "(1, 2, 1, 1) of unknown shape": (
        lambda logits: [node("Unsqueeze", [logits, "axes"], ["given"])],
        [value("given", exports.FLOAT, None)],
        [],
    ),
    "(N, 1, 1, 2)": (
        lambda logits: [node("Unsqueeze", [logits, "middle"], ["given"])],
        [value("given", exports.FLOAT, ["N", 1, 1, 2])],
        [],
    ),
    "(2,), squeezed": (
        lambda logits: [node("Squeeze", [logits, "first"], ["given"])],
        [value("given", exports.FLOAT, [2])],
        [],
    ),
    "double": (
        lambda logits: [node("Cast", [logits], ["given"], to=TensorProto.DOUBLE)],
        [value("given", TensorProto.DOUBLE, [1, 2])],
        [],
    ),
    "a class in addition to the scores": (
        lambda logits: [
            node("Softmax", [logits], ["given"], axis=1),
            node("ArgMax", ["given"], ["label"], axis=1, keepdims=0),
        ],
        [value("label", TensorProto.INT64, [1]), value("given", exports.FLOAT, [1, 2])],
        [],
    ),
    "scores and features, the scores named": (
        lambda logits: [node("Identity", [logits], ["given"])],
        [value("given", exports.FLOAT, [1, 2]), value("features", exports.FLOAT, [1, 2])],
        ["--output", "given"],
    ),
    "a class alone, the scores before it named": (
        lambda logits: [node("Identity", [logits], ["given"]), node("ArgMax", ["given"], ["label"], axis=1)],
        [value("label", TensorProto.INT64, [1, 1])],
        ["--output", "given"],
    ),
    "a map of labels, the scores before it named": (
        lambda logits: [
            node("Softmax", [logits], ["given"], axis=1),
            node("ZipMap", ["given"], ["loss"], domain="ai.onnx.ml", classlabels_strings=["across", "down"]),
        ],
        [value("loss", exports.FLOAT, None)],
        ["--output", "given"],
    ),
    "a log-softmax": (
        lambda logits: [node("LogSoftmax", [logits], ["given"], axis=1)],
        [value("given", exports.FLOAT, [1, 2])],
        [],
    ),
}
AXES = {"axes": np.array([2, 3]), "middle": np.array([1, 2]), "first": np.array([0])}


@pytest.mark.parametrize("name", ENDS)
def test_outputs_of_any_form_with_a_score_for_each_class_are_taken(core: Core, folder: Path, name: str) -> None:
    last, given, words = ENDS[name]
    used = {each for made in last(core.logits) for each in made.input}
    content = ended(core, last(core.logits), given, **{axis: AXES[axis] for axis in AXES if axis in used})
    assert bring(folder, content, "--preset", "torchvision", *words) == 0
    made = imported(folder)
    plain = Export(
        ended(core, [node("Identity", [core.logits], ["y"])], [value("y", exports.FLOAT, [1, 2])]),
        "RGB",
        *exports.IMAGENET,
    )
    batch = np.empty((2, *SIZE, 3), np.uint8)
    for label, out in zip(stripes.LABELS, batch, strict=True):
        made.preprocessing.prepare(stripes.image(label, 3), out)
    expected = engines.probabilities(source_outputs(plain, batch, "NCHW").astype(np.float32), "logits")
    for engine in ("openvino", "onnxruntime"):
        found = engines.load(engine, made, streams=1, cores=1).predict(batch)
        assert found == pytest.approx(expected, abs=1e-3)


REFUSED: dict[str, tuple[Callable[[Core], bytes], list[str], str]] = {
    "scikit-learn": (lambda _: exports.scikit_learn(), [], "rows of a table, as scikit-learn's models take"),
    "scikit-learn without ZipMap": (lambda _: exports.scikit_learn(has_zipmap=False), [], "rows of a table"),
    "ArgMax": (
        lambda core: ended(
            core,
            [node("ArgMax", [core.logits], ["label"], axis=1, keepdims=0)],
            [value("label", TensorProto.INT64, [1])],
        ),
        [],
        "made by ArgMax: the class alone, not the scores. --output scores takes",
    ),
    "ArgMax as a float": (
        lambda core: ended(
            core,
            [node("ArgMax", [core.logits], ["at"], axis=1), node("Cast", ["at"], ["label"], to=TensorProto.INT64)],
            [value("label", TensorProto.INT64, [1, 1])],
        ),
        [],
        "--output scores takes",
    ),
    "two outputs": (
        lambda core: ended(
            core,
            [node("Identity", [core.logits], ["logits"]), node("Identity", [core.logits], ["aux_logits"])],
            [value("logits", exports.FLOAT, [1, 2]), value("aux_logits", exports.FLOAT, [1, 2])],
        ),
        [],
        "2 outputs ('logits', float32 (1, 2); 'aux_logits', float32 (1, 2)); name the one with the scores",
    ),
    "an output that is not there": (
        lambda core: exports.torchvision(core).content,
        ["--output", "nothing"],
        "--output nothing: the graph has no such tensor; its outputs are 'output'",
    ),
    "two tensors of one name": (
        lambda core: ended(core, [node("Identity", ["m"], [core.logits])], [value(core.logits, exports.FLOAT, [1, 2])]),
        [],
        "the graph makes the tensor 'scores' twice",
    ),
    "tokens": (
        lambda core: ended(
            core, [node("Identity", ["m"], ["hidden"])], [value("hidden", exports.FLOAT, [1, 197, 768])]
        ),
        [],
        "'hidden', float32 (1, 197, 768): more than a row of scores",
    ),
    "bytes with a preset": (
        lambda core: exports.tf2onnx(core, is_uint8=True).content,
        ["--preset", "tensorflow"],
        "'input_1', uint8 (unk__616, 97, 131, 3): whole numbers from 0 to 255, which the graph normalises itself",
    ),
    "open channels": (
        lambda _: stripes_of(["N", "a", "b", "c"], "Flatten"),
        ["--size", "97x131"],
        "pass --layout NCHW or --layout NHWC",
    ),
    "grey": (lambda _: stripes_of(["N", 1, 28, 28], "Flatten"), [], "images come in 3 channels"),
    "grey in NHWC by a Conv": (lambda _: stripes_of(["N", 28, 28, 1], "Flatten"), [], "images come in 3 channels"),
    "four channels": (lambda _: stripes_of(["N", 4, 28, 28], "Flatten"), [], "images come in 3 channels"),
    "no batch": (lambda _: stripes_of([3, 28, 28], "Flatten"), [], "3 dimensions; four dimensions are expected"),
    "a video": (lambda _: stripes_of([1, 3, 8, 28, 28], "Flatten"), [], "5 dimensions; four dimensions are expected"),
    "an operation of a domain without a version": (
        lambda core: foreign(exports.torchvision(core).content),
        [],
        "OpenVINO cannot compute my.operations.Identity, which the graph uses. No engine here has",
    ),
    "whole numbers of 64 bits": (
        lambda _: stripes_of(["N", 3, 28, 28], "Cast", TensorProto.INT64),
        [],
        "'image', int64 (N, 3, 28, 28); pixels come as float32, float16, bfloat16, float64 or uint8",
    ),
}


def foreign(content: bytes) -> bytes:
    """A graph whose last operation is of a domain that it does not import."""
    model = load_from_string(content)
    model.graph.node[-1].domain = "my.operations"
    changed: bytes = model.SerializeToString()
    return changed


def stripes_of(shape: list[Any], operation: str, kind: int = exports.FLOAT) -> bytes:
    """A graph of one operation on an input of this shape."""
    model = load_from_string(stripes.network())
    graph = model.graph
    for part in ("node", "input", "output", "initializer"):
        graph.ClearField(part)
    options: dict[str, Any] = {"to": exports.FLOAT} if operation == "Cast" else {}
    graph.node.append(node(operation, ["image"], ["scores"], **options))
    graph.input.append(value("image", kind, shape))
    graph.output.append(value("scores", exports.FLOAT, ["N", 2]))
    content: bytes = model.SerializeToString()
    return content


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_image_classifier_is_refused_with_its_own_reason(
    core: Core, folder: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make, words, told = REFUSED[name]
    preset = [] if "--preset" in words else ["--preset", "torchvision"]
    assert bring(folder, make(core), *preset, *words) == 1
    said = capsys.readouterr().err
    assert told in said
    assert "torch" not in said
    assert not any((folder / "bundles").iterdir())


def test_one_class_is_refused(core: Core, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = ended(
        core,
        [node("Slice", [core.logits, "from", "to", "axis"], ["score"])],
        [value("score", exports.FLOAT, [1, 1])],
        **{"from": np.array([0]), "to": np.array([1]), "axis": np.array([1])},
    )
    (folder / "one.txt").write_text("cat\n")
    assert bring(folder, content, "--preset", "torchvision", "--labels", folder / "one.txt") == 1
    assert "the only class would have 100 % for every image" in capsys.readouterr().err
    assert bring(folder, content, "--preset", "torchvision") == 1
    assert "two classes by one number" in capsys.readouterr().err


def test_a_normalisation_inside_the_graph_is_told_unless_the_preset_leaves_it_to_the_graph(
    core: Core, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bring(folder, exports.torchvision(core).content, "--preset", "torchvision") == 0
    assert "The graph itself begins with Mul, Add." in capsys.readouterr().out
    assert bring(folder, exports.torchvision(core).content, "--preset", "pixels") == 0
    assert "The graph itself" not in capsys.readouterr().out
    assert bring(folder, stripes.network(), "--preset", "torchvision") == 0
    assert "The graph itself" not in capsys.readouterr().out


def test_a_graph_that_needs_no_change_is_served_as_it_is(core: Core, folder: Path) -> None:
    content = exports.torchvision(core).content
    assert bring(folder, content, "--preset", "torchvision") == 0
    assert imported(folder).model == content


def test_every_constant_of_a_half_precision_network_becomes_float32(core: Core, folder: Path) -> None:
    export = exports.optimum(core, HALF_MEAN, HALF_STD, is_half=True)
    assert bring(folder, export.content, "--preset", "tensorflow", "--size", "97x131") == 0
    graph = load_from_string(imported(folder).model).graph
    assert {numpy_helper.to_array(each).dtype.name for each in graph.initializer} <= {"float32", "int64"}
    assert {each.type.tensor_type.elem_type for each in (*graph.input, *graph.output)} == {TensorProto.FLOAT}


VIT = {
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_processor_type": "ViTImageProcessor",
    "image_std": [0.5, 0.5, 0.5],
    "resample": 2,
    "rescale_factor": 0.00392156862745098,
    "size": {"height": 97, "width": 131},
}
NAMES = {"architectures": ["ViTForImageClassification"], "id2label": {"0": "across", "1": "down"}}
TIMM = {
    "architecture": "resnet18",
    "num_classes": 2,
    "label_names": ["across", "down"],
    "pretrained_cfg": {"input_size": [3, 97, 131], "crop_pct": 0.95, "mean": [0.5] * 3, "std": [0.5] * 3},
}


@pytest.mark.parametrize("place", ["model.onnx", "onnx/model.onnx"])
@pytest.mark.parametrize("kind", ["optimum", "timm"])
def test_a_folder_of_a_library_needs_no_option(core: Core, folder: Path, kind: str, place: str) -> None:
    configs = {"preprocessor_config.json": VIT, "config.json": NAMES} if kind == "optimum" else {"config.json": TIMM}
    for name, config in configs.items():
        (folder / name).write_text(json.dumps(config, indent=2))
    export = exports.optimum(core, HALF_MEAN, HALF_STD)
    path = folder / place
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(export.content)
    assert models.main(["import", str(path)]) == 0
    made = imported(folder, re.sub("[^A-Za-z0-9._-]+", "-", folder.name))
    assert made.labels == stripes.LABELS
    assert made.preprocessing.size == SIZE
    assert made.preprocessing.resize == ("stretch" if kind == "optimum" else "center-crop")
    assert exports.matches(made.preprocessing, export)


def test_without_a_configuration_what_is_missing_is_named(
    core: Core, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bring(folder, exports.torchvision(core).content) == 1
    told = capsys.readouterr().err
    assert "--preset (torchvision, tensorflow, keras-caffe, pixels)" in told
    assert "preprocessor_config.json" in told
    assert models.main(["import", str(folder / "own.onnx"), "--preset", "torchvision"]) == 1
    assert "--labels FILE is missing" in capsys.readouterr().err
    (folder / "config.json").write_text(json.dumps(NAMES))
    assert bring(folder, exports.torchvision(core).content) == 1  # labels, and nothing of the preprocessing
    assert bring(folder, exports.torchvision(core).content, "--config", folder / "config.json") == 1
    assert "does not describe the preprocessing" in capsys.readouterr().err
    (folder / "config.json").write_text(json.dumps(NAMES | {"id2label": {"0": "a", "1": "b", "2": "c"}}))
    assert models.main(["import", str(folder / "own.onnx"), "--preset", "torchvision"]) == 1
    assert "puts out 2 numbers for an image" in (told := capsys.readouterr().err)
    assert "has 3 labels" in told
