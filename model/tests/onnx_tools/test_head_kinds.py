"""The last layers that exporters write: each is found, taken out, put back and extended."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from inference.errors import HeadError
from onnx_tools.head import feature_map_model, features_model, read_head, with_head

FEATURES, CLASSES, SIDE = 6, 4, 5
DRAW = np.random.default_rng(4)
KERNEL = DRAW.normal(0, 1, (FEATURES, 3, 3, 3)).astype(np.float32)
WEIGHTS = DRAW.normal(0, 1, (CLASSES, FEATURES)).astype(np.float32)
BIASES = DRAW.normal(0, 1, CLASSES).astype(np.float32)
IMAGES = DRAW.normal(0, 1, (2, 3, SIDE, SIDE)).astype(np.float32)

Nodes = list[NodeProto]
node = helper.make_node
CONV = [node("Conv", ["image", "kernel"], ["signed"], pads=[1, 1, 1, 1]), node("Relu", ["signed"], ["map"])]
TO_NHWC = [*CONV, node("Transpose", ["map"], ["last"], perm=[0, 2, 3, 1])]
POOLED = [*CONV, node("GlobalAveragePool", ["map"], ["pooled"]), node("Flatten", ["pooled"], ["features"])]
GEMM = [node("Gemm", ["features", "weights", "biases"], ["out"], transB=1)]


def model(nodes: Nodes, opset: int = 17, **constants: Any) -> bytes:
    stored = {
        "kernel": KERNEL,
        "weights": WEIGHTS,
        "turned": WEIGHTS.T,
        "filters": WEIGHTS[:, :, None, None],
        "biases": BIASES,
        **constants,
    }
    used = {name for each in nodes for name in each.input}
    graph = helper.make_graph(
        nodes,
        "head",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in stored.items() if name in used],
    )
    content: bytes = helper.make_model(
        graph, ir_version=8, opset_imports=[helper.make_opsetid("", opset)]
    ).SerializeToString()
    return content


def outputs(content: bytes) -> np.ndarray[Any, Any]:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"image": IMAGES})[0])


def axes(*values: int) -> np.ndarray[Any, Any]:
    return np.array(values, np.int64)


HEADS: dict[str, Callable[[], bytes]] = {
    "torchvision": lambda: model([*POOLED, *GEMM]),
    "all attributes as torch.onnx writes them": lambda: model(
        [*POOLED, node("Gemm", ["features", "weights", "biases"], ["out"], alpha=1.0, beta=1.0, transA=0, transB=1)]
    ),
    "weights not turned": lambda: model([*POOLED, node("Gemm", ["features", "turned", "biases"], ["out"])]),
    "alpha and beta": lambda: model(
        [*POOLED, node("Gemm", ["features", "weights", "biases"], ["out"], alpha=0.5, beta=2.0, transB=1)]
    ),
    "beta of zero": lambda: model(
        [*POOLED, node("Gemm", ["features", "weights", "biases"], ["out"], beta=0.0, transB=1)]
    ),
    "features turned": lambda: model(
        [
            *POOLED,
            node("Transpose", ["features"], ["columns"], perm=[1, 0]),
            node("Gemm", ["columns", "weights", "biases"], ["out"], transA=1, transB=1),
        ]
    ),
    "no biases": lambda: model([*POOLED, node("Gemm", ["features", "weights"], ["out"], transB=1)]),
    "empty name of the biases": lambda: model([*POOLED, node("Gemm", ["features", "weights", ""], ["out"], transB=1)]),
    "one number for all biases": lambda: model(
        [*POOLED, node("Gemm", ["features", "weights", "biases"], ["out"], transB=1)], biases=np.float32(0.5)
    ),
    "biases in a row": lambda: model([*POOLED, *GEMM], biases=BIASES[None]),
    "Keras: MatMul, Add, Softmax": lambda: model(
        [
            *POOLED,
            node("MatMul", ["features", "turned"], ["product"]),
            node("Add", ["product", "biases"], ["sum"]),
            node("Softmax", ["sum"], ["out"]),
        ]
    ),
    "biases first": lambda: model(
        [*POOLED, node("MatMul", ["features", "turned"], ["product"]), node("Add", ["biases", "product"], ["out"])]
    ),
    "a log-softmax": lambda: model([*POOLED, *GEMM, node("LogSoftmax", ["out"], ["done"], axis=1)]),
    "names after it": lambda: model([*POOLED, *GEMM, node("Identity", ["out"], ["done"])]),
    "a reshape to the number of classes": lambda: model(
        [*POOLED, *GEMM, node("Reshape", ["out", "shape"], ["done"])], shape=np.array([-1, CLASSES])
    ),
    "a 1x1 convolution": lambda: model(
        [
            *CONV,
            node("GlobalAveragePool", ["map"], ["pooled"]),
            node("Conv", ["pooled", "filters", "biases"], ["scores"]),
            node("Flatten", ["scores"], ["out"]),
        ]
    ),
    "a 1x1 convolution and a sum": lambda: model(
        [
            *CONV,
            node("GlobalAveragePool", ["map"], ["pooled"]),
            node("Conv", ["pooled", "filters"], ["scores"]),
            node("Add", ["scores", "planes"], ["sum"]),
            node("Squeeze", ["sum", "axes"], ["out"]),
        ],
        planes=BIASES[:, None, None],
        axes=axes(2, 3),
    ),
    "a 1x1 convolution before the mean": lambda: model(
        [
            *CONV,
            node("Conv", ["map", "filters", "biases"], ["scores"]),
            node("GlobalAveragePool", ["scores"], ["pooled"]),
            node("Flatten", ["pooled"], ["out"]),
        ]
    ),
    "a 1x1 convolution before the mean, and a softmax": lambda: model(
        [
            *CONV,
            node("Conv", ["map", "filters", "biases"], ["scores"]),
            node("ReduceMean", ["scores"], ["means"], axes=[2, 3], keepdims=0),
            node("Softmax", ["means"], ["out"], axis=1),
        ]
    ),
    "tf2onnx: the mean over height and width in the middle": lambda: model(
        [
            *TO_NHWC,
            node("ReduceMean", ["last"], ["features"], axes=[1, 2], keepdims=0),
            node("MatMul", ["features", "turned"], ["product"]),
            node("Add", ["product", "biases"], ["out"]),
        ]
    ),
    "the same, counted from the end": lambda: model(
        [*TO_NHWC, node("ReduceMean", ["last"], ["features"], axes=[-3, -2], keepdims=0), *GEMM]
    ),
    "a mean that keeps its dimensions in NHWC": lambda: model(
        [
            *TO_NHWC,
            node("ReduceMean", ["last"], ["means"], axes=[1, 2], keepdims=1),
            node("MatMul", ["means", "turned"], ["product"]),
            node("Add", ["product", "biases"], ["sum"]),
            node("Reshape", ["sum", "shape"], ["out"]),
        ],
        shape=np.array([0, CLASSES]),
    ),
    "axes as an input": lambda: model(
        [
            *CONV,
            node("ReduceMean", ["map", "axes"], ["means"], keepdims=1),
            node("Reshape", ["means", "shape"], ["features"]),
            *GEMM,
        ],
        opset=18,
        axes=axes(-1, -2),
        shape=np.array([-1, FEATURES]),
    ),
    "the axes one after the other": lambda: model(
        [
            *CONV,
            node("ReduceMean", ["map"], ["rows"], axes=[3], keepdims=0),
            node("ReduceMean", ["rows"], ["features"], axes=[2], keepdims=0),
            *GEMM,
        ]
    ),
    "an average over the whole map": lambda: model(
        [
            *CONV,
            node("AveragePool", ["map"], ["pooled"], kernel_shape=[SIDE, SIDE]),
            node("Flatten", ["pooled"], ["features"]),
            *GEMM,
        ]
    ),
    "weights that the graph turns": lambda: model(
        [
            *POOLED,
            node("Transpose", ["weights"], ["columns"], perm=[1, 0]),
            node("MatMul", ["features", "columns"], ["out"]),
        ]
    ),
    "weights under another name": lambda: model(
        [
            *POOLED,
            node("Identity", ["weights"], ["same"]),
            node("Gemm", ["features", "same", "biases"], ["out"], transB=1),
        ]
    ),
    "tokens: the mean of a row": lambda: model(
        [
            *CONV,
            node("Reshape", ["map", "shape"], ["rows"]),
            node("Transpose", ["rows"], ["tokens"], perm=[0, 2, 1]),
            node("ReduceMean", ["tokens"], ["features"], axes=[1], keepdims=0),
            *GEMM,
        ],
        shape=np.array([0, FEATURES, SIDE * SIDE]),
    ),
    "a mean over the features": lambda: model(
        [
            *CONV,
            node("ReduceMean", ["map"], ["means"], axes=[1, 3], keepdims=0),
            node("Gemm", ["means", "wide", "biases"], ["out"], transB=1),
        ],
        wide=DRAW.normal(0, 1, (CLASSES, SIDE)).astype(np.float32),
    ),
    "an activation between the mean and the last layer": lambda: model(
        [
            *CONV,
            node("GlobalAveragePool", ["map"], ["pooled"]),
            node("HardSwish", ["pooled"], ["active"]),
            node("Flatten", ["active"], ["features"]),
            *GEMM,
        ]
    ),
}
WITHOUT_MAP = {
    "tokens: the mean of a row": "axes [1] of 3 dimensions",
    "a mean over the features": "axes [1, 3] of 4 dimensions",
    "an activation between the mean and the last layer": "HardSwish",
}


def softmax(logits: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def expected(name: str, content: bytes) -> np.ndarray[Any, Any]:
    """What the network puts out, but for the shape, computed from its features and its head."""
    logits = read_head(content).logits(outputs(features_model(content)))
    if "log-softmax" in name:
        return np.asarray(np.log(softmax(logits)))
    return softmax(logits) if "oftmax" in name else logits


@pytest.mark.parametrize("name", HEADS)
def test_the_features_times_the_head_are_what_the_network_puts_out(name: str) -> None:
    content = HEADS[name]()
    features = outputs(features_model(content))
    assert features.ndim == 2
    assert expected(name, content) == pytest.approx(outputs(content).reshape(2, CLASSES), abs=1e-5)


@pytest.mark.parametrize("name", HEADS)
def test_a_head_that_is_put_back_changes_nothing_and_one_more_class_adds_one(name: str) -> None:
    content = HEADS[name]()
    head = read_head(content)
    before = outputs(content).reshape(2, CLASSES)
    assert outputs(with_head(content, head)) == pytest.approx(before, abs=1e-5)
    more = with_head(content, head.extended(2))
    assert outputs(more).shape == (2, CLASSES + 2)
    again = with_head(more, head)
    assert outputs(again) == pytest.approx(before, abs=1e-5)
    assert read_head(more).weights.shape == (CLASSES + 2, head.weights.shape[1])


@pytest.mark.parametrize("name", [name for name in HEADS if name not in WITHOUT_MAP])
def test_the_mean_of_the_map_is_the_features_wherever_height_and_width_stand(name: str) -> None:
    content = HEADS[name]()
    maps = outputs(feature_map_model(content))
    assert maps.shape == (2, FEATURES, SIDE, SIDE)
    assert maps.mean(axis=(2, 3)) == pytest.approx(outputs(features_model(content)), abs=1e-5)


@pytest.mark.parametrize(("name", "told"), WITHOUT_MAP.items())
def test_features_that_are_no_mean_over_places_have_no_map(name: str, told: str) -> None:
    with pytest.raises(HeadError) as refused:
        feature_map_model(HEADS[name]())
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("nodes", "told"),
    [
        ([*CONV, node("Flatten", ["map"], ["out"])], "ends in Relu"),
        ([*CONV, node("Conv", ["map", "filters"], ["scores"]), node("Flatten", ["scores"], ["out"])], "is no vector"),
        ([*CONV, node("Conv", ["map", "kernels"], ["s"]), node("GlobalAveragePool", ["s"], ["out"])], "1 by 1"),
        ([*POOLED, node("MatMul", ["features", "kernel"], ["out"])], "shape"),
        ([*POOLED, node("Add", ["features", "row"], ["out"])], "ends in a sum"),
        ([*POOLED, node("Relu", ["features"], ["out"])], "ends in Relu"),
    ],
)
def test_what_is_no_last_layer_is_refused_with_what_was_found(nodes: Nodes, told: str) -> None:
    content = model(
        nodes,
        kernels=DRAW.normal(0, 1, (CLASSES, FEATURES, 3, 3)).astype(np.float32),
        row=np.ones(FEATURES, np.float32),
    )
    with pytest.raises(HeadError) as refused:
        read_head(content)
    assert told in str(refused.value)
