import csv
import hashlib
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import openvino
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps

from default_model import golden
from default_model.checkpoint import load_checkpoint
from default_model.development import golden_text
from default_model.golden import check_outputs, compiled, drawn_images, normalise
from default_model.graphs import IMAGE_RANGE, graph_file, measured_tensors, read_ranges
from default_model.network import FEATURES, convolutions, fold, scaled_stages
from default_model.recipe import GOLDEN_FILE, Precision, Recipe, labels
from default_model.variants import LITE0, LITE1, LITE2, VARIANTS, Variant
from inference.arrays import Classes, Floats
from inference.errors import BuildError
from onnx_tools.int8 import any_pairs, neighbouring_pairs, quantisation, quantise

Weights = NDArray[Any]

PHOTOGRAPHS = Path(os.environ.get("IMAGENET_DIR") or Path(__file__).parents[4] / "shared" / "imagenet")
# What 255 times the sum of two neighbouring weights may come to in the 16 bits of a processor without VNNI.
INT16_MAX = 32767
CROP_RATIO = 0.875


@pytest.fixture(scope="module")
def models() -> dict[Precision, bytes]:
    network = fold(load_checkpoint(LITE0), LITE0)
    return {precision: graph_file(network, precision) for precision in Precision}


@lru_cache(maxsize=6)  # of the two that most tests ask, in two forms, and of their spoiled copies
def network_of(model: bytes, tensors: tuple[str, ...]) -> Callable[[Floats], list[NDArray[Any]]]:
    """Return a model that is compiled once for all tests, which takes longer than what it computes."""
    return compiled(model, tensors)


def run(model: bytes, images: Floats, tensors: tuple[str, ...] = ("logits",)) -> list[NDArray[Any]]:
    return network_of(model, tensors)(images)


