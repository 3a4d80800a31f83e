"""Networks as six kinds of exporters write them, around one network in NCHW whose numbers are known.

The core takes images in RGB, `(x - mean) / std`, and puts out logits. Each exporter's graph takes its own family's
input and undoes that first, so that all of them compute the same for the same image.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, load_from_string, numpy_helper

from inference.preprocessing import Preprocessing

FLOAT, HALF, BYTE = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.UINT8
node = helper.make_node


@dataclass
class Core:
    """A network with its input and its preprocessing."""

    model: bytes
    classes: int
    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    image: str = field(init=False)
    logits: str = field(init=False)

    def __post_init__(self) -> None:
        graph = load_from_string(self.model).graph
        self.image, self.logits = graph.input[0].name, graph.output[0].name


@dataclass
class Export:
    """What an exporter wrote, and the preprocessing that its graph expects."""

    content: bytes
    channels: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


def value(name: str, kind: int, shape: list[Any] | None) -> ValueInfoProto:
    """Return an input or an output; a shape may hold -1 and 0, as some exporters write them."""
    described = helper.make_tensor_value_info(name, kind, [1] * len(shape) if shape is not None else None)
    for dimension, length in zip(described.type.tensor_type.shape.dim, shape or (), strict=True):
        dimension.ClearField("value")
        if isinstance(length, str):
            dimension.dim_param = length
        elif length is not None:
            dimension.dim_value = length
    return described


def wrapped(  # noqa: PLR0917  the parts of a graph in their order
    core: Core,
    first: Callable[[str], list[NodeProto]],
    last: list[NodeProto],
    taken: ValueInfoProto,
    given: list[ValueInfoProto],
    constants: dict[str, Any],
    opset: int | None = None,
) -> bytes:
    """Return the core's graph with nodes before and after it, and with another input and other outputs."""
    model: ModelProto = load_from_string(core.model)
    graph = model.graph
    nodes = [*first(core.image), *graph.node, *last]
    for part in ("node", "input", "output", "value_info"):
        graph.ClearField(part)
    graph.node.extend(nodes)
    graph.input.append(taken)
    graph.output.extend(given)
    graph.initializer.extend(numpy_helper.from_array(np.asarray(each), name) for name, each in constants.items())
    if opset:
        model.opset_import[0].version = opset
    if any(each.domain == "ai.onnx.ml" for each in nodes):
        model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    content: bytes = model.SerializeToString()
    return content


def back(core: Core, mean: tuple[float, ...], std: tuple[float, ...]) -> dict[str, Any]:
    """Return factors and sums, by channel, that make the core's input of one normalised in this way."""
    own_mean, own_std, means, stds = (np.array(each, np.float32) for each in (core.mean, core.std, mean, std))
    return {"back.factors": stds / own_std, "back.sums": (means - own_mean) / own_std}


def planes(constants: dict[str, Any]) -> dict[str, Any]:
    return {name: each.reshape(3, 1, 1) for name, each in constants.items()}


IMAGENET = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def torchvision(core: Core, batch: Any = "batch_size", opset: int | None = None) -> Export:
    """torch.onnx.export of a network of torchvision: NCHW, ImageNet's mean and deviation, logits."""
    mean, std = IMAGENET
    content = wrapped(
        core,
        lambda image: [
            node("Mul", ["input", "back.factors"], ["/Mul_output_0"], name="/Mul"),
            node("Add", ["/Mul_output_0", "back.sums"], [image], name="/Add"),
        ],
        [node("Identity", [core.logits], ["output"], name="/Identity")],
        value("input", FLOAT, [batch, 3, *core.size]),
        [value("output", FLOAT, [batch, core.classes])],
        planes(back(core, mean, std)),
        opset,
    )
    return Export(content, "RGB", mean, std)


def timm(core: Core, mean: tuple[float, ...], std: tuple[float, ...]) -> Export:
    """timm's onnx_export.py: input0 and output0, everything but the batch fixed."""
    content = wrapped(
        core,
        lambda image: [
            node("Mul", ["input0", "back.factors"], ["onnx::Add_1"]),
            node("Add", ["onnx::Add_1", "back.sums"], [image]),
        ],
        [node("Identity", [core.logits], ["output0"])],
        value("input0", FLOAT, ["batch", 3, *core.size]),
        [value("output0", FLOAT, ["batch", core.classes])],
        planes(back(core, mean, std)),
    )
    return Export(content, "RGB", mean, std)


def optimum(core: Core, mean: tuple[float, ...], std: tuple[float, ...], *, is_half: bool = False) -> Export:
    """optimum-cli export onnx: pixel_values with every dimension by name, logits."""
    names = ["batch_size", "num_channels", "height", "width"]
    kind = HALF if is_half else FLOAT
    constants = planes(back(core, mean, std))
    turned = {name: each.astype(np.float16) for name, each in constants.items()} if is_half else constants
    into = [node("Cast", ["half"], [core.image], to=FLOAT)] if is_half else []
    out = (
        [node("Cast", [core.logits], ["logits"], to=HALF)] if is_half else [node("Identity", [core.logits], ["logits"])]
    )
    content = wrapped(
        core,
        lambda image: [
            node("Mul", ["pixel_values", "back.factors"], ["/vit/Mul_output_0"]),
            node("Add", ["/vit/Mul_output_0", "back.sums"], ["half" if is_half else image]),
            *into,
        ],
        out,
        value("pixel_values", kind, names),
        [value("logits", kind, ["batch_size", core.classes])],
        turned,
    )
    return Export(content, "RGB", mean, std)


