import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from inference.onnx_file import BYTES, DOUBLE, FLOAT, INT32, INT64, SCHEMAS, check, has_external_data
from settings import INSTALLED_BUNDLES
from tests.hidden_weights import PLAIN, TRICKS, classifier, field, weights

KINDS = {
    FieldDescriptor.TYPE_INT64: INT64,
    FieldDescriptor.TYPE_UINT64: INT64,
    FieldDescriptor.TYPE_INT32: INT32,
    FieldDescriptor.TYPE_ENUM: INT32,
    FieldDescriptor.TYPE_FLOAT: FLOAT,
    FieldDescriptor.TYPE_DOUBLE: DOUBLE,
    FieldDescriptor.TYPE_STRING: BYTES,
    FieldDescriptor.TYPE_BYTES: BYTES,
}
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
    assert has_external_data(PLACES[place](elsewhere()).SerializeToString())
    assert not has_external_data(PLACES[place](WEIGHTS).SerializeToString())


def test_a_file_that_passed_is_not_taken_for_another_one() -> None:
    for _ in range(2):
        check(PLACES["initializer"](WEIGHTS).SerializeToString())
        with pytest.raises(ValueError, match="keeps weights in another file"):
            check(PLACES["initializer"](elsewhere()).SerializeToString())


def test_one_of_the_two_signs_is_enough() -> None:
    named, located = TensorProto(), TensorProto(data_location=TensorProto.EXTERNAL)
    named.external_data.add(key="offset", value="0")
    for tensor in (named, located):
        assert has_external_data(model_of(initializer=[tensor]).SerializeToString())
    assert not has_external_data(
        model_of(initializer=[TensorProto(data_location=TensorProto.DEFAULT)]).SerializeToString()
    )


def test_names_and_numbers_that_look_like_it_are_not_taken_for_it() -> None:
    looks_like_it = elsewhere().SerializeToString()
    node = helper.make_node("Identity", ["location"], ["y"], name="location")
    data = numpy_helper.from_array(np.frombuffer(looks_like_it, np.uint8), "location")
    assert not has_external_data(model_of(node, initializer=[data]).SerializeToString())


def test_the_delivered_graphs_keep_everything_inside() -> None:
    graphs = list(INSTALLED_BUNDLES.glob("*/*/model.onnx"))
    assert graphs
    assert not any(has_external_data(path.read_bytes()) for path in graphs)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    with contextlib.suppress(ValueError):
        has_external_data(content)


def test_a_graph_within_graphs_without_end_is_refused() -> None:
    content = b""
    for _ in range(200):  # graph > node > attribute > graph > …
        for number in (6, 5, 1):
            content = field(number, content)
    with pytest.raises(ValueError, match="deep"):
        has_external_data(field(7, content))


@pytest.mark.parametrize("trick", TRICKS)
def test_a_reference_that_one_parser_sees_is_found_or_refused(trick: str) -> None:
    with contextlib.suppress(ValueError):
        assert has_external_data(TRICKS[trick]("/etc/hostname"))


def test_the_network_that_hides_nothing_is_taken() -> None:
    assert not has_external_data(classifier(weights(PLAIN)))


def test_the_fields_that_are_known_are_those_of_onnx() -> None:
    seen: dict[str, str] = {}
    waiting = [("Model", onnx.ModelProto.DESCRIPTOR)]
    while waiting:
        name, described = waiting.pop()
        if seen.setdefault(described.full_name, name) != name:
            raise AssertionError(described.full_name)
        schema = SCHEMAS[name]
        assert {each.number for each in described.fields} == schema.once.keys() | schema.repeated.keys()
        for each in described.fields:
            kind = (schema.repeated if each.is_repeated else schema.once)[each.number]
            if each.message_type is None:
                assert kind == KINDS[each.type]
            else:
                waiting += [] if each.message_type.full_name in seen else [(kind, each.message_type)]
            assert (each.number in schema.exclusive) == (each.containing_oneof is not None)
    assert set(seen.values()) == SCHEMAS.keys()


def test_numbers_are_taken_in_one_piece_and_one_by_one() -> None:
    for dims in (b"".join(field(1, number) for number in (0, 127, 300)), field(1, b"\x00\x7f\xac\x02")):
        assert not has_external_data(classifier(dims + PLAIN))


@pytest.mark.parametrize("packed", [b"\x80", b"\x80\x00", b"\x01\x80\x80\x00", b"\xff" * 9 + b"\x02", b"\xff" * 11])
def test_numbers_in_one_piece_that_are_not_in_their_shortest_form_are_refused(packed: bytes) -> None:
    with pytest.raises(ValueError, match="numbers at byte"):
        has_external_data(classifier(field(7, packed)))


@given(st.sampled_from(sorted(TRICKS)), st.lists(st.tuples(st.integers(0, 400), st.binary(min_size=1, max_size=3))))
def test_what_is_taken_holds_nothing_that_the_usual_parser_sees_differently(
    trick: str, changes: list[tuple[int, bytes]]
) -> None:
    content = TRICKS[trick]("/etc/hostname")
    for at, new in changes:
        content = content[: at % len(content)] + new + content[at % len(content) + len(new) :]
    try:
        if has_external_data(content):
            return
    except ValueError:
        return
    try:
        parsed = onnx.load_from_string(content)
    except DecodeError:
        return  # text that is no UTF-8
    for message in messages_in(parsed):
        assert len(UnknownFieldSet(message)) == 0
        assert not (isinstance(message, TensorProto) and (message.external_data or message.data_location))


def messages_in(message: Any) -> Iterator[Any]:
    """The message and those within it, however deep."""
    yield message
    for described, value in message.ListFields():
        if described.message_type is not None:
            for each in value if described.is_repeated else [value]:
                yield from messages_in(each)
