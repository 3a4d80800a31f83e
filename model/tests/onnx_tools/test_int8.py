"""The int8 version of small graphs: which nodes come out, and that they compute the same."""

import numpy as np
import openvino
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, checker, helper, load_from_string, numpy_helper

from onnx_tools.graph import Graph, GraphBuilder
from onnx_tools.int8 import int8_graph, measured_tensors

IMAGE = np.random.default_rng(0).uniform(-1, 1, (1, 4, 8, 8)).astype(np.float32)


def model_of(builder: GraphBuilder) -> bytes:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4, 8, 8]) for name in ("image", "y")]
    graph = helper.make_graph(builder.nodes, "small", values[:1], values[1:], list(builder.constants.values()))
    content: bytes = helper.make_model(
        graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]
    ).SerializeToString()
    return content


def convolved(builder: GraphBuilder, source: str, output: str, weights: str = "w") -> str:
    if weights not in builder.constants:
        draw = np.random.default_rng(len(weights))
        builder.constant(weights, draw.normal(size=(4, 4, 3, 3)).astype(np.float32))
    return builder.node("Conv", [source, weights], output, pads=[1, 1, 1, 1])


def two_layers(low: float = 0, high: float = 6) -> GraphBuilder:
    builder = GraphBuilder()
    bounds = [builder.constant("low", np.float32(low)), builder.constant("high", np.float32(high))]
    clipped = builder.node("Clip", [convolved(builder, "image", "linear"), *bounds], "clipped")
    convolved(builder, clipped, "y", "w2")
    return builder


def computed(content: bytes) -> NDArray[np.float32]:
    result: NDArray[np.float32] = openvino.Core().compile_model(openvino.Core().read_model(content), "CPU")(IMAGE)[0]
    return result


def operations(content: bytes) -> list[str]:
    checker.check_model(content, full_check=True)
    return [node.op_type for node in load_from_string(content).graph.node]


@pytest.mark.parametrize(("low", "is_needed"), [(0.0, False), (-1.0, False), (1.0, True)])
def test_a_clip_is_left_out_where_the_quantised_range_ends_at_or_before_its_bounds(low: float, is_needed: bool) -> None:
    content = model_of(two_layers(low))
    made = int8_graph(Graph(content), {"image": (-1.0, 1.0), "clipped": (low, 6.0)})
    assert ("Clip" in operations(made)) == is_needed
    assert np.abs(computed(made) - computed(content)).mean() < 0.05 * np.abs(computed(content)).mean()


def test_a_clip_whose_input_is_used_elsewhere_stays() -> None:
    builder = two_layers()
    builder.nodes[-1].output[0] = "second"
    builder.node("Add", ["second", "linear"], "y")
    graph = Graph(model_of(builder))
    made = int8_graph(graph, {"image": (-1.0, 1.0), "clipped": (0.0, 6.0)})
    assert operations(made).count("Clip") == 1


def test_bounds_in_constant_nodes_are_known_as_well() -> None:
    builder = two_layers()
    bounds = [helper.make_node("Constant", [], [name], value=builder.constants.pop(name)) for name in ("low", "high")]
    builder.nodes[:0] = bounds
    made = int8_graph(Graph(model_of(builder)), {"image": (-1.0, 1.0), "clipped": (0.0, 6.0)})
    assert "Clip" not in operations(made)


def test_weights_that_two_layers_share_are_dequantised_for_each() -> None:
    builder = GraphBuilder()
    convolved(builder, convolved(builder, "image", "first"), "y")
    content = model_of(builder)
    graph = Graph(content)
    ends = {"image": (-1.0, 1.0), "first": (-20.0, 20.0)}
    assert measured_tensors(graph) == list(ends)
    made = int8_graph(graph, ends)
    assert operations(made).count("Conv") == 2
    assert np.abs(computed(made) - computed(content)).mean() < 0.05 * np.abs(computed(content)).mean()


def test_an_input_called_pixels_takes_no_tensors_name() -> None:
    builder = two_layers()
    builder.nodes[-1].output[0] = "pixels"
    builder.node("Relu", ["pixels"], "y")
    made = int8_graph(Graph(model_of(builder)), {"image": (-1.0, 1.0), "clipped": (0.0, 6.0)})
    assert {"pixels", "pixels_"} <= {name for node in load_from_string(made).graph.node for name in node.output}


def test_weights_that_stay_in_fp32_are_kept_as_they_are() -> None:
    builder = GraphBuilder()
    convolved(builder, "image", "first")
    builder.constant("gain", np.full((1, 4, 1, 1), 2, np.float32))
    builder.node("Mul", ["first", "gain"], "y")
    made = load_from_string(int8_graph(Graph(model_of(builder)), {"image": (-1.0, 1.0)}))
    assert numpy_helper.to_array(next(each for each in made.graph.initializer if each.name == "gain")).max() == 2
    assert "w" not in {each.name for each in made.graph.initializer}


@pytest.mark.parametrize(
    ("options", "is_quantised"),
    [
        ({}, True),
        ({"alpha": 1.0, "beta": 1.0, "transA": 0}, True),  # as torch.onnx writes them
        ({"alpha": 0.5}, False),
        ({"beta": 0.0}, False),
        ({"transA": 1}, False),
    ],
)
def test_a_gemm_is_quantised_unless_its_attributes_change_a_number(
    options: dict[str, float], is_quantised: bool
) -> None:
    builder = GraphBuilder()
    names = [builder.constant("w", np.ones((4, 4), np.float32)), builder.constant("b", np.ones(4, np.float32))]
    builder.node("Gemm", ["image", *names], "y", transB=1, **options)
    assert ("image" in measured_tensors(Graph(model_of(builder)))) == is_quantised
