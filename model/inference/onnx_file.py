"""Check that every parser reads an ONNX file the same way, and whether it refers to external data, without any library.

An engine would read the files that external data names, and no SHA-256 covers them. The tables are those of onnx.proto
at IR version 14: a field that is not in them, that has another wire type, or that occurs twice where once is meant, is
refused. Parsers differ in whether they merge, skip or overrule such a field; in how many bits of a field's key they
keep; and in what they do with groups, with field 0 and with numbers in more bytes than needed. The engines parse a file
after this module has checked it, so it accepts only what every parser reads the same way.
"""

import hashlib
from collections import deque
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

VARINT, FIXED_64, LENGTH_DELIMITED, FIXED_32 = 0, 1, 2, 5
FIXED_LENGTHS = {FIXED_64: 8, FIXED_32: 4}
MAX_VARINT_BYTES = 10
MAX_VARINT = 2**64 - 1
# C++ keeps 32 bits of a field's key, of which three are the wire type.
MAX_FIELD_NUMBER = 2**29 - 1

Span = tuple[int, int]
RawField = tuple[int, int, int | Span]

MAX_DEPTH = 60
# Protocol buffers hold no more.
MAX_BYTES = 2**31 - 1
EXTERNAL_DATA, DATA_LOCATION = 13, 14
INT32_RANGE = range(-(2**31), 2**31)

# SHA-256s of the latest files that passed: a version is checked where it is read, and by each part that parses it.
_passed: deque[bytes] = deque(maxlen=16)

INT64, INT32, FLOAT, DOUBLE, BYTES = "int64", "int32", "float", "double", "bytes"
WIRE_TYPES = {INT64: VARINT, INT32: VARINT, FLOAT: FIXED_32, DOUBLE: FIXED_64}

Kinds = Mapping[int, str]  # by field number: one of the above, or the name of a message


class Schema(NamedTuple):
    """The fields of a message that occur once, those that may repeat, and those of which one excludes the others."""

    once: Kinds
    repeated: Kinds = MappingProxyType({})
    exclusive: tuple[int, ...] = ()


