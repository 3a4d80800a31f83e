"""Whether an ONNX graph keeps weights in other files, read from its bytes: those files would go unchecked.

Protocol buffers are a sequence of numbered fields; only the fields that may lead to a tensor are entered.
"""

from collections.abc import Iterator

VARINT, FIXED_64, LENGTH_DELIMITED, FIXED_32 = 0, 1, 2, 5
EXTERNAL = 1
MAX_VARINT_BYTES = 10
MAX_DEPTH = 60
# Of which message, by the numbers of onnx.proto: which field holds which message.
FIELDS = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
EXTERNAL_DATA, DATA_LOCATION = 13, 14

Value = int | tuple[int, int]


def keeps_weights_elsewhere(content: bytes) -> bool:
    """Whether any tensor says that its data lies in another file; raises ValueError where these are no such bytes."""
    return _has_external(content, 0, len(content), "model", 0)


def _has_external(content: bytes, begin: int, end: int, message: str, depth: int) -> bool:
    if depth > MAX_DEPTH:
        raise ValueError(f"messages within messages, more than {MAX_DEPTH} deep")
    for number, value in _fields(content, begin, end):
        if message == "tensor" and (number == EXTERNAL_DATA or (number == DATA_LOCATION and value == EXTERNAL)):
            return True
        inner = FIELDS[message].get(number)
        if inner and isinstance(value, tuple) and _has_external(content, *value, inner, depth + 1):
            return True
    return False


def _fields(content: bytes, at: int, end: int) -> Iterator[tuple[int, Value]]:
    """Each field's number with its value, or where its bytes begin and end."""
    while at < end:
        key, at = _varint(content, at, end)
        number, kind = key >> 3, key & 7
        if kind == VARINT:
            value, at = _varint(content, at, end)
            yield number, value
            continue
        length = {FIXED_64: 8, FIXED_32: 4}.get(kind)
        if kind == LENGTH_DELIMITED:
            length, at = _varint(content, at, end)
        if length is None or at + length > end:
            raise ValueError(f"a field at byte {at} that is none")
        yield number, (at, at + length)
        at += length


def _varint(content: bytes, at: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 7 * MAX_VARINT_BYTES, 7):
        if at >= end:
            break
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError(f"a number that does not end at byte {at}")
