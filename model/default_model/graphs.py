"""A network of the family as an ONNX file in fp32 and in int8: the same bytes on every machine."""

import csv
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from default_model.network import CLASSES, RELU6_MAX, Convolution, Network, Parameters, convolutions
from default_model.recipe import HERE, Precision
from default_model.variants import Variant
from onnx_tools.graph import Graph, GraphBuilder, encode
from onnx_tools.int8 import Ranges, int8_graph

# Old enough for every engine in use, new enough for quantisation by channel.
OPSET = 17
IR_VERSION = 8
# An image arrives as (pixel - 127) / 128 of whole pixels: quantised over this range, none is lost.
IMAGE_RANGE = (-127 / 128, 1.0)


def graph_file(network: Network, precision: Precision) -> bytes:
    """Return the content of model.onnx."""
    content = _float_graph(network, f"{network.variant.name}-{precision}")
    return content if precision is Precision.FP32 else int8_graph(Graph(content), all_ranges(network.variant))


def all_ranges(variant: Variant) -> Ranges:
    """Return the range of each tensor that is quantised: the measured ones, and those known beforehand."""
    measured = read_ranges(variant)
    relu6 = {layer.name: (0.0, RELU6_MAX) for layer in convolutions(variant) if layer.relu6}
    # ONNX Runtime computes in integers there only with a pair on either side of the flattening.
    return {"image": IMAGE_RANGE, "pooled": measured["features"], **relu6, **measured}


def measured_tensors(variant: Variant) -> list[str]:
    """Return the tensors whose range is not known beforehand: a ReLU6 uses all of 0 to 6."""
    names = [name for layer in convolutions(variant) if not layer.relu6 for name in (layer.name, layer.total) if name]
    return [*names, "features"]


def ranges_file(variant: Variant) -> Path:
    """Return the table of the ranges that were measured."""
    return HERE / f"activation_ranges-{variant.key}.csv"


def read_ranges(variant: Variant) -> Ranges:
    """Return what was measured once, so that set-up needs no photograph; development.py measures it again."""
    with ranges_file(variant).open(encoding="utf-8", newline="") as file:
        return {row["tensor"]: (float(row["low"]), float(row["high"])) for row in csv.DictReader(file)}


def _float_graph(network: Network, name: str) -> bytes:
    builder, size = GraphBuilder(), network.variant.input_size
    builder.constant("relu6.low", np.float32(0))
    builder.constant("relu6.high", np.float32(RELU6_MAX))
    for layer in convolutions(network.variant):
        _add_layer(builder, layer, network.convolutions[layer.name])
    builder.node("GlobalAveragePool", ["feature_map"], "pooled")
    builder.node("Flatten", ["pooled"], "features", axis=1)
    builder.node("Gemm", ["features", *_constants(builder, "classifier", network.classifier)], "logits", transB=1)
    graph = helper.make_graph(
        builder.nodes,
        name,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, size, size])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CLASSES])],
        list(builder.constants.values()),
    )
    opsets = [helper.make_opsetid("", OPSET)]
    return encode(helper.make_model(graph, producer_name="sightline", ir_version=IR_VERSION, opset_imports=opsets))


def _add_layer(builder: GraphBuilder, layer: Convolution, parameters: Parameters) -> None:
    linear = builder.node(
        "Conv",
        [layer.source, *_constants(builder, layer.name, parameters)],
        f"{layer.name}.linear" if layer.relu6 else layer.name,
        kernel_shape=[layer.kernel, layer.kernel],
        strides=[layer.stride, layer.stride],
        pads=layer.pads,
        group=layer.groups,
    )
    if layer.relu6:
        builder.node("Clip", [linear, "relu6.low", "relu6.high"], layer.name)
    if layer.adds:
        builder.node("Add", [layer.name, layer.adds], layer.total)


def _constants(builder: GraphBuilder, name: str, parameters: Parameters) -> list[str]:
    weights = builder.constant(f"{name}.weights", parameters.weights)
    return [weights, builder.constant(f"{name}.biases", parameters.biases)]