SCHEMAS = {
    "Model": Schema(
        {1: INT64, 2: BYTES, 3: BYTES, 4: BYTES, 5: INT64, 6: BYTES, 7: "Graph"},
        {8: "OperatorSetId", 14: "StringStringEntry", 20: "TrainingInfo", 25: "Function", 26: "DeviceConfiguration"},
    ),
    "OperatorSetId": Schema({1: BYTES, 2: INT64}),
    "StringStringEntry": Schema({1: BYTES, 2: BYTES}),
    "TrainingInfo": Schema({1: "Graph", 2: "Graph"}, {3: "StringStringEntry", 4: "StringStringEntry"}),
    "Function": Schema(
        {1: BYTES, 8: BYTES, 10: BYTES, 13: BYTES},
        {4: BYTES, 5: BYTES, 6: BYTES, 7: "Node", 9: "OperatorSetId", 11: "Attribute", 12: "ValueInfo"}
        | {14: "StringStringEntry"},
    ),
    "DeviceConfiguration": Schema({1: BYTES, 2: INT32}, {3: BYTES}),
    "Graph": Schema(
        {2: BYTES, 10: BYTES},
        {1: "Node", 5: "Tensor", 11: "ValueInfo", 12: "ValueInfo", 13: "ValueInfo", 14: "TensorAnnotation"}
        | {15: "SparseTensor", 16: "StringStringEntry"},
    ),
    "Node": Schema(
        {3: BYTES, 4: BYTES, 6: BYTES, 7: BYTES, 8: BYTES},
        {1: BYTES, 2: BYTES, 5: "Attribute", 9: "StringStringEntry", 10: "NodeDeviceConfiguration"},
    ),
    "NodeDeviceConfiguration": Schema({1: BYTES, 3: INT32}, {2: "ShardingSpec"}),
    "ShardingSpec": Schema({1: BYTES}, {2: INT64, 3: "IntIntListEntry", 4: "ShardedDim"}),
    "IntIntListEntry": Schema({1: INT64}, {2: INT64}),
    "ShardedDim": Schema({1: INT64}, {2: "SimpleShardedDim"}),
    "SimpleShardedDim": Schema({1: INT64, 2: BYTES, 3: INT64}, exclusive=(1, 2)),
    "Attribute": Schema(
        {1: BYTES, 2: FLOAT, 3: INT64, 4: BYTES, 5: "Tensor", 6: "Graph", 13: BYTES, 14: "Type", 20: INT32, 21: BYTES}
        | {22: "SparseTensor"},
        {7: FLOAT, 8: INT64, 9: BYTES, 10: "Tensor", 11: "Graph", 15: "Type", 23: "SparseTensor"},
    ),
    "Tensor": Schema(
        {2: INT32, 3: "Segment", 8: BYTES, 9: BYTES, 12: BYTES, DATA_LOCATION: INT32},
        {1: INT64, 4: FLOAT, 5: INT32, 6: BYTES, 7: INT64, 10: DOUBLE, 11: INT64}
        | {EXTERNAL_DATA: "StringStringEntry", 16: "StringStringEntry"},
    ),
    "Segment": Schema({1: INT64, 2: INT64}),
    "SparseTensor": Schema({1: "Tensor", 2: "Tensor"}, {3: INT64}),
    "TensorAnnotation": Schema({1: BYTES}, {2: "StringStringEntry"}),
    "ValueInfo": Schema({1: BYTES, 2: "Type", 3: BYTES}, {4: "StringStringEntry"}),
    "Type": Schema(
        {
            1: "TensorType",
            4: "SequenceType",
            5: "MapType",
            6: BYTES,
            7: "OpaqueType",
            8: "TensorType",
            9: "SequenceType",
        },
        exclusive=(1, 4, 5, 7, 8, 9),
    ),
    "TensorType": Schema({1: INT32, 2: "Shape"}),  # sparse ones have the same fields
    "SequenceType": Schema({1: "Type"}),  # as has an optional
    "MapType": Schema({1: INT32, 2: "Type"}),
    "OpaqueType": Schema({1: BYTES, 2: BYTES}),
    "Shape": Schema({}, {1: "Dimension"}),
    "Dimension": Schema({1: INT64, 2: BYTES, 3: BYTES}, exclusive=(1, 2)),
}


def check(content: bytes) -> None:
    """Raise ValueError unless every parser reads this ONNX file the same way, and it holds all of its data."""
    digest = hashlib.sha256(content).digest()
    if digest in _passed:
        return
    if has_external_data(content):
        raise ValueError(
            "it keeps weights in another file, which no SHA-256 covers; save them inside it: "
            "torch.onnx.export(..., external_data=False), or onnx.save(onnx.load(PATH), NEW_PATH)"
        )
    _passed.append(digest)


def has_external_data(content: bytes) -> bool:
    """Return whether any tensor refers to data in another file; raise ValueError where this is no plain ONNX file."""
    if len(content) > MAX_BYTES:
        raise ValueError(f"{len(content)} bytes; protocol buffers hold {MAX_BYTES}")
    return _Reader(content).refers_elsewhere("Model", (0, len(content)), 0)


