import io
import subprocess
import sys
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from inference import bundle, engines
from inference.bundle import Bundle
from inference.errors import HeadError
from onnx_tools.graph import encode, load
from onnx_tools.head import Head, feature_map_model, features_model, read_head, with_head
from tests.inference.test_onnx_file import with_external_weights

MODEL = Path(__file__).parents[2]


@pytest.fixture(scope="module", params=["1-int8", "1-fp32"])
def loaded(request: pytest.FixtureRequest, bundles: Path) -> Bundle:
    return replace(bundle.load(bundles / "efficientnet-lite0" / request.param), output="probabilities")


@lru_cache(maxsize=16)  # most tests compare with those of the same networks
def outputs(loaded: Bundle, engine: str = "openvino") -> np.ndarray:
    pixels = np.random.default_rng(0).integers(0, 256, (2, *loaded.preprocessing.size, 3), dtype=np.uint8)
    return engines.load(engine, loaded, streams=1, cores=1).predict(pixels)


def changed(loaded: Bundle, model: bytes) -> Bundle:
    """Return the same as a draft: its compiled form is of no use to anyone else."""
    return replace(loaded, model=model, folder=None)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_the_features_times_the_head_are_what_the_model_puts_out(loaded: Bundle, engine: str) -> None:
    features = outputs(replace(loaded, model=features_model(loaded.model)), engine)
    assert features.shape == (2, 1280)
    np.testing.assert_allclose(read_head(loaded.model).logits(features), outputs(loaded, engine), atol=0.05)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_a_model_with_its_own_head_put_back_answers_as_before(loaded: Bundle, engine: str) -> None:
    again = with_head(loaded.model, read_head(loaded.model))
    np.testing.assert_allclose(outputs(changed(loaded, again), engine), outputs(loaded, engine), atol=0.05)


def test_a_head_with_more_classes_adds_them_at_the_end(loaded: Bundle) -> None:
    head = read_head(loaded.model)
    more = with_head(loaded.model, Head(head.weights, head.biases).extended(3))
    found, before = outputs(changed(loaded, more)), outputs(loaded)
    assert found.shape == (2, 1003)
    np.testing.assert_allclose(found[:, :1000], before, atol=0.05)
    assert not found[:, 1000:].any()


def test_a_head_can_be_changed_twice(loaded: Bundle) -> None:
    first = with_head(loaded.model, read_head(loaded.model).extended(1))
    second = with_head(first, read_head(first).extended(1))
    assert read_head(second).weights.shape == (1002, 1280)
    assert len(second) < len(first) + 10_000  # the old one is gone


def test_the_mean_of_the_feature_map_is_the_features(loaded: Bundle) -> None:
    maps = outputs(changed(loaded, feature_map_model(loaded.model)))
    features = outputs(replace(loaded, model=features_model(loaded.model)))
    # In int8 the features have a grid of their own, which ends before the rarest values.
    assert np.abs(maps.mean(axis=(2, 3)) - features).mean() < 0.01


def test_a_graph_that_ends_in_no_linear_layer_is_refused_with_what_it_ends_in(loaded: Bundle) -> None:
    with pytest.raises(HeadError, match="ends in"):
        read_head(features_model(loaded.model))


@pytest.mark.parametrize("content", [b"", b"no graph", b"\xff" * 50])
def test_what_is_no_graph_is_refused(content: bytes) -> None:
    with pytest.raises(HeadError, match="no ONNX graph"):
        read_head(content)


def test_a_model_is_written_as_it_was_read(loaded: Bundle) -> None:
    assert encode(load(loaded.model)) == loaded.model


def test_the_parts_for_heat_maps_are_written_by_a_process_of_its_own(loaded: Bundle) -> None:
    command = [sys.executable, "-m", "onnx_tools.head"]
    done = subprocess.run(command, input=loaded.model, capture_output=True, cwd=MODEL, check=True)
    with np.load(io.BytesIO(done.stdout)) as parts:
        assert parts["model"].tobytes() == feature_map_model(loaded.model)
        np.testing.assert_array_equal(parts["weights"], read_head(loaded.model).weights)


def test_weights_outside_the_file_are_refused_before_the_library_could_read_them() -> None:
    with pytest.raises(HeadError, match="another file"):
        read_head(with_external_weights().SerializeToString())