@pytest.fixture(autouse=True)
def _compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have what checks the golden outputs share these networks, which it would compile again each time."""
    monkeypatch.setattr(golden, "compiled", lambda model, tensors: network_of(model, tuple(tensors)))


# The numbers


def test_padding_is_that_of_tensorflow_with_the_odd_pixel_at_the_end() -> None:
    pads = {(layer.size, layer.kernel, layer.stride): layer.pads for layer in convolutions(LITE0)}
    assert pads[224, 3, 2] == [0, 0, 1, 1]
    assert pads[56, 5, 2] == [1, 1, 2, 2]
    assert pads[14, 5, 1] == [2, 2, 2, 2]
    assert pads[7, 1, 1] == [0, 0, 0, 0]


def test_every_pixel_value_survives_the_quantisation_of_the_image() -> None:
    exact = normalise(np.arange(256).reshape(1, 256, 1))
    found = quantisation(*IMAGE_RANGE)
    integers = np.rint(exact / found.scale) + found.zero_point
    assert integers.ravel().tolist() == list(range(256))


@settings(deadline=None)
@given(st.floats(-1e3, 0), st.floats(0.1, 1e3))
def test_a_quantisation_holds_zero_exactly_and_covers_its_range_to_half_a_step(low: float, high: float) -> None:
    found = quantisation(low, high)
    step, zero = float(found.scale), int(found.zero_point)
    assert -zero * step <= low + step / 2 + 1e-3
    assert (255 - zero) * step >= high - step / 2 - 1e-3


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.5, 1.0, 3.0]), st.sampled_from([neighbouring_pairs, any_pairs]))
def test_two_weights_that_a_processor_adds_never_overflow_its_16_bits(
    seed: int, tail: float, pairs_of: Callable[[Weights], Weights]
) -> None:
    random = np.random.default_rng(seed)
    weights = random.standard_t(tail, (8, 24)).astype(np.float32)
    biases = random.normal(size=8).astype(np.float32)
    integers = quantise(weights, biases, quantisation(0, 6), pairs_of(weights)).weights.astype(int)
    sums = [integers[:, ::2] + integers[:, 1::2]] if pairs_of is neighbouring_pairs else pairwise_sums(integers)
    assert max(np.abs(pair).max() for pair in sums) * 255 <= INT16_MAX


def pairwise_sums(integers: Weights) -> list[Weights]:
    first, second = np.triu_indices(integers.shape[1], 1)
    return [integers[:, first] + integers[:, second]]


def test_a_dead_channel_keeps_its_bias() -> None:
    weights, biases = np.full((1, 4), 1e-20, np.float32), np.array([3.0], np.float32)
    integers = quantise(weights, biases, quantisation(0, 6), None)
    assert integers.biases[0] * integers.bias_scales[0] == pytest.approx(3.0)


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_the_table_has_a_range_for_each_tensor_that_needs_one(variant: Variant) -> None:
    ranges = read_ranges(variant)
    assert list(ranges) == measured_tensors(variant)
    assert all(low <= 0 < high for low, high in ranges.values())


# The graphs


def test_both_graphs_are_valid_and_hold_the_names_that_others_rely_on(models: dict[Precision, bytes]) -> None:
    for model in models.values():
        onnx.checker.check_model(model, full_check=True)
        image = np.zeros((2, 3, 224, 224), np.float32)
        logits, features, feature_map = run(model, image, ("logits", "features", "feature_map"))
        assert (logits.shape, features.shape, feature_map.shape) == ((2, 1000), (2, 1280), (2, 1280, 7, 7))
        np.testing.assert_allclose(feature_map.mean(axis=(2, 3)), features, atol=0.02)


@pytest.mark.parametrize("precision", Precision)
def test_the_drawn_images_are_recognised_alone_and_as_a_batch(
    models: dict[Precision, bytes], precision: Precision
) -> None:
    drawn = drawn_images(LITE0.input_size)
    images = np.stack([normalise(pixels) for pixels in drawn.values()])
    (together,) = run(models[precision], images)
    alone = np.concatenate([run(models[precision], image[None])[0] for image in images])
    assert [labels()[index] for index in together.argmax(axis=1)] == list(drawn)
    np.testing.assert_allclose(together, alone, atol=1e-3)


def test_the_digests_are_those_of_what_is_built() -> None:
    # Those of the other models are checked where they are made: set-up refuses what comes out differently.
    built, recorded = (text.partition("[logits")[0] for text in (golden_text([LITE0]), GOLDEN_FILE.read_text()))
    others = [
        line for line in recorded.splitlines() if line.startswith(('"efficientnet-lite1/', '"efficientnet-lite2/'))
    ]
    assert len(others) == 4
    assert built.splitlines() == [line for line in recorded.splitlines() if line not in others]


@pytest.mark.parametrize("precision", Precision)
def test_the_golden_outputs_hold_here(models: dict[Precision, bytes], precision: Precision) -> None:
    check_outputs(models[precision], Recipe(precision))


@pytest.mark.parametrize("precision", Precision)
def test_a_slightly_different_network_is_noticed_by_its_outputs(
    models: dict[Precision, bytes], precision: Precision
) -> None:
    model = onnx.load_from_string(models[precision])
    strides = next(node for node in model.graph.node if "block9.depthwise" in node.output[0] and node.op_type == "Conv")
    next(attribute for attribute in strides.attribute if attribute.name == "pads").ints[:] = [1, 1, 3, 3]
    with pytest.raises(BuildError, match="computes the wrong values on this machine"):
        check_outputs(model.SerializeToString(), Recipe(precision))


def test_int8_stays_close_to_fp32_on_the_drawn_images(models: dict[Precision, bytes]) -> None:
    images = np.stack([normalise(pixels) for pixels in drawn_images(LITE0.input_size).values()])
    logits = {precision: run(model, images)[0] for precision, model in models.items()}
    for row, reference in zip(logits[Precision.INT8], logits[Precision.FP32], strict=True):
        assert np.corrcoef(row, reference)[0, 1] > 0.98


def test_openvino_computes_every_convolution_of_the_int8_graph_in_8_bits(models: dict[Precision, bytes]) -> None:
    core = openvino.Core()
    graph = core.compile_model(core.read_model(models[Precision.INT8]), "CPU").get_runtime_model()
    nodes = [node.get_rt_info() for node in graph.get_ops()]
    precisions = [
        str(node["runtimePrecision"].astype(str))
        for node in nodes
        if "Convolution" in str(node["layerType"].astype(str))
    ]
    assert len(precisions) == len(convolutions(LITE0)) == 49
    assert set(precisions) <= {"u8", "i8"}


def test_no_pair_of_weights_in_the_int8_file_can_overflow(models: dict[Precision, bytes]) -> None:
    graph = onnx.load_from_string(models[Precision.INT8]).graph
    constants = {constant.name: onnx.numpy_helper.to_array(constant).astype(int) for constant in graph.initializer}
    layers = [(layer.name, layer.kernel) for layer in convolutions(LITE0) if layer.groups == 1]
    for name, kernel in [*layers, ("classifier", 1)]:
        weights = constants[f"{name}.weights.integers"].reshape(-1, constants[f"{name}.weights.integers"][0].size)
        sums = [weights[:, ::2] + weights[:, 1::2]] if kernel == 1 else pairwise_sums(weights)
        assert np.abs(sums[0]).max() * 255 <= INT16_MAX, name


# The larger models, whose weights the tests do without: random ones under the names of the published checkpoints


# Of the published checkpoints: the number of tensors that a network consists of, of their numbers, and the SHA-256 of
# their names and shapes.
PUBLISHED = {
    LITE0: (247, 4_694_024, "e8b5afc66056b920f760076c03fd4a400c3a13c0c0b094f45d3ae97792267bde"),
    LITE1: (322, 5_470_344, "908d60586ae9959c06f1296a5286ccf118b2a44c2f78d6d507b63844351544ed"),
    LITE2: (322, 6_150_168, "fe74032d0bfd039ee834aa27041f519263a0a17b601c7ac6816e76eedf3d7bc0"),
}


def random_checkpoint(variant: Variant) -> dict[str, Weights]:
    """Return a checkpoint as it should be by the layers: what each reads decides its shape."""
    random = np.random.default_rng(0)
    tensors: dict[str, Weights] = {}
    channels = {"image": 3}
    widths = dict(zip([layer.weights for layer in convolutions(variant)], output_channels(variant), strict=True))
    for layer in convolutions(variant):
        outputs, inputs = widths[layer.weights], channels[layer.source] // layer.groups
        shape = (outputs, inputs, layer.kernel, layer.kernel)
        tensors[f"{layer.weights}.weight"] = random.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape).astype(np.float32)
        for part, value in (("weight", 1), ("bias", 0), ("running_mean", 0), ("running_var", 1)):
            tensors[f"{layer.norm}.{part}"] = np.full(outputs, value, np.float32)
        channels[layer.name] = channels[layer.result] = outputs
    tensors["_fc.weight"] = random.normal(0, 0.05, (1000, FEATURES)).astype(np.float32)
    tensors["_fc.bias"] = np.zeros(1000, np.float32)
    return tensors


def output_channels(variant: Variant) -> list[int]:
    channels, before = [32], 32
    for stage in scaled_stages(variant):
        for _ in range(stage.blocks):
            wide = before * stage.expansion
            channels += [wide, wide, stage.channels] if stage.expansion > 1 else [wide, stage.channels]
            before = stage.channels
    return [*channels, FEATURES]


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_the_layers_are_those_of_the_published_checkpoint(variant: Variant) -> None:
    tensors = random_checkpoint(variant)
    lines = sorted(f"{name} {values.shape}" for name, values in tensors.items())
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    assert (len(tensors), sum(values.size for values in tensors.values()), digest) == PUBLISHED[variant]


@pytest.mark.parametrize(("variant", "side"), [(LITE1, 8), (LITE2, 9)], ids=["lite1", "lite2"])
def test_a_larger_model_is_a_valid_graph_in_both_precisions(variant: Variant, side: int) -> None:
    network = fold(random_checkpoint(variant), variant)
    images = np.zeros((2, 3, variant.input_size, variant.input_size), np.float32)
    for precision in Precision:
        model = graph_file(network, precision)
        onnx.checker.check_model(model, full_check=True)
        logits, features, feature_map = compiled(model, ("logits", "features", "feature_map"))(images)
        shapes = (logits.shape, features.shape, feature_map.shape)
        assert shapes == ((2, 1000), (2, 1280), (2, 1280, side, side))
        assert np.isfinite(logits).all()


# Accuracy


class Photographs(NamedTuple):
    images: Floats
    classes: Classes


def read_photographs(folder: Path) -> Photographs:
    """Read every `<wnid>_<words>.JPEG` of the folder, which also holds classes.csv, in the order of their names."""
    with (folder / "classes.csv").open(encoding="utf-8", newline="") as file:
        index = {row["wnid"]: int(row["index"]) for row in csv.DictReader(file)}
    paths = sorted(folder.glob("*.JPEG"))
    classes = [index[path.name.partition("_")[0]] for path in paths]
    return Photographs(np.stack([prepared(path) for path in paths]), np.array(classes))


def prepared(path: Path) -> Floats:
    """Return a photograph as (3, 224, 224), as a reference would: centre square, bicubic, (pixel - 127) / 128."""
    with Image.open(path) as file:
        image = ImageOps.exif_transpose(file).convert("RGB")
    side = min(image.size) * CROP_RATIO
    left, top = ((length - side) / 2 for length in image.size)
    box = (left, top, left + side, top + side)
    square = image.resize((LITE0.input_size,) * 2, Image.Resampling.BICUBIC, box=box)
    return normalise(np.asarray(square))


@pytest.fixture(scope="module")
def photographs() -> Photographs:
    if not PHOTOGRAPHS.is_dir():
        pytest.skip(f"no labelled photographs in {PHOTOGRAPHS}: set IMAGENET_DIR")
    return read_photographs(PHOTOGRAPHS)


def test_int8_recognises_labelled_photographs_as_fp32_does(
    models: dict[Precision, bytes], photographs: Photographs
) -> None:
    best = {name: np.argsort(-run(model, photographs.images)[0], axis=1)[:, :5] for name, model in models.items()}
    top_1 = {name: int((found[:, 0] == photographs.classes).sum()) for name, found in best.items()}
    assert top_1[Precision.FP32] >= 88
    assert (best[Precision.FP32] == photographs.classes[:, None]).any(axis=1).sum() >= 97
    assert top_1[Precision.INT8] >= top_1[Precision.FP32] - 2
    assert (best[Precision.INT8][:, 0] == best[Precision.FP32][:, 0]).sum() >= 96