class _Reader:
    """Goes through a file's messages by their schemas."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def refers_elsewhere(self, message: str, span: Span, depth: int) -> bool:
        """Check one message and those within it; return whether a tensor in it refers to another file."""
        if depth > MAX_DEPTH:
            raise ValueError(f"messages within messages, more than {MAX_DEPTH} deep")
        schema, found = SCHEMAS[message], False
        seen: set[int] = set()
        for number, wire_type, value in _fields(self._content, *span):
            kind = schema.once.get(number) or schema.repeated.get(number)
            if kind is None:
                raise ValueError(f"{message} has a field {number}, which ONNX does not have up to IR version 14")
            excluded = schema.exclusive if number in schema.exclusive else (number,)
            if number not in schema.repeated and not seen.isdisjoint(excluded):
                raise ValueError(f"{message} has field {number} more than once, or with one that excludes it")
            seen.add(number)
            found |= message == "Tensor" and (number == EXTERNAL_DATA or (number == DATA_LOCATION and value != 0))
            if number in schema.repeated and self._is_packed(kind, wire_type, value):
                continue
            _check_value(message, number, kind, wire_type, value)
            if kind in SCHEMAS and not isinstance(value, int):
                found |= self.refers_elsewhere(kind, value, depth + 1)
        return found

    def _is_packed(self, kind: str, wire_type: int, value: int | Span) -> bool:
        """Return whether the field holds any number of numbers in one piece; raise ValueError where one is cut off."""
        if kind not in WIRE_TYPES or wire_type != LENGTH_DELIMITED or isinstance(value, int):
            return False
        begin, end = value
        if WIRE_TYPES[kind] == VARINT:
            _check_varints(self._content, begin, end)
        elif (end - begin) % FIXED_LENGTHS[WIRE_TYPES[kind]]:
            raise ValueError(f"numbers at byte {begin} that are cut off")
        return True


def _check_value(message: str, number: int, kind: str, wire_type: int, value: int | Span) -> None:
    expected = WIRE_TYPES.get(kind, LENGTH_DELIMITED)
    if wire_type != expected:
        raise ValueError(f"{message} has field {number} with the wire type {wire_type}; {expected} is expected")
    if kind == INT32 and isinstance(value, int) and (value - 2**64 if value >= 2**63 else value) not in INT32_RANGE:
        raise ValueError(f"{message} has field {number} = {value}, which 32 bits do not hold")


def _fields(content: bytes, at: int, end: int) -> Iterator[RawField]:
    """Yield each field's number, its wire type, and its integer or where its bytes begin and end."""
    while at < end:
        begin = at
        key, at = _varint(content, at, end)
        number, kind = key >> 3, key & 7
        if not 1 <= number <= MAX_FIELD_NUMBER:
            raise ValueError(f"field number {number} at byte {begin}; 1 to {MAX_FIELD_NUMBER} are valid")
        if kind == VARINT:
            value, at = _varint(content, at, end)
            yield number, kind, value
            continue
        length = FIXED_LENGTHS.get(kind)
        if kind == LENGTH_DELIMITED:
            length, at = _varint(content, at, end)
        if length is None:
            raise ValueError(f"field {number} at byte {begin} has the wire type {kind}; 0, 1, 2 and 5 are read")
        if at + length > end:
            raise ValueError(f"field {number} at byte {begin} has {length} bytes and goes beyond the end")
        yield number, kind, (at, at + length)
        at += length


def _varint(content: bytes, at: int, end: int) -> tuple[int, int]:
    """Return the number at this byte and where the next byte is; raise ValueError."""
    value, begin = 0, at
    for shift in range(0, 7 * MAX_VARINT_BYTES, 7):
        if at >= end:
            break
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value > MAX_VARINT or (byte == 0 and shift):
                raise ValueError(f"a number at byte {begin} in {at - begin} bytes, which is not its shortest form")
            return value, at
    raise ValueError(f"a number at byte {begin} that does not end")


def _check_varints(content: bytes, begin: int, end: int) -> None:
    """Raise ValueError unless these bytes are whole numbers in their shortest form, one after the other."""
    packed = np.frombuffer(content, np.uint8, end - begin, begin)
    ends = np.flatnonzero(packed < 0x80)
    lengths = np.diff(ends, prepend=-1)
    last = packed[ends]
    is_short = (lengths == 1) | (last > 0)
    is_number = (lengths < MAX_VARINT_BYTES) | ((lengths == MAX_VARINT_BYTES) & (last == 1))
    is_whole = not len(packed) or packed[-1] < 0x80
    if not (is_whole and is_short.all() and is_number.all()):
        raise ValueError(f"numbers at byte {begin} that are cut off or not in their shortest form")
