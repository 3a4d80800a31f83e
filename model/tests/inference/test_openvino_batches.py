"""Batches in OpenVINO: several images at a time where that takes less, with the answers of single images."""

import threading
from pathlib import Path

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper

from inference import bundle
from inference.arrays import Batch
from inference.engines import choice, openvino_engine
from inference.engines.openvino_engine import OpenVinoEngine
from tests import bundle_copies

AMX = frozenset({"avx2", "avx512_vnni", "amx_int8"})
SIDE, LABELS = 8, ("red", "green", "blue")


def _nodes(*, mixes: bool, reshapes: bool) -> list[NodeProto]:
    """Return a network of the mean of each colour; one that `mixes` compares an image with its batch."""
    nodes = [helper.make_node("GlobalAveragePool", ["image"], ["means"])]
    if reshapes:
        shape = helper.make_tensor("shape", TensorProto.INT64, [2], [1, 3])
        nodes.append(helper.make_node("Constant", [], ["shape"], value=shape))
        nodes.append(helper.make_node("Reshape", ["means", "shape"], ["flat" if mixes else "scores"]))
    else:
        nodes.append(helper.make_node("Flatten", ["means"], ["flat" if mixes else "scores"]))
    if mixes:
        nodes.append(helper.make_node("ReduceMax", ["flat"], ["most"], axes=[0]))
        nodes.append(helper.make_node("Sub", ["flat", "most"], ["scores"]))
    return nodes


def _engine(folder: Path, *, mixes: bool = False, reshapes: bool = False) -> OpenVinoEngine:
    given = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
    taken = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, len(LABELS)])
    graph = helper.make_graph(_nodes(mixes=mixes, reshapes=reshapes), "colours", [given], [taken])
    content = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    own = bundle_copies.of_graph(folder, content.SerializeToString(), LABELS, (SIDE, SIDE))
    return openvino_engine.load(bundle.load(own), streams=1, cores=1, together=4)


def _images(count: int) -> Batch:
    return np.random.default_rng(7).integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)


def _has_batches(engine: OpenVinoEngine) -> bool:
    """Return whether several images are computed at a time, once nothing is being loaded any more."""
    for thread in threading.enumerate():
        if thread.name == openvino_engine.BATCHES:
            thread.join()
    return engine.several is not None and engine.several.requests is not None


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_engine, "AFTER_BATCHES", 2)


def test_four_images_are_computed_at_a_time_after_some_batches_with_the_same_scores(tmp_path: Path) -> None:
    engine, images = _engine(tmp_path), _images(11)
    single = np.concatenate([engine.predict(images[at : at + 1]) for at in range(11)])
    assert np.array_equal(engine.predict(images), single)
    assert not _has_batches(engine)  # one batch is not worth it
    engine.predict(images)
    assert _has_batches(engine)
    for count in (11, 8, 5, 4, 3, 1):
        assert np.array_equal(engine.predict(images[:count]), single[:count])


def test_smaller_batches_do_not_count_and_a_form_that_is_there_is_not_compiled_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = _engine(tmp_path)
    for _ in range(2):
        engine.predict(_images(4))
    assert _has_batches(engine)
    monkeypatch.setattr(openvino_engine, "_compile", None)
    again = openvino_engine.load(bundle.load(tmp_path / "own" / "1-fp32"), streams=1, cores=1, together=4)
    for size, is_loaded in ((3, False), (3, False), (4, False), (4, True)):
        again.predict(_images(size))
        assert _has_batches(again) is is_loaded


@pytest.mark.parametrize("fault", [{"mixes": True}, {"reshapes": True, "mixes": True}, {"reshapes": True}])
def test_images_of_a_graph_for_one_are_computed_one_by_one(tmp_path: Path, fault: dict[str, bool]) -> None:
    engine, images = _engine(tmp_path, **fault), _images(4)
    single = np.concatenate([engine.predict(images[at : at + 1]) for at in range(4)])
    for _ in range(3):
        assert np.array_equal(engine.predict(images), single)
        assert not _has_batches(engine)


def test_a_version_that_has_changed_on_disk_is_not_compiled(tmp_path: Path) -> None:
    engine, images = _engine(tmp_path), _images(4)
    bundle_copies.sealed(tmp_path / "own" / "1-fp32", labels=b"one\ntwo\nthree\n")
    for _ in range(3):
        engine.predict(images)
        assert not _has_batches(engine)


def test_only_int8_on_a_processor_with_amx_is_computed_four_at_a_time() -> None:
    assert choice.together("int8", AMX) == 4
    assert choice.together("fp32", AMX) == 1
    assert choice.together("int8", AMX - {"amx_int8"}) == 1
    assert choice.together("int8", frozenset()) == 1
