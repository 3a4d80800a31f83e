"""Networks that refer to weights in another file in ways that one parser or another does not see."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from inference.bundle import Bundle
from inference.preprocessing import from_table

SIDE, LABELS = 8, ("red", "green", "blue")
# One number for each class, from another file.
WEIGHT_BYTES = 4 * 3 * len(LABELS)
BYTES, VARINT, START_GROUP, END_GROUP = 2, 0, 3, 4
GRAPH, NODE, INITIALIZER, ATTRIBUTE, TENSOR = 7, 1, 5, 5, 5
EXTERNAL_DATA, DATA_LOCATION, RAW_DATA = 13, 14, 9
# Bits of a key that C++ drops.
HIGH = 1 << 32


def varint(value: int, least: int = 1) -> bytes:
    """The number in its shortest form, or in at least so many bytes."""
    digits: list[int] = []
    while value > 0x7F or len(digits) + 1 < least:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*digits, value))


def field(number: int, value: int | bytes, *, high: int = 0, key_bytes: int = 1) -> bytes:
    """A field in its usual form, or with a key in a form that parsers differ about."""
    kind = VARINT if isinstance(value, int) else BYTES
    key = varint(number << 3 | kind | high, key_bytes)
    return key + (varint(value) if isinstance(value, int) else varint(len(value)) + value)


def entry(name: str, value: str) -> bytes:
    """What `external_data` holds."""
    return field(1, name.encode()) + field(2, value.encode())


def weights(told: bytes) -> bytes:
    """The tensor of the last layer, with this in place of its numbers."""
    dims = field(1, 3) + field(1, len(LABELS))
    return dims + field(2, TensorProto.FLOAT) + field(8, b"weights") + told


def usual(location: str) -> bytes:
    """The fields of a tensor whose numbers are in another file."""
    told = field(EXTERNAL_DATA, entry("location", location)) + field(EXTERNAL_DATA, entry("length", str(WEIGHT_BYTES)))
    return told + field(DATA_LOCATION, TensorProto.EXTERNAL)


def classifier(initializer: bytes = b"", *, graph: bytes = b"", model: bytes = b"") -> bytes:
    """A network of the mean of each colour, with these fields added to its graph and to itself."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["means"]),
        helper.make_node("Flatten", ["means"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["scores"]),
    ]
    given = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])
    taken = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", len(LABELS)])
    made = helper.make_graph(nodes, "colours", [given], [taken]).SerializeToString()
    made += (field(INITIALIZER, initializer) if initializer else b"") + graph
    head = helper.make_model(helper.make_graph([], "g", [], []), ir_version=8, opset_imports=[OPSET])
    head.ClearField("graph")
    content: bytes = head.SerializeToString() + field(GRAPH, made) + model
    return content


PREPROCESSING = {
    "resize": "stretch",
    "crop_ratio": 1.0,
    "size": [SIDE, SIDE],
    "interpolation": "bilinear",
    "channels": "RGB",
    "mean": [0.0, 0.0, 0.0],
    "std": [1.0, 1.0, 1.0],
    "layout": "NCHW",
}
GREY = np.ones((1, SIDE, SIDE, 3), np.uint8)
OPSET = helper.make_opsetid("", 17)
PLAIN = field(RAW_DATA, np.eye(3, dtype=np.float32).tobytes())


def _tensor(told: Callable[[str], bytes]) -> Callable[[str], bytes]:
    return lambda location: classifier(weights(told(location)))


def _with_keys(high: int, key_bytes: int = 1) -> Callable[[str], bytes]:
    def told(location: str) -> bytes:
        entries = (entry("location", location), entry("length", str(WEIGHT_BYTES)))
        said = b"".join(field(EXTERNAL_DATA, each, high=high, key_bytes=key_bytes) for each in entries)
        return said + field(DATA_LOCATION, int(TensorProto.EXTERNAL), high=high, key_bytes=key_bytes)

    return _tensor(told)


def _hidden_initializer(location: str) -> bytes:
    return classifier(graph=field(INITIALIZER, weights(usual(location)), high=HIGH))


def _hidden_graph(location: str) -> bytes:
    plain = classifier(weights(PLAIN))
    return plain + field(GRAPH, field(INITIALIZER, weights(usual(location))), high=HIGH)


def _merged_graph(location: str) -> bytes:
    return classifier(model=field(GRAPH, field(INITIALIZER, weights(usual(location)))))


def _constant(told: bytes, *, more: bytes = b"", high: int = 0) -> bytes:
    attribute = field(1, b"value") + field(TENSOR, told, high=high) + more + field(20, 4)
    return field(NODE, field(2, b"weights") + field(4, b"Constant") + field(ATTRIBUTE, attribute))


def _merged_tensor(location: str) -> bytes:
    more = field(TENSOR, usual(location))
    return classifier(graph=_constant(weights(b""), more=more))


