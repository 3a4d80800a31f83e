"""An ONNX graph read, written and edited by the `onnx` library: nodes and constants by name."""

from collections.abc import Collection, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.shape_inference
from google.protobuf.message import DecodeError
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from inference import onnx_file
from inference.errors import HeadError

Tensor = npt.NDArray[Any]


def load(content: bytes) -> ModelProto:
    """Return the model in these bytes; raise ValueError where they are no plain ONNX file with all data inside."""
    onnx_file.check(content)
    try:
        model = onnx.load_from_string(content)
    except DecodeError as fault:
        raise ValueError(str(fault)) from None
    if not model.HasField("graph"):
        raise ValueError(f"{len(content)} bytes without a graph in them")
    return model


def encode(model: ModelProto) -> bytes:
    """Return the bytes of a model, the same for the same model."""
    content: bytes = model.SerializeToString(deterministic=True)
    return content


class Graph:
    """The parts of a model's graph by name; raise HeadError where it is none with one output."""

    def __init__(self, content: bytes) -> None:
        try:
            self.model = load(content)
            [output] = self.model.graph.output
        except ValueError as fault:
            raise HeadError(f"this is no ONNX graph with one output: {fault}") from None
        self.output: str = output.name
        self.nodes = list(self.model.graph.node)
        self.constants = {tensor.name: tensor for tensor in self.model.graph.initializer}
        self.makers: dict[str, NodeProto] = {name: node for node in self.nodes for name in node.output}

    def maker(self, name: str) -> NodeProto:
        """Return the node that makes this tensor."""
        if name not in self.makers:
            raise HeadError(f"tensor {name!r} is made by no node: the graph has no last layer to fit")
        return self.makers[name]

    def is_constant(self, name: str) -> bool:
        """Return whether the graph stores this tensor."""
        return name in self.constants or (name in self.makers and self.makers[name].op_type == "Constant")

    def value(self, name: str) -> Tensor:
        """Return the constant of this name in real numbers, dequantised where the graph does so."""
        if name in self.constants:
            return _array(self.constants[name])
        node = self.maker(name)
        if node.op_type == "Constant" and isinstance(stored := attribute(node, "value", None), TensorProto):
            return _array(stored)
        if node.op_type in ("Identity", "Cast"):
            return self.value(node.input[0])
        if node.op_type == "Transpose":
            return self.value(node.input[0]).transpose(attribute(node, "perm", None))
        if node.op_type != "DequantizeLinear":
            raise HeadError(f"tensor {name!r} is computed by {node.op_type}; a constant is expected there")
        integers, scales, *zero_points = (self.value(part) for part in node.input if part)
        shape = [1] * integers.ndim
        if scales.size > 1:
            shape[attribute(node, "axis", 1)] = -1
        zeros = zero_points[0].reshape(shape) if zero_points else 0
        return ((integers.astype(np.float64) - zeros) * scales.reshape(shape)).astype(np.float32)

    def shape(self, name: str) -> tuple[int | None, ...] | None:
        """Return the lengths of a tensor's dimensions, None for each that is open, or where nothing is known."""
        return self._shapes.get(name)

    @cached_property
    def _shapes(self) -> dict[str, tuple[int | None, ...]]:
        try:
            graph = onnx.shape_inference.infer_shapes(self.model).graph
        except (ValueError, RuntimeError, onnx.shape_inference.InferenceError):  # operations that the library lacks
            graph = self.model.graph
        values = (*graph.input, *graph.value_info, *graph.output)
        return {
            value.name: tuple(length.dim_value if length.dim_value > 0 else None for length in shape.dim)
            for value in values
            if value.type.tensor_type.HasField("shape") and (shape := value.type.tensor_type.shape) is not None
        }

    def fresh(self, name: str, unless: Collection[str] = ()) -> str:
        """Return this name, lengthened until no tensor has it; those named in `unless` are about to go."""
        while name in self.makers or (name in self.constants and name not in unless):
            name += "_"
        return name

    def ending_in(self, output: str, added: "GraphBuilder | None" = None, removed: Collection[NodeProto] = ()) -> bytes:
        """Return the model with this output, without the nodes `removed` and all unused ones."""
        added, ids = added or GraphBuilder(), set(map(id, removed))
        nodes = [node for node in self.nodes if id(node) not in ids] + added.nodes
        value = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)  # the engines find out its shape
        return self.replaced(_needed(nodes, output), self.constants | added.constants, value)

    def replaced(
        self, nodes: list[NodeProto], constants: dict[str, TensorProto], output: ValueInfoProto | None = None
    ) -> bytes:
        """Return the model with other nodes, with those of the constants that they use, and perhaps another output."""
        used = {name for node in nodes for name in _names(node)} - {name for node in nodes for name in node.output}
        model = ModelProto()
        model.CopyFrom(self.model)
        for field in ("node", "initializer", *(("output", "value_info") if output else ())):
            model.graph.ClearField(field)
        model.graph.node.extend(nodes)
        model.graph.initializer.extend(tensor for name, tensor in constants.items() if name in used)
        model.graph.output.extend([output] if output else [])
        return encode(model)


class GraphBuilder:
    """New nodes and constants, in the order in which they are added; a node is named after its one output."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, TensorProto] = {}

    def node(self, operation: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add a node and return the name of its output."""
        self.nodes.append(helper.make_node(operation, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: Tensor | np.generic) -> str:
        """Add a constant and return its name."""
        self.constants[name] = numpy_helper.from_array(np.asarray(value), name)
        return name


def attribute(node: NodeProto, name: str, otherwise: Any) -> Any:
    """Return the attribute of this name, `otherwise` where the node has none."""
    return next((helper.get_attribute_value(item) for item in node.attribute if item.name == name), otherwise)


def _array(tensor: TensorProto) -> Tensor:
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError) as fault:
        raise HeadError(f"constant {tensor.name!r} is stored in a way that cannot be read: {fault}") from None


def ending_in(model: ModelProto, output: str) -> ModelProto:
    """Return the model with this tensor as its only output, without unused nodes."""
    described = [value for value in model.graph.output if value.name == output]
    nodes = _needed(list(model.graph.node), output)
    used = {name for node in nodes for name in _names(node)}
    changed = ModelProto()
    changed.CopyFrom(model)
    for field in ("node", "initializer", "output"):
        changed.graph.ClearField(field)
    changed.graph.node.extend(nodes)
    changed.graph.initializer.extend(tensor for tensor in model.graph.initializer if tensor.name in used)
    changed.graph.output.extend(described or [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)])
    return changed


def _names(node: NodeProto) -> set[str]:
    """Return the tensors that a node uses, in the graphs within it, too."""
    inner = (graph for item in node.attribute for graph in (item.g, *item.graphs))
    return set(node.input).union(*(_names(each) for graph in inner for each in graph.node))


def _needed(nodes: list[NodeProto], output: str) -> list[NodeProto]:
    """Return the nodes that the output needs, in their order."""
    makers = {name: node for node in nodes for name in node.output}
    wanted, needed = [output], set()
    while wanted:
        node = makers.get(wanted.pop())
        if node is not None and id(node) not in needed:
            needed.add(id(node))
            wanted.extend(_names(node))
    return [node for node in nodes if id(node) in needed]
