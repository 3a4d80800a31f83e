import contextlib
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from inference.onnx_file import keeps_weights_elsewhere
from ml_service import INSTALLED_BUNDLES

WEIGHTS = numpy_helper.from_array(np.ones(4, np.float32), "weights")


def elsewhere(tensor: TensorProto = WEIGHTS) -> TensorProto:
    """The same tensor with its numbers in a file of another place."""
    moved = TensorProto()
    moved.CopyFrom(tensor)
    moved.ClearField("raw_data")
    moved.data_location = TensorProto.EXTERNAL
    moved.external_data.add(key="location", value="../../../etc/passwd")
    return moved


def model_of(*nodes: onnx.NodeProto, **parts: Any) -> onnx.ModelProto:
    return helper.make_model(helper.make_graph(nodes, "graph", [], [], **parts))


def with_external_weights() -> onnx.ModelProto:
    return model_of(initializer=[elsewhere()])


def in_a_branch(tensor: TensorProto) -> onnx.ModelProto:
    branch = helper.make_graph([], "branch", [], [], initializer=[tensor])
    return model_of(helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch))


def in_a_function(tensor: TensorProto) -> onnx.ModelProto:
    model = model_of()
    constant = helper.make_node("Constant", [], ["y"], value=tensor)
    model.functions.append(helper.make_function("own", "f", [], ["y"], [constant], [helper.make_opsetid("", 17)]))
    return model


def in_a_sparse_tensor(tensor: TensorProto) -> onnx.ModelProto:
    indices = numpy_helper.from_array(np.arange(4), "indices")
    return model_of(sparse_initializer=[helper.make_sparse_tensor(tensor, indices, [8])])


PLACES = {
    "initializer": lambda tensor: model_of(initializer=[tensor]),
    "second initializer": lambda tensor: model_of(initializer=[WEIGHTS, tensor]),
    "constant": lambda tensor: model_of(helper.make_node("Constant", [], ["y"], value=tensor)),
    "branch": in_a_branch,
    "function": in_a_function,
    "sparse tensor": in_a_sparse_tensor,
}


@pytest.mark.parametrize("place", PLACES)
def test_weights_in_another_file_are_found_wherever_the_tensor_stands(place: str) -> None:
    assert keeps_weights_elsewhere(PLACES[place](elsewhere()).SerializeToString())
    assert not keeps_weights_elsewhere(PLACES[place](WEIGHTS).SerializeToString())


def test_one_of_the_two_signs_is_enough() -> None:
    named, located = TensorProto(), TensorProto(data_location=TensorProto.EXTERNAL)
    named.external_data.add(key="offset", value="0")
    for tensor in (named, located):
        assert keeps_weights_elsewhere(model_of(initializer=[tensor]).SerializeToString())
    assert not keeps_weights_elsewhere(
        model_of(initializer=[TensorProto(data_location=TensorProto.DEFAULT)]).SerializeToString()
    )


def test_names_and_numbers_that_look_like_it_are_not_taken_for_it() -> None:
    looks_like_it = elsewhere().SerializeToString()
    node = helper.make_node("Identity", ["location"], ["y"], name="location")
    data = numpy_helper.from_array(np.frombuffer(looks_like_it, np.uint8), "location")
    assert not keeps_weights_elsewhere(model_of(node, initializer=[data]).SerializeToString())


def test_the_delivered_graphs_keep_everything_inside() -> None:
    graphs = list(INSTALLED_BUNDLES.glob("*/*/model.onnx"))
    assert graphs
    assert not any(keeps_weights_elsewhere(path.read_bytes()) for path in graphs)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    with contextlib.suppress(ValueError):
        keeps_weights_elsewhere(content)


def test_a_graph_within_graphs_without_end_is_refused() -> None:
    content = b""
    for _ in range(200):  # graph > node > attribute > graph > …
        for field in (6 << 3 | 2, 5 << 3 | 2, 1 << 3 | 2):
            content = bytes((field,)) + varint(len(content)) + content
    with pytest.raises(ValueError, match="deep"):
        keeps_weights_elsewhere(bytes((7 << 3 | 2,)) + varint(len(content)) + content)


def varint(value: int) -> bytes:
    digits = []
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*digits, value))