def _function(told: bytes) -> bytes:
    names = field(1, b"f") + field(10, b"own") + field(5, b"weights")
    return field(25, names + field(7, _constant(told)[2:]))


def _sparse(location: str, place: int) -> bytes:
    parts = [weights(PLAIN), numpy_helper.from_array(np.arange(9), "indices").SerializeToString()]
    parts[place] = weights(usual(location))
    return classifier(weights(PLAIN), graph=field(15, field(1, parts[0]) + field(2, parts[1]) + field(3, 9)))


TRICKS: dict[str, Callable[[str], bytes]] = {
    "nothing hidden": _tensor(usual),
    "without data_location": _tensor(lambda location: field(EXTERNAL_DATA, entry("location", location))),
    "data_location alone": _tensor(lambda _: field(DATA_LOCATION, TensorProto.EXTERNAL)),
    "keys of more than 32 bits": _with_keys(HIGH),
    "keys with the sign bit": _with_keys(HIGH << 2),
    "keys in more bytes than needed": _with_keys(0, key_bytes=4),
    "keys in five bytes": _with_keys(0, key_bytes=5),
    "keys in ten bytes": _with_keys(1 << 63, key_bytes=10),
    "data_location of more than 32 bits": _tensor(
        lambda location: field(EXTERNAL_DATA, entry("location", location)) + field(DATA_LOCATION, HIGH | 1)
    ),
    "data_location that is overruled": _tensor(lambda location: usual(location) + field(DATA_LOCATION, 0)),
    "data_location that overrules": _tensor(lambda location: field(DATA_LOCATION, 0) + usual(location)),
    "a hidden initializer": _hidden_initializer,
    "a hidden graph": _hidden_graph,
    "a second graph": _merged_graph,
    "a tensor in two parts": _merged_tensor,
    "a hidden attribute": lambda location: classifier(graph=_constant(weights(usual(location)), high=HIGH)),
    "a constant": lambda location: classifier(graph=_constant(weights(usual(location)))),
    "a list of tensors": lambda location: classifier(
        weights(PLAIN), graph=field(NODE, field(4, b"If") + field(ATTRIBUTE, field(10, weights(usual(location)))))
    ),
    "a graph in an attribute": lambda location: classifier(
        weights(PLAIN),
        graph=field(NODE, field(ATTRIBUTE, field(6, field(INITIALIZER, weights(usual(location)))))),
    ),
    "a list of graphs": lambda location: classifier(
        weights(PLAIN),
        graph=field(NODE, field(ATTRIBUTE, field(11, field(INITIALIZER, weights(usual(location)))))),
    ),
    "a function": lambda location: classifier(weights(PLAIN), model=_function(weights(usual(location)))),
    "a function's default": lambda location: classifier(
        weights(PLAIN), model=field(25, field(11, field(1, b"a") + field(5, weights(usual(location)))))
    ),
    "training": lambda location: classifier(
        weights(PLAIN), model=field(20, field(1, field(INITIALIZER, weights(usual(location)))))
    ),
    "training's algorithm": lambda location: classifier(
        weights(PLAIN), model=field(20, field(2, field(INITIALIZER, weights(usual(location)))))
    ),
    "sparse values": lambda location: _sparse(location, 0),
    "sparse indices": lambda location: _sparse(location, 1),
    "a sparse attribute": lambda location: classifier(
        weights(PLAIN), graph=field(NODE, field(ATTRIBUTE, field(22, field(1, weights(usual(location))))))
    ),
    "a group": _tensor(lambda location: varint(99 << 3 | START_GROUP) + usual(location) + varint(99 << 3 | END_GROUP)),
    "field 0": _tensor(lambda location: field(0, usual(location)) + PLAIN),
    "an unknown field": _tensor(lambda location: PLAIN + field(99, usual(location))),
    "an unknown field of the graph": lambda location: classifier(weights(PLAIN), graph=field(99, usual(location))),
    "an unknown field of the model": lambda location: classifier(weights(PLAIN), model=field(99, usual(location))),
    "external_data as a number": _tensor(lambda _: PLAIN + field(EXTERNAL_DATA, 1)),
    "data_location as bytes": _tensor(lambda _: PLAIN + field(DATA_LOCATION, b"\x01")),
    "bytes after the end": lambda location: classifier(weights(PLAIN)) + b"\x00" + usual(location),
}


def networks(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every trick with a file that is there, named from the root and from this folder, and with an address."""
    secret = folder / "secret"
    secret.write_bytes(np.arange(9, dtype=np.float32).tobytes())
    for trick, made in TRICKS.items():
        for location in (str(secret), secret.name, "../../../etc/passwd", "*/_ORT_MEM_ADDR_/*"):
            yield f"{trick}: {location}", made(location)


def draft(content: bytes) -> Bundle:
    """A bundle of this network that is nowhere yet."""
    return Bundle("colours", "1", "fp32", from_table(PREPROCESSING), "probabilities", LABELS, content)