def paddle(core: Core) -> Export:
    """paddle2onnx: -1 for the batch, height and width, a softmax at the end."""
    mean, std = IMAGENET
    content = wrapped(
        core,
        lambda image: [
            node("Mul", ["x", "back.factors"], ["p2o.Mul.0"]),
            node("Add", ["p2o.Mul.0", "back.sums"], [image]),
        ],
        [node("Softmax", [core.logits], ["softmax_0.tmp_0"], axis=-1)],
        value("x", FLOAT, [-1, 3, -1, -1]),
        [value("softmax_0.tmp_0", FLOAT, [-1, core.classes])],
        planes(back(core, mean, std)),
    )
    return Export(content, "RGB", mean, std)


TF_MEAN, TF_STD = (127.5, 127.5, 127.5), (127.5, 127.5, 127.5)


def tf2onnx(core: Core, *, is_uint8: bool = False, has_softmax: bool = True) -> Export:
    """tf2onnx: NHWC with a Transpose in front, and TensorFlow's names; -1 to 1, or pixels that the graph normalises."""
    mean, std = ((0.0,) * 3, (1.0,) * 3) if is_uint8 else (TF_MEAN, TF_STD)
    constants = back(core, mean, std)
    source = "model/casted" if is_uint8 else "input_1"
    cast = [node("Cast", ["input_1"], ["model/casted"], to=FLOAT, name="model/cast")] if is_uint8 else []
    end = "predictions"
    last = (
        node("Softmax", [core.logits], [end], name="softmax") if has_softmax else node("Identity", [core.logits], [end])
    )
    content = wrapped(
        core,
        lambda image: [
            *cast,
            node("Mul", [source, "back.factors"], ["model/rescaling/mul:0"], name="model/rescaling/mul"),
            node("Add", ["model/rescaling/mul:0", "back.sums"], ["model/rescaling/add:0"], name="model/rescaling/add"),
            node("Transpose", ["model/rescaling/add:0"], [image], perm=[0, 3, 1, 2], name="model/conv1/Conv2D__6"),
        ],
        [last],
        value("input_1", BYTE if is_uint8 else FLOAT, ["unk__616", *core.size, 3]),
        [value(end, FLOAT, ["unk__617", core.classes])],
        constants,
    )
    return Export(content, "RGB", mean, std)


CAFFE_MEAN, CAFFE_STD = (103.939, 116.779, 123.68), (1.0, 1.0, 1.0)


def keras(core: Core) -> Export:
    """Keras' ResNet-50 by tf2onnx: NHWC, blue first, means subtracted, a softmax."""
    means = (CAFFE_MEAN[2], CAFFE_MEAN[1], CAFFE_MEAN[0])
    content = wrapped(
        core,
        lambda image: [
            node("Transpose", ["input_2"], ["resnet50/pad__5:0"], perm=[0, 3, 1, 2], name="resnet50/conv1_pad/Pad__5"),
            node("Gather", ["resnet50/pad__5:0", "order"], ["rgb"], axis=1, name="order"),
            node("Mul", ["rgb", "back.factors"], ["scaled"], name="scaled"),
            node("Add", ["scaled", "back.sums"], [image], name="shifted"),
        ],
        [node("Softmax", [core.logits], ["predictions"], axis=1, name="resnet50/predictions/Softmax")],
        value("input_2", FLOAT, ["unk__1220", *core.size, 3]),
        [value("predictions", FLOAT, ["unk__1221", core.classes])],
        {**planes(back(core, means, CAFFE_STD)), "order": np.array([2, 1, 0])},
    )
    return Export(content, "BGR", CAFFE_MEAN, CAFFE_STD)


def scikit_learn(features: int = 64, classes: int = 2, *, has_zipmap: bool = True) -> bytes:
    """skl2onnx of a LogisticRegression: rows of a table in, the label and a map of probabilities out."""
    labels = list(range(classes))
    linear = node(
        "LinearClassifier",
        ["float_input"],
        ["label", "probability_tensor"],
        domain="ai.onnx.ml",
        classlabels_ints=labels,
        coefficients=[0.1] * (features * classes),
        intercepts=[0.0] * classes,
        multi_class=1,
        post_transform="SOFTMAX",
    )
    normaliser = node("Normalizer", ["probability_tensor"], ["probabilities"], domain="ai.onnx.ml", norm="L1")
    nodes = [linear, normaliser, node("Cast", ["label"], ["output_label"], to=TensorProto.INT64)]
    given = [value("output_label", TensorProto.INT64, [None])]
    if has_zipmap:
        maps = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(FLOAT, None))
        nodes.append(
            node("ZipMap", ["probabilities"], ["output_probability"], domain="ai.onnx.ml", classlabels_int64s=labels)
        )
        given.append(helper.make_value_info("output_probability", helper.make_sequence_type_proto(maps)))
    else:
        given.append(value("probabilities", FLOAT, [None, classes]))
    graph = helper.make_graph(nodes, "sklearn", [value("float_input", FLOAT, [None, features])], given)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    content: bytes = helper.make_model(graph, ir_version=8, opset_imports=opsets).SerializeToString()
    return content


def expected_input(export: Export, pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return what the exporter's own pipeline gives its network for pixels in RGB, but for the layout."""
    turned = pixels[..., ::-1] if export.channels == "BGR" else pixels
    return ((turned.astype(np.float64) - export.mean) / export.std).astype(np.float32)


def matches(known: Preprocessing, export: Export) -> bool:
    """Return whether a bundle normalises as the exporter's pipeline does."""
    ends = [*known.mean, *known.std, *export.mean, *export.std]
    return known.channels == export.channels and np.allclose(ends[:6], ends[6:], rtol=1e-4)
