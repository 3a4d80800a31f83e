"""Facts of an ONNX graph, and whether it is an image classifier."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from onnx import ModelProto, NodeProto, ValueInfoProto, helper

from inference.errors import ImportRefusedError
from onnx_tools.graph import load

# What float32 holds exactly, or as good as: such a graph is rewritten (`importing.adaptation`).
FLOATS = ("float32", "float16", "bfloat16", "float64")
PIXELS = "uint8"
ANY = "?"
CHANNELS = 3
# What may stand between the pixels and what is computed of them.
PASSING = frozenset(("Cast", "Identity", "Transpose"))
NORMALISING = frozenset(("Sub", "Add", "Mul", "Div", "BatchNormalization"))
# What leaves of the scores only the class, or a table of its own.
CHOOSING = frozenset(("ArgMax", "ArgMin", "TopK", "ZipMap", "ArrayFeatureExtractor"))

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
    remarks: tuple[str, ...] = ()
    normalising: tuple[str, ...] = ()  # operations on the pixels before the first layer

    @property
    def batch(self) -> Length:
        """Return how many images it takes in one batch, or the name of that number where it is open."""
        return self.shape[0]

    @property
    def size(self) -> tuple[Length, Length]:
        """Height and width."""
        return (self.shape[2], self.shape[3]) if self.layout == "NCHW" else (self.shape[1], self.shape[2])

    @property
    def classes(self) -> int | None:
        """Return how many numbers it puts out for an image, where the graph fixes it."""
        shape = self.output.shape or ()
        lengths = [length for length in (shape if len(shape) == 1 else shape[1:]) if length != 1]
        last = lengths[0] if lengths else (shape[-1] if shape else None)
        return last if isinstance(last, int) else None

    @property
    def is_quantised(self) -> bool:
        """Return whether it computes in integers already."""
        return any("QuantizeLinear" in name or "QLinear" in name for name in self.operations)


def read(content: bytes, output: str = "", layout: str = "") -> Facts:
    """Return the facts of a graph; ImportRefusedError names what about it is no image classifier.

    `output` is the tensor with the scores, where the graph has more than one; `layout` that of the input, where neither
    its shape nor its operations show it.
    """
    try:
        model = load(content)
        constants = {tensor.name for tensor in model.graph.initializer}
        inputs = [_value(value) for value in model.graph.input if value.name not in constants]
        operations = frozenset(node.op_type for node in model.graph.node)
        # Other domains have versions of their own.
        opset = max((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), default=0)
    except ValueError as fault:
        raise ImportRefusedError(f"this is no plain ONNX file (export the network as ONNX): {fault}") from None
    _check_names(model)
    taken = _image(inputs)
    given, remarks = _scores(model, output)
    shape, order = _shape_and_layout(model, taken, layout)
    return Facts(taken, given, shape, order, opset, operations, remarks, _normalising(model, taken))


def _check_names(model: ModelProto) -> None:
    """Raise ImportRefusedError where two operations make a tensor of one name: engines differ in which one they use."""
    made = Counter(name for node in model.graph.node for name in node.output if name)
    made.update(value.name for value in model.graph.input)
    twice = [name for name, count in made.items() if count > 1]
    if twice:
        raise ImportRefusedError(
            f"the graph makes the tensor {twice[0]!r} twice; export it with a name for each tensor"
        )


def _value(described: ValueInfoProto) -> Value:
    if not described.type.HasField("tensor_type"):
        return Value(described.name, (described.type.WhichOneof("value") or "no type").removesuffix("_type"), None)
    tensor = described.type.tensor_type
    try:
        kind = helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    except KeyError:
        kind = f"type {tensor.elem_type}"
    # Exporters write a length that is open as a name, as nothing, as 0 or as -1.
    lengths = tuple(each.dim_value if each.dim_value > 0 else each.dim_param or ANY for each in tensor.shape.dim)
    return Value(described.name, kind, lengths if tensor.HasField("shape") else None)


def _image(inputs: Sequence[Value]) -> Value:
    """Return the input, which takes images; ImportRefusedError where there is none, or more."""
    if len(inputs) != 1:
        there = "; ".join(map(str, inputs)) or "none"
        raise ImportRefusedError(
            f"the graph has {len(inputs)} inputs ({there}); export it with one: one image's pixels are all that the "
            "service gives"
        )
    [value] = inputs
    if value.shape is not None and len(value.shape) == 2:
        raise ImportRefusedError(
            f"the input is {value}: rows of a table, as scikit-learn's models take; the service classifies images, "
            "so the input must be (N, 3, height, width) or (N, height, width, 3)"
        )
    if value.type not in (*FLOATS, PIXELS):
        raise ImportRefusedError(
            f"the input is {value}; pixels come as {', '.join(FLOATS)} or {PIXELS}: export it with one of these"
        )
    if value.shape is None or len(value.shape) != 4:
        count = "an unknown number of" if value.shape is None else str(len(value.shape))
        raise ImportRefusedError(
            f"the input is {value}, {count} dimensions; four dimensions are expected, (N, 3, height, width) or "
            "(N, height, width, 3): export it with a dimension for the batch size"
        )
    return value


def _scores(model: ModelProto, named: str) -> tuple[Value, tuple[str, ...]]:
    """Return the output with the scores, and remarks on the others; ImportRefusedError without one."""
    outputs = list(map(_value, model.graph.output))
    there = "; ".join(map(str, outputs)) or "none"
    makers = {name: node for node in model.graph.node for name in node.output}
    if named:
        inner = Value(named, "float32", None) if named in makers else None
        found = next((value for value in outputs if value.name == named), inner)
        if found is None:
            raise ImportRefusedError(f"--output {named}: the graph has no such tensor; its outputs are {there}")
        return _checked(found, makers), ()
    floats = [value for value in outputs if value.type in FLOATS]
    if len(floats) > 1:
        raise ImportRefusedError(
            f"the graph has {len(outputs)} outputs ({there}); name the one with the scores of the classes: "
            f"--output {floats[0].name}"
        )
    if not floats and len(outputs) == 1:
        return _checked(outputs[0], makers), ()
    if not floats:
        reasons = "; ".join(_no_scores(value, makers) for value in outputs)
        raise ImportRefusedError(f"none of the {len(outputs)} outputs has scores of the classes: {reasons or there}")
    others = [value.name for value in outputs if value is not floats[0]]
    remark = f"the output {floats[0].name!r} is taken, {', '.join(map(repr, others))} left out"
    return _checked(floats[0], makers), (remark,) if others else ()


def _checked(value: Value, makers: dict[str, NodeProto]) -> Value:
    maker = makers.get(value.name)
    if value.type not in FLOATS or (maker is not None and maker.op_type in CHOOSING):
        raise ImportRefusedError(f"the output is {_no_scores(value, makers)}")
    shape = value.shape
    if shape is None:
        return value
    rest = shape if len(shape) == 1 else shape[1:]
    if len([length for length in rest if length != 1]) > 1:
        raise ImportRefusedError(
            f"the output is {value}: more than a row of scores for each image, such as features or boxes; "
            "(N, classes) is expected, export the network with its classifier"
        )
    if not shape or (len(shape) == 1 and not isinstance(shape[0], int)):
        raise ImportRefusedError(f"the output is {value}: one number; a score for each class is expected, (N, classes)")
    return value


def _no_scores(value: Value, makers: dict[str, NodeProto]) -> str:
    """Return why an output has no scores, and which tensor has them, where that can be seen."""
    node = makers.get(value.name)
    while node is not None and node.op_type in PASSING | {"Squeeze", "Unsqueeze", "Reshape"}:
        node = makers.get(node.input[0])
    if node is None or node.op_type not in CHOOSING:
        return f"{value}; float32 scores are expected, a number for each class"
    source = node.input[-1 if node.op_type == "ArrayFeatureExtractor" else 0]
    what = "a table of labels and scores" if node.op_type == "ZipMap" else "the class alone, not the scores"
    return f"{value}, made by {node.op_type}: {what}. --output {source} takes what it is made of"


def _shape_and_layout(model: ModelProto, value: Value, requested: str) -> tuple[tuple[Length, ...], str]:
    shape = value.shape or ()
    places = {"NCHW": shape[1], "NHWC": shape[3]}
    layout = requested or _layout(model, value, places)
    length = places[layout]
    if isinstance(length, int) and length != CHANNELS:
        raise ImportRefusedError(
            f"the input is {value}, and as {layout} has {length} channels; images come in 3 channels, in the second or "
            "the last dimension: export a network for grey images with a first layer that takes their mean"
        )
    return tuple(CHANNELS if at == layout.index("C") else each for at, each in enumerate(shape)), layout


def _layout(model: ModelProto, value: Value, places: dict[str, Length]) -> str:
    """Return where the channels stand: where there are three, else where that is named, else where a Conv has them."""
    by_length = [layout for layout, length in places.items() if length == CHANNELS]
    if len(by_length) == 1:
        return by_length[0]
    names = [layout for layout, length in places.items() if isinstance(length, str) and "chan" in length.lower()]
    if len(names) == 1:
        return names[0]
    is_turned = False
    for node in _first_steps(model, value.name):
        is_turned ^= node.op_type == "Transpose"
        if node.op_type == "Conv":
            return "NHWC" if is_turned else "NCHW"
    if any(isinstance(length, str) for length in places.values()):
        raise ImportRefusedError(
            f"the input is {value}, in which the channels are open, and its first operations do not show which they "
            "are: pass --layout NCHW or --layout NHWC"
        )
    raise ImportRefusedError(
        f"the input is {value}; images come in 3 channels, in the second or the last dimension: export a network for "
        "grey images with a first layer that takes their mean"
    )


def _first_steps(model: ModelProto, name: str) -> Iterator[NodeProto]:
    """Yield the first operations on the input, as long as there is one after the other, and end with a Conv."""
    users: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        for each in set(node.input):
            users.setdefault(each, []).append(node)
    passing = PASSING | NORMALISING | {"Pad", "QuantizeLinear", "DequantizeLinear", "Conv"}
    while nodes := [node for node in users.get(name, ()) if node.op_type in passing]:
        yield nodes[0]
        if len(nodes) > 1 or nodes[0].op_type == "Conv":
            return
        name = nodes[0].output[0]


def _normalising(model: ModelProto, value: Value) -> tuple[str, ...]:
    """Return the operations with which the graph itself may normalise the pixels."""
    return tuple(node.op_type for node in _first_steps(model, value.name) if node.op_type in NORMALISING)


def check_pixels(facts: Facts, mean: Sequence[float], std: Sequence[float]) -> None:
    """Raise ImportRefusedError where a graph that takes whole numbers would get normalised ones."""
    if facts.input.type == PIXELS and (any(mean) or any(each != 1 for each in std)):
        raise ImportRefusedError(
            f"the input is {facts.input}: whole numbers from 0 to 255, which the graph normalises itself, but the "
            f"preprocessing is (x - {list(mean)}) / {list(std)}; pass --preset pixels, or --mean 0 --std 1"
        )
