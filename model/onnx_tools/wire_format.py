"""Protocol buffers' wire format, read in one way only: what could be read in two ways is refused.

Parsers differ where a writer departs from the usual form: how many bits of a field's key they keep, what they do with
numbers in more bytes than needed, with groups, and with field 0. The engines parse a file that was checked by this one,
so it accepts only what every parser reads alike.
"""

from collections.abc import Iterator

import numpy as np

VARINT, FIXED_64, LENGTH_DELIMITED, FIXED_32 = 0, 1, 2, 5
FIXED_LENGTHS = {FIXED_64: 8, FIXED_32: 4}
MAX_VARINT_BYTES = 10
MAX_VARINT = 2**64 - 1
# C++ keeps 32 bits of a field's key, of which three are the wire type.
MAX_FIELD_NUMBER = 2**29 - 1

Span = tuple[int, int]
RawField = tuple[int, int, int | Span]


def fields(content: bytes, at: int, end: int) -> Iterator[RawField]:
    """Yield each field's number, its wire type, and its integer or where its bytes begin and end; raise ValueError."""
    while at < end:
        begin = at
        key, at = varint(content, at, end)
        number, kind = key >> 3, key & 7
        if not 1 <= number <= MAX_FIELD_NUMBER:
            raise ValueError(f"field number {number} at byte {begin}; 1 to {MAX_FIELD_NUMBER} are valid")
        if kind == VARINT:
            value, at = varint(content, at, end)
            yield number, kind, value
            continue
        length = FIXED_LENGTHS.get(kind)
        if kind == LENGTH_DELIMITED:
            length, at = varint(content, at, end)
        if length is None:
            raise ValueError(f"field {number} at byte {begin} has the wire type {kind}; 0, 1, 2 and 5 are read")
        if at + length > end:
            raise ValueError(f"field {number} at byte {begin} has {length} bytes and goes beyond the end")
        yield number, kind, (at, at + length)
        at += length


def varint(content: bytes, at: int, end: int) -> tuple[int, int]:
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


def check_varints(content: bytes, begin: int, end: int) -> None:
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
