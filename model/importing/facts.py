"""Facts of an ONNX graph, and whether it is an image classifier."""

from collections.abc import Sequence
from dataclasses import dataclass

from onnx import ValueInfoProto, helper

from inference.errors import ImportRefusedError
from onnx_tools.graph import encode, load

FLOAT = "float32"
ANY = "?"
CHANNELS = 3

Length = int | str  # a number, or the name of what is open


@dataclass(frozen=True)
class Value:
    """An input or an output: its name, its type and its shape, None where the graph leaves it out."""

    name: str
    type: str
    shape: tuple[Length, ...] | None

    def __str__(self) -> str:
        shape = "of unknown shape" if self.shape is None else f"({', '.join(map(str, self.shape))})"
        return f"{self.name!r}, {self.type} {shape}"


@dataclass(frozen=True)
class Facts:
    """An image classifier: four dimensions of pixels in, a number for each class out."""

    input: Value
    output: Value
    shape: tuple[Length, ...]  # of the input
    layout: str
    opset: int
    operations: frozenset[str]

    @property
    def batch(self) -> Length:
        """Return how many images it takes at once, or the name of that number where it is open."""
        return self.shape[0]

    @property
    def size(self) -> tuple[Length, Length]:
        """Height and width."""
        return (self.shape[2], self.shape[3]) if self.layout == "NCHW" else (self.shape[1], self.shape[2])

    @property
    def classes(self) -> int | None:
        """Return how many numbers it puts out for an image, where the graph fixes it."""
        last = self.output.shape[-1] if self.output.shape else None
        return last if isinstance(last, int) else None

    @property
    def is_quantised(self) -> bool:
        """Return whether it computes in integers already."""
        return any("QuantizeLinear" in name or "QLinear" in name for name in self.operations)


def read(content: bytes) -> Facts:
    """Return the facts of a graph; ImportRefusedError names what about it is no image classifier."""
    try:
        model = load(content)
        constants = {tensor.name for tensor in model.graph.initializer}
        inputs = [_value(value) for value in model.graph.input if value.name not in constants]
        outputs = list(map(_value, model.graph.output))
        operations = frozenset(node.op_type for node in model.graph.node)
        # Other domains have versions of their own.
        opset = max((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), default=0)
    except ValueError as fault:
        raise ImportRefusedError(f"this is no plain ONNX file (export the network as ONNX): {fault}") from None
    taken = _alone(inputs, "input", "one image's pixels are all that the service gives")
    given = _alone(outputs, "output", "the scores of the classes are all that the service takes")
    return Facts(taken, given, *_shape_and_layout(taken), opset, operations)


def with_open_batch(content: bytes) -> bytes:
    """Return the same graph for any number of images at once, where its operations leave that to its inputs."""
    model = load(content)
    constants = {tensor.name for tensor in model.graph.initializer}
    model.graph.ClearField("value_info")
    for value in (*model.graph.input, *model.graph.output):
        dimensions = value.type.tensor_type.shape.dim
        if dimensions and value.name not in constants:
            dimensions[0].dim_param = "N"
    return encode(model)


def _value(described: ValueInfoProto) -> Value:
    if not described.type.HasField("tensor_type"):
        return Value(described.name, "no tensor", None)
    tensor = described.type.tensor_type
    try:
        kind = helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    except KeyError:
        kind = f"type {tensor.elem_type}"
    lengths = tuple(each.dim_value or each.dim_param or ANY for each in tensor.shape.dim)
    return Value(described.name, kind, lengths if tensor.HasField("shape") else None)


def _alone(values: Sequence[Value], what: str, reason: str) -> Value:
    if len(values) != 1:
        there = "; ".join(map(str, values)) or "none"
        raise ImportRefusedError(f"the graph has {len(values)} {what}s ({there}); export it with one: {reason}")
    if values[0].type != FLOAT:
        remedy = "export it in float32 (model.float()), the engine makes it faster where it can"
        raise ImportRefusedError(f"the {what} is {values[0]}; float32 is expected: {remedy}")
    return values[0]


def _shape_and_layout(value: Value) -> tuple[tuple[Length, ...], str]:
    shape = value.shape
    if shape is None or len(shape) != 4:
        raise ImportRefusedError(
            f"the input is {value}; four dimensions are expected, (N, 3, height, width) or (N, height, width, 3)"
        )
    if CHANNELS not in (shape[1], shape[3]):
        raise ImportRefusedError(
            f"the input is {value}; images come in 3 channels, in the second or the last dimension: "
            "export it with that length fixed, and a network for grey images with a first layer that takes their mean"
        )
    return shape, "NCHW" if shape[1] == CHANNELS else "NHWC"
