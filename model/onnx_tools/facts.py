"""What an ONNX graph says of itself, and whether an image classifier is what it is."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from inference.errors import ImportRefusedError
from inference.onnx_file import has_external_data
from onnx_tools.protobuf import Message

GRAPH, OPSETS = 7, 8  # of a model
OPSET_DOMAIN, OPSET_VERSION = 1, 2
NODE, INITIALIZER, INPUT, OUTPUT, VALUE_INFO = 1, 5, 11, 12, 13  # of a graph
OPERATION, TENSOR_NAME = 4, 8
VALUE_NAME, VALUE_TYPE, TENSOR_TYPE, ELEMENT_TYPE, SHAPE = 1, 2, 1, 1, 2
DIMENSION, LENGTH, SYMBOL = 1, 1, 2
FLOAT = 1
TYPES = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 8: "text", 10: "float16", 11: "float64"}
TYPES |= {9: "bool", 16: "bfloat16"}
ANY = "?"
DIMENSION_PATH = (VALUE_TYPE, TENSOR_TYPE, SHAPE, DIMENSION)

Length = int | str  # a number, or the name of what is open
COLOURS = 3


@dataclass(frozen=True)
class Value:
    """An input or an output: its name, its type and its shape, None where the graph does not say."""

    name: str
    type: str
    shape: tuple[Length, ...] | None

    def __str__(self) -> str:
        shape = "of unsaid shape" if self.shape is None else f"({', '.join(map(str, self.shape))})"
        return f"{self.name!r}, {self.type} {shape}"


@dataclass(frozen=True)
class Facts:
    """An image classifier: four dimensions of pixels in, a number for each class out."""

    input: Value
    output: Value
    layout: str
    opset: int
    operations: frozenset[str]

    @property
    def batch(self) -> Length:
        """How many pictures it takes at once, or the name of that number where it is open."""
        return self._input_shape[0]

    @property
    def size(self) -> tuple[Length, Length]:
        """Height and width."""
        shape = self._input_shape
        return (shape[2], shape[3]) if self.layout == "NCHW" else (shape[1], shape[2])

    @property
    def classes(self) -> int | None:
        """How many numbers it puts out for a picture, where the graph says so."""
        last = self.output.shape[-1] if self.output.shape else None
        return last if isinstance(last, int) else None

    @property
    def is_quantised(self) -> bool:
        """Whether it computes in integers already."""
        return any("QuantizeLinear" in name or "QLinear" in name for name in self.operations)

    @property
    def _input_shape(self) -> tuple[Length, ...]:
        assert self.input.shape is not None  # noqa: S101  read() has seen to it
        return self.input.shape


def read(content: bytes) -> Facts:
    """The facts of a graph; ImportRefusedError names what is no image classifier about it."""
    try:
        if has_external_data(content):
            raise ImportRefusedError(
                "the graph keeps its weights in another file, which no SHA-256 would vouch for; save them inside it: "
                "torch.onnx.export(..., external_data=False), or onnx.save(onnx.load(PATH), NEW_PATH)"
            )
        model = Message.parse(content)
        graph = Message.parse(model.blobs(GRAPH)[0])
        constants = {Message.parse(blob).text(TENSOR_NAME) for blob in graph.blobs(INITIALIZER)}
        inputs, outputs = _values(graph.blobs(INPUT), constants), _values(graph.blobs(OUTPUT), ())
        operations = frozenset(Message.parse(blob).text(OPERATION) for blob in graph.blobs(NODE))
        opset = max(_opsets(model), default=0)
    except (ValueError, IndexError) as fault:
        raise ImportRefusedError(f"this is no ONNX graph: {fault}; export the network as ONNX") from None
    return _checked(inputs, outputs, opset, operations)


def with_open_batch(content: bytes) -> bytes:
    """The same graph for any number of pictures at once, where its operations leave that to its inputs."""
    model = Message.parse(content)
    graph = Message.parse(model.blobs(GRAPH)[0])
    opened = Message()
    for number, kind, value in graph.without(VALUE_INFO).fields:
        if number in (INPUT, OUTPUT) and isinstance(value, bytes):
            value = _opened(value, DIMENSION_PATH)  # noqa: PLW2901
        opened.fields.append((number, kind, value))
    return model.without(GRAPH).add(GRAPH, opened).encode()


def _opened(content: bytes, path: Sequence[int]) -> bytes:
    """The message in which the first field at the end of the path, the length of the first dimension, is a name."""
    if not path:
        return Message().add(SYMBOL, "N").encode()
    message, is_done = Message.parse(content), False
    for at, (number, kind, value) in enumerate(message.fields):
        if number == path[0] and isinstance(value, bytes) and not is_done:
            message.fields[at], is_done = (number, kind, _opened(value, path[1:])), True
    return message.encode()


def _checked(inputs: Sequence[Value], outputs: Sequence[Value], opset: int, operations: frozenset[str]) -> Facts:
    one_input = _alone(inputs, "input", "one picture's pixels are all that the service gives")
    one_output = _alone(outputs, "output", "the scores of the classes are all that the service takes")
    for value, what in ((one_input, "input"), (one_output, "output")):
        if value.type != TYPES[FLOAT]:
            remedy = "export it in float32 (model.float()), the engine makes it faster where it can"
            raise ImportRefusedError(f"the {what} is {value}; float32 is expected: {remedy}")
    return Facts(one_input, one_output, _layout(one_input), opset, operations)


def _alone(values: Sequence[Value], what: str, reason: str) -> Value:
    if len(values) != 1:
        there = "; ".join(map(str, values)) or "none"
        raise ImportRefusedError(f"the graph has {len(values)} {what}s ({there}); export it with one: {reason}")
    return values[0]


def _layout(value: Value) -> str:
    shape = value.shape
    if shape is None or len(shape) != 4:
        raise ImportRefusedError(
            f"the input is {value}; four dimensions are expected, (N, 3, height, width) or (N, height, width, 3)"
        )
    if shape[1] == COLOURS:
        return "NCHW"
    if shape[3] == COLOURS:
        return "NHWC"
    raise ImportRefusedError(
        f"the input is {value}; pictures come in 3 channels, in the second or the last dimension: "
        "export it with that length fixed, and a network for grey pictures with a first layer that takes their mean"
    )


def _values(blobs: Sequence[bytes], constants: Collection[str]) -> list[Value]:
    values = map(_value, map(Message.parse, blobs))
    return [value for value in values if value.name not in constants]


def _value(message: Message) -> Value:
    kind = _inner(message, VALUE_TYPE)
    tensor = kind and _inner(kind, TENSOR_TYPE)
    if not tensor:
        return Value(message.text(VALUE_NAME), "no tensor", None)
    number = next(iter(tensor.numbers(ELEMENT_TYPE)), 0)
    shape = _inner(tensor, SHAPE)
    lengths = None if shape is None else tuple(_length(Message.parse(blob)) for blob in shape.blobs(DIMENSION))
    return Value(message.text(VALUE_NAME), TYPES.get(number, f"type {number}"), lengths)


def _length(dimension: Message) -> Length:
    return next(iter(dimension.numbers(LENGTH)), 0) or dimension.text(SYMBOL) or ANY


def _inner(message: Message, number: int) -> Message | None:
    blobs = message.blobs(number)
    return Message.parse(blobs[0]) if blobs else None


def _opsets(model: Message) -> list[int]:
    """The version of ONNX's own operations; other domains have versions of their own."""
    sets = map(Message.parse, model.blobs(OPSETS))
    return [next(iter(each.numbers(OPSET_VERSION)), 0) for each in sets if each.text(OPSET_DOMAIN) in ("", "ai.onnx")]
