"""An ONNX graph read from its bytes, as far as its last layer needs it: nodes, constants and the output.

The numbers are those of onnx.proto; whatever is not named here is kept as it is.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from inference.errors import HeadError
from onnx_tools.protobuf import Message

GRAPH = 7  # of a model
NODE, INITIALIZER, OUTPUT, VALUE_INFO = 1, 5, 12, 13  # of a graph
INPUTS, OUTPUTS, NODE_NAME, OPERATION, ATTRIBUTE = 1, 2, 3, 4, 5  # of a node
ATTRIBUTE_NAME, ATTRIBUTE_INTEGER, ATTRIBUTE_TYPE = 1, 3, 20
DIMENSIONS, DATA_TYPE, FLOAT_DATA, TENSOR_NAME, RAW_DATA = 1, 2, 4, 8, 9  # of a tensor
VALUE_NAME, VALUE_TYPE, TENSOR_TYPE, ELEMENT_TYPE = 1, 2, 1, 1  # of a value's description
INTEGER_ATTRIBUTE = 2
FLOAT = 1
DTYPES = {1: np.float32, 2: np.uint8, 3: np.int8, 6: np.int32, 7: np.int64, 10: np.float16, 11: np.float64}

Tensor = npt.NDArray[Any]


@dataclass(frozen=True)
class Node:
    """One operation with the names of what goes in and out."""

    operation: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    message: Message

    def integer(self, attribute: str, otherwise: int) -> int:
        """The integer attribute of this name."""
        for item in map(Message.parse, self.message.blobs(ATTRIBUTE)):
            if item.text(ATTRIBUTE_NAME) == attribute:
                value = next(iter(item.numbers(ATTRIBUTE_INTEGER)), otherwise)
                return value - 2**64 if value >= 2**63 else value
        return otherwise

    def is_told(self, attribute: str) -> bool:
        """Whether there is an attribute of this name."""
        return any(Message.parse(blob).text(ATTRIBUTE_NAME) == attribute for blob in self.message.blobs(ATTRIBUTE))


class Graph:
    """The parts of a model's graph by name."""

    def __init__(self, model: bytes) -> None:
        try:
            self.model = Message.parse(model)
            self.message = Message.parse(self.model.blobs(GRAPH)[0])
            self.nodes = [_node(Message.parse(content)) for content in self.message.blobs(NODE)]
            self.constants = {
                (tensor := Message.parse(content)).text(TENSOR_NAME): tensor
                for content in self.message.blobs(INITIALIZER)
            }
            [self.output] = (Message.parse(content).text(VALUE_NAME) for content in self.message.blobs(OUTPUT))
        except (ValueError, IndexError) as fault:
            raise HeadError(f"this is no ONNX graph with one output: {fault}") from None
        self.makers = {output: node for node in self.nodes for output in node.outputs}

    def maker(self, name: str) -> Node:
        """The node that makes this tensor."""
        if name not in self.makers:
            raise HeadError(f"tensor {name!r} is made by no node: the graph has no last layer to fit")
        return self.makers[name]

    def value(self, name: str) -> Tensor:
        """The constant of this name in real numbers, dequantised where the graph does so."""
        if name in self.constants:
            return _tensor(self.constants[name])
        node = self.maker(name)
        if node.operation != "DequantizeLinear":
            raise HeadError(f"tensor {name!r} is computed by {node.operation}; a constant is expected there")
        integers, steps, zeros = (self.value(part) for part in (*node.inputs, "")[:3] if part)
        shape = [1] * integers.ndim
        if steps.size > 1:
            shape[node.integer("axis", 1)] = -1
        real = (integers.astype(np.float64) - zeros.reshape(shape)) * steps.reshape(shape)
        return real.astype(np.float32)

    def changed(self, output: str, *, dropped: tuple[Node, ...] = (), nodes: tuple[Message, ...] = (),
                constants: tuple[Message, ...] = ()) -> bytes:  # fmt: skip
        """The model with this output, plus the new nodes, less those dropped and whatever serves nothing any more."""
        kept = [node for node in self.nodes if node not in dropped] + [_node(message) for message in nodes]
        kept = _needed(kept, output)
        used = {name for node in kept for name in node.inputs}
        graph = self.message.without(NODE, INITIALIZER, OUTPUT, VALUE_INFO)
        for node in kept:
            graph.add(NODE, node.message)
        present = self.constants | {tensor.text(TENSOR_NAME): tensor for tensor in constants}
        for name, tensor in present.items():
            if name in used:
                graph.add(INITIALIZER, tensor)
        graph.add(OUTPUT, _description(output))
        return self.model.without(GRAPH).add(GRAPH, graph).encode()


def new_node(operation: str, inputs: list[str], output: str, **attributes: int) -> Message:
    """A node with integer attributes, named after its output."""
    message = Message()
    for name in inputs:
        message.add(INPUTS, name)
    message.add(OUTPUTS, output).add(NODE_NAME, output).add(OPERATION, operation)
    for name, value in attributes.items():
        attribute = Message().add(ATTRIBUTE_NAME, name).add(ATTRIBUTE_INTEGER, value)
        message.add(ATTRIBUTE, attribute.add(ATTRIBUTE_TYPE, INTEGER_ATTRIBUTE))
    return message


def new_constant(name: str, value: Tensor) -> Message:
    """A constant of one of the types that are read here."""
    message = Message()
    for length in value.shape:
        message.add(DIMENSIONS, length)
    number = next(number for number, kind in DTYPES.items() if kind == value.dtype)
    content = np.ascontiguousarray(value, value.dtype.newbyteorder("<")).tobytes()
    return message.add(DATA_TYPE, number).add(TENSOR_NAME, name).add(RAW_DATA, content)


def _node(message: Message) -> Node:
    return Node(message.text(OPERATION), tuple(message.texts(INPUTS)), tuple(message.texts(OUTPUTS)), message)


def _tensor(message: Message) -> Tensor:
    name, kind = message.text(TENSOR_NAME), next(iter(message.numbers(DATA_TYPE)), 0)
    content = b"".join(message.blobs(RAW_DATA) or (message.blobs(FLOAT_DATA) if kind == FLOAT else []))
    shape = message.numbers(DIMENSIONS)
    if kind not in DTYPES or len(content) != np.dtype(DTYPES[kind]).itemsize * int(np.prod(shape)):
        raise HeadError(f"constant {name!r} of type {kind} and shape {shape} is stored in a way that is not read here")
    return np.frombuffer(content, np.dtype(DTYPES[kind]).newbyteorder("<")).reshape(shape)


def _needed(nodes: list[Node], output: str) -> list[Node]:
    """The nodes that the output needs, in their order."""
    makers = {name: node for node in nodes for name in node.outputs}
    wanted, needed = [output], set()
    while wanted:
        node = makers.get(wanted.pop())
        if node is not None and id(node) not in needed:
            needed.add(id(node))
            wanted.extend(node.inputs)
    return [node for node in nodes if id(node) in needed]


def _description(output: str) -> Message:
    """A float tensor of unsaid shape: the engines work it out."""
    tensor = Message().add(ELEMENT_TYPE, FLOAT)
    return Message().add(VALUE_NAME, output).add(VALUE_TYPE, Message().add(TENSOR_TYPE, tensor))
