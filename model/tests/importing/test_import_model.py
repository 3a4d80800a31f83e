"""`cli.models import`: from an ONNX file to a bundle that serves, or an error with the reason."""

from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from onnx import TensorProto, helper, load_from_string

import settings
from cli import models
from inference import bundle, cpu, engines, model
from inference.bundle import Bundle
from onnx_tools import int8 as onnx_tools_int8
from onnx_tools.graph import Graph
from sightline_testing import stripes


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a network, its labels and a folder of bundles."""
    monkeypatch.setattr(settings, "BUNDLES_FOLDER", str(tmp_path / "bundles"))
    return filled(tmp_path)


class Quantised(NamedTuple):
    """A place whose network was quantised with ten images and a broken one, and what that printed."""

    place: Path
    printed: str

    def bundle(self, precision: str) -> Bundle:
        return bundle.load(self.place / "bundles" / "stripes" / f"1-{precision}")


@pytest.fixture(scope="module")
def quantised(tmp_path_factory: pytest.TempPathFactory) -> Quantised:
    place, printed = filled(tmp_path_factory.mktemp("quantised")), StringIO()
    (stripes.write_images(place / "usual", 10) / "broken.png").write_bytes(b"no image")
    with pytest.MonkeyPatch.context() as patched, redirect_stdout(printed):
        patched.setattr(settings, "BUNDLES_FOLDER", str(place / "bundles"))
        assert bring(place, "--quantize", "--calibration", place / "usual") == 0
    return Quantised(place, printed.getvalue())


def filled(folder: Path) -> Path:
    (folder / "stripes.onnx").write_bytes(stripes.network())
    stripes.write_labels(folder / "labels.txt")
    (folder / "bundles").mkdir()
    return folder


def bring(place: Path, *words: object, preset: str = "torchvision") -> int:
    told = ["import", place / "stripes.onnx", "--labels", place / "labels.txt", "--preset", preset, *words]
    return models.main([str(word) for word in told])


def written(place: Path) -> list[str]:
    return sorted(str(path.relative_to(place / "bundles")) for path in (place / "bundles").glob("*/*"))


def named(place: Path, version: str, label: str, seed: int = 5) -> str:
    judged = model.load(place / "bundles" / version, "openvino", streams=1, cores=cpu.cores())
    pixels = judged.new_batch(1)
    judged.prepare(stripes.image(label, seed), pixels[0])
    return judged.top_k(judged.predict(pixels)[0], 1)[0][0]


def test_a_network_becomes_a_bundle_that_answers_rightly(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bring(place) == 0
    assert written(place) == ["stripes/1-fp32"]
    assert [named(place, "stripes/1-fp32", label) for label in stripes.LABELS] == list(stripes.LABELS)
    said = capsys.readouterr().out
    assert "'image', float32 (N, 3, 97, 131) -> 2 classes (logits)" in said
    assert "a synthetic image" in said
    assert "█" in said
    assert "sightline models promote stripes/1-fp32 --force" in said


def test_an_image_of_ones_own_is_shown_with_its_answer(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "down.png").write_bytes(stripes.image("down"))
    assert bring(place, "--image", place / "down.png") == 0
    [best] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  down ")]
    assert float(best.split()[-1].rstrip("%")) > 90


def test_what_differs_from_the_preset_can_be_told(place: Path) -> None:
    words = ["--resize", "stretch", "--interpolation", "area", "--mean", "127.5", "--std", "50,60,70"]
    assert bring(place, *words, "--channels", "BGR", "--name", "lines", "--new-version", "a") == 0
    told = bundle.load(place / "bundles" / "lines" / "a-fp32").preprocessing
    assert (told.resize, told.interpolation, told.channels) == ("stretch", "area", "BGR")
    assert (told.mean, told.std, told.size) == ((127.5, 127.5, 127.5), (50, 60, 70), (97, 131))


def test_every_import_has_the_next_free_number_and_none_is_written_over(place: Path) -> None:
    assert bring(place) == bring(place) == 0
    assert written(place) == ["stripes/1-fp32", "stripes/2-fp32"]
    assert bring(place, "--new-version", "2") == 1
    assert written(place) == ["stripes/1-fp32", "stripes/2-fp32"]


@pytest.mark.parametrize("is_nhwc", [False, True])
@pytest.mark.parametrize("batch", [1, 8, "N"])
def test_a_network_of_either_layout_and_any_batch_size_is_served(place: Path, is_nhwc: bool, batch: int | str) -> None:
    (place / "stripes.onnx").write_bytes(stripes.network(is_nhwc=is_nhwc, batch=batch))
    assert bring(place) == 0
    assert [named(place, "stripes/1-fp32", label) for label in stripes.LABELS] == list(stripes.LABELS)


def test_a_network_that_leaves_its_size_open_is_given_one(place: Path) -> None:
    (place / "stripes.onnx").write_bytes(stripes.network(size=("height", "width")))
    assert bring(place, "--size", "64x80") == 0
    assert bundle.load(place / "bundles" / "stripes" / "1-fp32").preprocessing.size == (64, 80)


def test_probabilities_are_seen_and_not_made_twice(place: Path) -> None:
    (place / "stripes.onnx").write_bytes(stripes.network(ends=("Softmax",)))
    assert bring(place) == 0
    assert bundle.load(place / "bundles" / "stripes" / "1-fp32").output == "probabilities"


def test_an_operation_that_the_engine_cannot_compile_is_named(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = load_from_string(stripes.network())
    graph.graph.node.append(helper.make_node("Frobnicate", ["scores"], ["done"]))
    graph.graph.output[0].name = "done"
    (place / "stripes.onnx").write_bytes(graph.SerializeToString())
    assert bring(place) == 1
    said = capsys.readouterr().err
    assert "OpenVINO cannot compute Frobnicate" in said
    assert "ENGINE=onnxruntime" in said
    assert written(place) == []


@pytest.mark.parametrize(
    ("content", "words", "told"),
    [
        (stripes.network(size=(97, 131)), ["--size", "64"], "--size 64 64 is not what the graph takes"),
        (stripes.network(kind=TensorProto.INT32), [], "'image', int32 (N, 3, 97, 131); pixels come as"),
        (stripes.network(), ["--kind", "probabilities"], "--kind probabilities, but the network puts out"),
        (stripes.network(), ["--std", "0"], "std = [0.0, 0.0, 0.0]"),
        (stripes.network(), ["--picture", "/nowhere.png"], "/nowhere.png"),
        (stripes.network(), ["--quantize"], "--quantize needs --calibration FOLDER"),
        (stripes.network(), ["--name", "../x"], "'../x' is no name"),
        (stripes.network(), ["--new-version", "../../x"], "is no name"),
    ],
)
def test_what_is_refused_says_why_and_writes_nothing(
    place: Path, capsys: pytest.CaptureFixture[str], content: bytes, words: list[str], told: str
) -> None:
    (place / "stripes.onnx").write_bytes(content)
    assert bring(place, *words) == 1
    assert told in capsys.readouterr().err
    assert written(place) == []


def test_labels_and_outputs_have_to_be_as_many(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "labels.txt").write_text("one\ntwo\nthree\n")
    assert bring(place) == 1
    assert "puts out 2 numbers for an image" in capsys.readouterr().err


def test_quantising_makes_a_second_version_and_shows_both(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = stripes.write_images(place / "labelled", 6, seed=100)
    usual = stripes.write_images(place / "usual", 10)
    assert bring(place, "--quantize", "--calibration", usual, "--labelled", shown) == 0
    assert written(place) == ["stripes/1-fp32", "stripes/1-int8"]
    table = {line.split("  ")[1]: line.split() for line in capsys.readouterr().out.splitlines() if line.count("%") > 1}
    assert table["top-1"][1:4] == ["100.0%", "100.0%", "of"]
    assert [named(place, "stripes/1-int8", label) for label in stripes.LABELS] == list(stripes.LABELS)
    assert bundle.load(place / "bundles" / "stripes" / "1-int8").precision == "int8"


def test_calibration_is_judged_on_images_that_it_did_not_see(quantised: Quantised) -> None:
    assert "of 10 images that calibration did not see" in quantised.printed
    assert "Calibrated with only 11 images" in quantised.printed


def test_both_engines_compute_the_same_from_the_integers(quantised: Quantised) -> None:
    int8, fp32 = quantised.bundle("int8"), quantised.bundle("fp32")
    batch = np.empty((2, 97, 131, 3), np.uint8)
    for label, out in zip(stripes.LABELS, batch, strict=True):
        int8.preprocessing.prepare(stripes.image(label, 77), out)
    scores = [
        engines.load(name, each, streams=1, cores=1).predict(batch)
        for name, each in (("openvino", int8), ("onnxruntime", int8), ("openvino", fp32))
    ]
    assert scores[0] == pytest.approx(scores[1], abs=0.02)
    assert scores[0] == pytest.approx(scores[2], abs=0.05)


def test_every_layer_of_the_default_network_computes_in_integers(bundles: Path) -> None:
    graph = Graph(bundle.load(bundles / "efficientnet-lite0" / "1-fp32").model)
    ranges = dict.fromkeys(onnx_tools_int8.measured_tensors(graph), (-1.0, 6.0))
    made = Graph(onnx_tools_int8.int8_graph(graph, ranges))
    layers = [node for node in made.nodes if node.op_type in ("Conv", "Gemm")]
    assert len(layers) == 50
    assert {made.maker(name).op_type for node in layers for name in node.input} == {"DequantizeLinear"}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (stripes.network(opset=11), "opset 11; int8 weights by channel need 13"),
        (b"int8", "computes in integers already"),
    ],
)
def test_a_graph_that_cannot_be_quantised_says_why(
    place: Path, quantised: Quantised, capsys: pytest.CaptureFixture[str], content: bytes, told: str
) -> None:
    usual = stripes.write_images(place / "usual", 2)
    (place / "stripes.onnx").write_bytes(quantised.bundle("int8").model if content == b"int8" else content)
    assert bring(place, "--quantize", "--calibration", usual) == 1
    assert told in capsys.readouterr().err
    assert written(place) == []


def test_a_labelled_folder_of_other_labels_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "other" / "cat").mkdir(parents=True)
    (place / "other" / "cat" / "1.png").write_bytes(stripes.image("down"))
    assert bring(place, "--labelled", place / "other") == 1
    assert "no image of a label of this network (there: ['cat'])" in capsys.readouterr().err
