"""The PyTorch engine, on a processor: `make test-gpu`, since PyTorch is no part of the environment."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from inference import bundle, engines
from inference.arrays import Batch
from inference.bundle import Bundle
from inference.engines import Engine
from inference.engines.torch_engine import TorchGraph
from inference.errors import EngineError
from sightline_testing import photographs, sample_images
from sightline_testing.service import BUNDLES, REPOSITORY

CPU = torch.device("cpu")
# What rounding the weights alone to fp16 changes already; logits reach 10.
LARGEST_DIFFERENCE = 0.05


@pytest.fixture(scope="module")
def loaded() -> Bundle:
    return bundle.load(BUNDLES / "efficientnet-lite0" / "1-fp32")


@pytest.fixture(scope="module")
def engine(loaded: Bundle) -> Engine:
    return engines.load("torch:cpu:fp32", loaded, streams=1, cores=2)


@pytest.fixture(scope="module")
def reference(loaded: Bundle) -> Engine:
    return engines.load("onnxruntime", loaded, streams=1, cores=1)


@pytest.fixture(scope="module")
def batch(loaded: Bundle) -> Batch:
    seen = [sample_images.scene(seed=seed) for seed in range(4)] + [sample_images.photograph().convert("RGB")]
    return prepared(loaded, [sample_images.encode(image, "PNG") for image in seen])


def prepared(loaded: Bundle, contents: list[bytes]) -> Batch:
    pixels = np.empty((len(contents), *loaded.preprocessing.size, 3), np.uint8)
    for content, out in zip(contents, pixels, strict=True):
        loaded.preprocessing.prepare(content, out)
    return pixels


def test_it_gives_what_onnx_runtime_gives(engine: Engine, reference: Engine, batch: Batch) -> None:
    assert engine.predict(batch) == pytest.approx(reference.predict(batch), abs=1e-5)


def test_an_image_has_one_answer_alone_and_in_company(engine: Engine, batch: Batch) -> None:
    together = engine.predict(batch)
    for at in range(len(batch)):
        assert engine.predict(batch[at : at + 1], is_alone=True)[0] == pytest.approx(together[at], abs=1e-5)


def test_every_labelled_photograph_has_the_same_class(engine: Engine, reference: Engine, loaded: Bundle) -> None:
    pixels = prepared(loaded, [photograph.path.read_bytes() for photograph in photographs.required()])
    found, wanted = engine.predict(pixels), np.concatenate([reference.predict(part) for part in np.split(pixels, 10)])
    assert np.array_equal(found.argmax(axis=1), wanted.argmax(axis=1))


def test_blue_first_is_the_same_model_told_otherwise(loaded: Bundle, batch: Batch) -> None:
    uneven = replace(loaded.preprocessing, mean=(100.0, 120.0, 140.0), std=(50.0, 60.0, 70.0))
    turned = replace(uneven, channels="BGR")
    as_is, reversed_twice = (
        engines.load("torch:cpu:fp32", replace(loaded, preprocessing=told), streams=1, cores=1).predict(pixels)
        for told, pixels in ((uneven, batch), (turned, np.ascontiguousarray(batch[..., ::-1])))
    )
    assert as_is == pytest.approx(reversed_twice, abs=1e-5)


def test_half_precision_changes_logits_by_hundredths_and_no_class(loaded: Bundle, batch: Batch) -> None:
    values = torch.from_numpy((batch.astype(np.float32) - 127) / 128).permute(0, 3, 1, 2)
    half, single = (
        TorchGraph(loaded.model, CPU, precision)(values.to(precision)).float()
        for precision in (torch.float16, torch.float32)
    )
    assert (half - single).abs().max() < LARGEST_DIFFERENCE
    assert torch.equal(half.argmax(1), single.argmax(1))


def test_an_int8_bundle_is_refused_with_what_to_do() -> None:
    int8 = bundle.load(BUNDLES / "efficientnet-lite0" / "1-int8")
    with pytest.raises(EngineError, match="PRECISION=fp32"):
        engines.load("torch:cpu:fp32", int8, streams=1, cores=1)


def test_an_operation_that_it_has_not_is_named(loaded: Bundle) -> None:
    content = graph_of([helper.make_node("Erf", ["x"], ["y"])], {})
    with pytest.raises(EngineError, match="no operation Erf; ENGINE=onnxruntime"):
        engines.load("torch:cpu:fp32", replace(loaded, model=content), streams=1, cores=1)


def test_what_is_no_graph_is_refused(loaded: Bundle) -> None:
    with pytest.raises(EngineError, match=f"{loaded.name}/{loaded.version}"):
        engines.load("torch:cpu:fp32", replace(loaded, model=b"not a graph"), streams=1, cores=1)


def test_cuda_is_refused_where_there_is_none_and_auto_takes_the_processor(
    loaded: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EngineError, match="DEVICE='cuda', but"):
        engines.load("torch:cuda:fp32", loaded, streams=1, cores=1)
    assert (
        engines.load("torch:auto:fp32", loaded, streams=1, cores=1).predict(np.zeros((1, 224, 224, 3), np.uint8)).size
    )


def test_a_worker_says_why_it_does_not_start_without_a_gpu() -> None:
    told = {"ENGINE": "torch", "DEVICE": "cuda", "PRECISION": "fp32", "BUNDLES_FOLDER": str(BUNDLES), "PYTHONPATH": "."}
    told |= {"CUDA_VISIBLE_DEVICES": "", "PATH": os.environ["PATH"]}
    program = "import ml_service, settings; ml_service._model(ml_service._chosen_bundle(), settings.ENGINE, 1, 1)"
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY / "model",
        env=told,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode != 0
    assert "DEVICE=auto takes the processor then" in ended.stderr


# One node each, with what the default network does not do.
NODES: dict[str, tuple[list[onnx.NodeProto], dict[str, tuple[int, ...]]]] = {
    "uneven padding": (
        [helper.make_node("Conv", ["x", "w", "b"], ["y"], kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1])],
        {"w": (5, 4, 3, 3), "b": (5,)},
    ),
    "dilation and groups": (
        [
            helper.make_node(
                "Conv", ["x", "w"], ["y"], kernel_shape=[3, 3], dilations=[2, 2], group=4, pads=[2, 2, 2, 2]
            )
        ],
        {"w": (8, 1, 3, 3)},
    ),
    "largest, unevenly padded": (
        [helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1])],
        {},
    ),
    "normalisation": (
        [helper.make_node("BatchNormalization", ["x", "s", "b", "m", "v"], ["y"], epsilon=1e-3)],
        dict.fromkeys(("s", "b", "m", "v"), (4,)),
    ),
    "squeeze and excite": (
        [
            helper.make_node("GlobalAveragePool", ["x"], ["pooled"]),
            helper.make_node("Sigmoid", ["pooled"], ["share"]),
            helper.make_node("Mul", ["x", "share"], ["scaled"]),
            helper.make_node("Relu", ["scaled"], ["rectified"]),
            helper.make_node("Identity", ["rectified"], ["y"]),
        ],
        {},
    ),
    "product": (
        [
            helper.make_node("Flatten", ["x"], ["flat"]),
            helper.make_node("Gemm", ["flat", "w", "b"], ["z"], alpha=0.5, beta=2.0),
            helper.make_node("Softmax", ["z"], ["y"], axis=-1),
        ],
        {"w": (196, 3), "b": (3,)},
    ),
    "bounds left out": ([helper.make_node("Clip", ["x", "", "high"], ["y"])], {"high": ()}),
    "another layout": ([helper.make_node("Transpose", ["x"], ["y"], perm=[0, 2, 3, 1])], {}),
}


@pytest.mark.parametrize("what", NODES)
def test_each_operation_is_that_of_onnx_runtime(what: str) -> None:
    content = graph_of(*NODES[what])
    values = np.random.default_rng(1).normal(size=(2, 4, 7, 7)).astype(np.float32)
    (wanted,) = onnxruntime.InferenceSession(content).run(None, {"x": values})
    found = TorchGraph(content, CPU, torch.float32)(torch.from_numpy(values))
    assert found.numpy() == pytest.approx(wanted, abs=1e-5)


def graph_of(nodes: list[onnx.NodeProto], shapes: dict[str, tuple[int, ...]]) -> bytes:
    draw: Callable[..., np.ndarray[tuple[int, ...], np.dtype[np.float64]]] = np.random.default_rng(0).uniform
    constants = [
        numpy_helper.from_array(np.asarray(draw(0.1, 1.0, shape), np.float32), name) for name, shape in shapes.items()
    ]
    any_shape = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    images = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4, 7, 7])
    graph = helper.make_graph(nodes, "one", [images], [any_shape], constants)
    content: bytes = helper.make_model(
        graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]
    ).SerializeToString()
    return content
