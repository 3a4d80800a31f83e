"""What an import checks before it writes anything: the graph, the labels, the preset, the numbers that come out."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, load_from_string
from PIL import Image

from importing import adaptation, description, facts, labels, precisions
from inference import engines, preprocessing
from inference.arrays import Scores
from inference.bundle import Bundle
from inference.errors import ImportRefusedError
from sightline_testing import sample_images, stripes
from tests.inference.test_onnx_file import with_external_weights

Floats = np.ndarray[Any, np.dtype[np.float64]]
IMAGE = ("image", TensorProto.FLOAT, ["N", 3, 97, 131])
SCORES = ("scores", TensorProto.FLOAT, ["N", 2])
TORCHVISION = description.presets()["torchvision"]


def graph_of(inputs: list[tuple[str, int, Any]], results: list[tuple[str, int, Any]]) -> bytes:
    taken, given = ([helper.make_tensor_value_info(*each) for each in part] for part in (inputs, results))
    node = helper.make_node("Identity", ["image"], ["scores"])
    content: bytes = helper.make_model(helper.make_graph([node], "any", taken, given)).SerializeToString()
    return content


def refusal(of: Callable[..., object], *arguments: Any) -> str:
    with pytest.raises(ImportRefusedError) as refused:
        of(*arguments)
    return str(refused.value)


@pytest.mark.parametrize("is_nhwc", [False, True])
def test_a_graph_tells_its_size_layout_and_classes(is_nhwc: bool) -> None:
    found = facts.read(stripes.network(is_nhwc=is_nhwc))
    assert (found.batch, found.size, found.classes, found.opset) == ("N", (97, 131), 2, 17)
    assert found.layout == ("NHWC" if is_nhwc else "NCHW")
    assert not found.is_quantised


@pytest.mark.parametrize("is_nhwc", [False, True])
def test_where_every_dimension_is_open_the_first_convolution_shows_the_layout(is_nhwc: bool) -> None:
    model = load_from_string(stripes.network(is_nhwc=is_nhwc))
    for dimension in model.graph.input[0].type.tensor_type.shape.dim:
        dimension.Clear()
    assert facts.read(model.SerializeToString()).layout == ("NHWC" if is_nhwc else "NCHW")


@pytest.mark.parametrize(
    ("inputs", "results", "told"),
    [
        ([("image", TensorProto.INT8, ["N", 3, 8, 8])], [SCORES], "'image', int8 (N, 3, 8, 8); pixels come as float32"),
        ([("image", TensorProto.STRING, ["N", 3, 8, 8])], [SCORES], "pixels come as float32"),
        (
            [("image", TensorProto.FLOAT, ["N", 3, 8])],
            [SCORES],
            "(N, 3, 8), 3 dimensions; four dimensions are expected",
        ),
        ([("image", TensorProto.FLOAT, None)], [SCORES], "of unknown shape, an unknown number of dimensions; four"),
        ([("image", TensorProto.FLOAT, ["N", 1, 8, 8])], [SCORES], "images come in 3 channels"),
        ([IMAGE, ("mask", TensorProto.FLOAT, ["N"])], [SCORES], "2 inputs ('image', float32 (N, 3, 97, 131); 'mask'"),
        ([IMAGE], [SCORES, ("auxiliary", TensorProto.FLOAT, ["N", 2])], "2 outputs"),
        ([IMAGE], [("scores", TensorProto.INT64, ["N"])], "the output is 'scores', int64 (N); float32 scores"),
    ],
)
def test_a_graph_that_is_no_image_classifier_is_refused_with_what_was_found(
    inputs: list[tuple[str, int, Any]], results: list[tuple[str, int, Any]], told: str
) -> None:
    assert told in refusal(facts.read, graph_of(inputs, results))


def test_weights_outside_the_graph_are_refused_with_how_to_put_them_in() -> None:
    assert "external_data=False" in refusal(facts.read, with_external_weights().SerializeToString())


@pytest.mark.parametrize("content", [b"", b"no graph", b"\x3a\xff\xff"])
def test_what_is_no_graph_is_refused(content: bytes) -> None:
    assert "no plain ONNX file" in refusal(facts.read, content)


def test_a_graph_for_eight_images_is_opened_for_any_number() -> None:
    content = stripes.network(batch=8)
    found = facts.read(adaptation.adapted(content, facts.read(content)))
    assert (found.batch, found.size, found.classes) == ("N", (97, 131), 2)


def test_the_graphs_size_goes_before_the_presets_and_what_is_told_before_both() -> None:
    fixed, is_open = (facts.read(stripes.network(size=size)) for size in ((97, 131), ("h", "w")))
    assert description.preprocessing_table(fixed, TORCHVISION, {})["size"] == [97, 131]
    assert description.preprocessing_table(is_open, TORCHVISION, {})["size"] == [224, 224]
    assert description.preprocessing_table(is_open, TORCHVISION, {"size": [64, 80]})["size"] == [64, 80]
    assert "--size 64 80 is not what the graph takes" in refusal(
        description.preprocessing_table, fixed, TORCHVISION, {"size": [64, 80]}
    )
    assert (
        description.preprocessing_table(fixed, TORCHVISION, {"resize": "stretch", "mean": None})["resize"] == "stretch"
    )


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\xff\xfea\0", "no UTF-8"),
        (b"", "empty"),
        (b"cat\ndog\ncat\n", "line 3 is 'cat'"),
        (b"cat\n\ndog\n", "line 2 is ''"),
    ],
)
def test_labels_that_cannot_be_are_refused_with_their_line(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(content)
    said = refusal(labels.read, path)
    assert told in said
    assert str(path) in said


def test_what_editors_leave_in_a_file_of_labels_is_no_part_of_them(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes("\ufeffcat \r\nBär\r\n\r\n\n".encode())
    assert labels.read(path).labels == ("cat", "Bär")


@pytest.mark.parametrize(
    ("named", "count", "told"),
    [
        (("a", "b", "c"), 2, "2 numbers for an image, labels.txt has 3 labels; one label for each"),
        (("a",), 1, "the only class would have 100 %"),
        (tuple(map(str, range(1000))), 1001, "put a line 'background' first"),
        (("a", "b"), 1, "two classes by one number"),
    ],
)
def test_labels_and_outputs_are_as_many(named: tuple[str, ...], count: int, told: str) -> None:
    assert told in refusal(labels.check_count, named, Path("labels.txt"), count)


def rows(*values: list[float]) -> Scores:
    return np.array(values, np.float32)


def test_probabilities_are_told_from_logits_by_what_they_add_up_to() -> None:
    assert description.output_kind(rows([0.25, 0.75], [1, 0])) == "probabilities"
    assert description.output_kind(rows([0.25, 0.75], [0.5, 0.6])) == "logits"
    assert description.output_kind(rows([0.5, 0.6], [0.9, 0.9]), "probabilities") == "probabilities"
    assert "-3 to 2" in refusal(description.output_kind, rows([2, -3]), "probabilities")
    assert "softmax would be applied twice" in refusal(description.output_kind, rows([0.25, 0.75]), "logits")


def test_numbers_that_are_none_and_shapes_that_are_no_rows_are_refused() -> None:
    assert "NaN" in refusal(description.check_outputs, rows([np.nan, 1]))
    assert "add a Flatten" in refusal(description.check_outputs, np.zeros((1, 2, 1, 1), np.float32))


def test_what_is_odd_is_said() -> None:
    assert "the same for every image" in description.warnings(rows([3, 2], [3, 2]), "logits")[0]
    assert "sigmoid" in description.warnings(rows([0.1, 0.2], [0.9, 0.9]), "logits")[0]
    assert description.warnings(rows([3, -2], [1, 4]), "logits") == []


def test_a_bar_is_exact_to_an_eighth_of_a_block() -> None:
    assert [precisions.bar(share) for share in (0, 0.5, 1, 1 / 24, 1 / 48)] == ["", "█" * 12, "█" * 24, "█", "▌"]


# What each family of networks does with an image, computed by itself with Pillow and numpy.
def as_torchvision(image: Image.Image) -> Floats:
    values = np.asarray(image, np.float64) / 255
    return ((values - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).transpose(2, 0, 1)


def as_tensorflow(image: Image.Image) -> Floats:
    return (np.asarray(image, np.float64) / 127.5 - 1).transpose(2, 0, 1)


def as_keras_caffe(image: Image.Image) -> Floats:
    return (np.asarray(image, np.float64)[..., ::-1] - [103.939, 116.779, 123.68]).transpose(2, 0, 1)


def as_pixels(image: Image.Image) -> Floats:
    return np.asarray(image, np.float64).transpose(2, 0, 1)


NORMALISATIONS: dict[str, Callable[[Image.Image], Floats]] = {
    "torchvision": as_torchvision,
    "tensorflow": as_tensorflow,
    "keras-caffe": as_keras_caffe,
    "pixels": as_pixels,
}
# A network whose output is its input, so that tests can check the input.
SIZE = 12


def what_arrives(preset: str, content: bytes) -> Floats:
    nodes = [helper.make_node("Flatten", ["image"], ["scores"])]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, SIZE, SIZE])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 3 * SIZE * SIZE])
    model = helper.make_model(
        helper.make_graph(nodes, "echo", [image], [scores]), ir_version=8, opset_imports=[helper.make_opsetid("", 17)]
    ).SerializeToString()
    known = preprocessing.from_table(
        description.preprocessing_table(facts.read(model), description.presets()[preset], {})
    )
    bundle = Bundle("echo", "1", "fp32", known, "probabilities", tuple(map(str, range(3 * SIZE * SIZE))), model)
    pixels = np.empty((1, SIZE, SIZE, 3), np.uint8)
    known.prepare(content, pixels[0])
    arrived = engines.load("openvino", bundle, streams=1, cores=1).predict(pixels).reshape(3, SIZE, SIZE)
    return arrived.astype(np.float64)


@pytest.mark.parametrize("preset", NORMALISATIONS)
def test_a_presets_numbers_are_those_of_its_family(preset: str) -> None:
    colour = Image.new("RGB", (40, 30), (200, 100, 30))
    arrived = what_arrives(preset, sample_images.encode(colour, "PNG"))
    expected = NORMALISATIONS[preset](colour.resize((SIZE, SIZE)))
    assert arrived == pytest.approx(expected, abs=1e-4)


def test_there_is_a_computation_of_its_own_for_each_preset() -> None:
    assert set(description.presets()) == set(NORMALISATIONS)


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
@pytest.mark.parametrize("size", [(100, 75), (640, 480), (11, 9)])
def test_keras_caffe_is_the_nearest_pixel_of_the_whole_image(form: str, size: tuple[int, int]) -> None:
    content = sample_images.encode(sample_images.scene(*size, seed=3), form)
    with Image.open(io.BytesIO(content)) as file:
        expected = as_keras_caffe(file.convert("RGB").resize((SIZE, SIZE), Image.Resampling.NEAREST))
    assert what_arrives("keras-caffe", content) == pytest.approx(expected, abs=1e-3 if form == "PNG" else 1.01)


@pytest.mark.parametrize("preset", ["torchvision", "tensorflow"])
def test_the_others_look_at_the_middle_of_an_image(preset: str) -> None:
    image = Image.new("RGB", (200, 100), (255, 0, 0))
    image.paste((0, 0, 255), (56, 6, 144, 94))  # all that a square of 87.5 % of the shorter side shows
    arrived = what_arrives(preset, sample_images.encode(image, "PNG"))
    expected = NORMALISATIONS[preset](Image.new("RGB", (SIZE, SIZE), (0, 0, 255)))
    assert arrived == pytest.approx(expected, abs=0.1)


def test_a_view_of_single_pixels_never_has_its_jpeg_scaled_but_for_the_largest() -> None:
    known = preprocessing.from_table(
        description.preprocessing_table(
            facts.read(stripes.network(size=("h", "w"))), description.presets()["keras-caffe"], {}
        )
    )
    assert known.view.jpeg_factor(4000, 3000) == 1
    assert known.view.jpeg_factor(8000, 8000) == 8  # 64 megapixels would not fit
    assert replace(known, interpolation="bilinear").view.jpeg_factor(4000, 3000) == 8
