"""The units of an AV1 stream, and the size of its frames by the sequence header."""

from collections.abc import Iterator

from inference.errors import IMAGE_BROKEN, ImageError

SEQUENCE_HEADER, FRAME_HEADER, FRAME = 1, 3, 6
FRAMES = frozenset((FRAME_HEADER, FRAME))
HAS_EXTENSION, HAS_SIZE = 4, 2
MAX_SIZE_BYTES = 8


def units(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the kind of each unit and its payload."""
    at = 0
    while at < len(data):
        head = data[at]
        at += 2 if head & HAS_EXTENSION else 1
        length = len(data) - at
        if head & HAS_SIZE:
            length, at = _leb128(data, at)
        kind = head >> 3 & 15
        # Of all other units the kind is enough.
        yield kind, data[at : at + length] if kind == SEQUENCE_HEADER else b""
        at += length


def _leb128(data: bytes, at: int) -> tuple[int, int]:
    """Return a number of seven bits a byte, and where it ends."""
    value = 0
    for index in range(MAX_SIZE_BYTES):
        value |= (data[at + index] & 0x7F) << 7 * index
        if data[at + index] < 0x80:
            return value, at + index + 1
    raise ImageError(IMAGE_BROKEN, "AVIF has a unit whose length does not end")


class _Bits:
    """Bits of a payload, the highest of each byte first."""

    def __init__(self, data: bytes) -> None:
        self.value, self.left = int.from_bytes(data[:64], "big"), 8 * len(data[:64])

    def take(self, count: int) -> int:
        """Return the number that the next bits are."""
        self.left -= count
        if self.left < 0:
            raise ImageError(IMAGE_BROKEN, "AVIF ends inside its sequence header")
        return self.value >> self.left & (1 << count) - 1

    def skip_long_number(self) -> None:
        """Skip a number that has as many bits as zeros before it."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        self.take(zeros)


def max_size(payload: bytes) -> tuple[int, int]:
    """Return the width and height that no frame exceeds, of the payload of a sequence header."""
    bits = _Bits(payload)
    bits.take(4)  # profile, whether it is a still image
    if bits.take(1):
        bits.take(5)
    else:
        _skip_operating_points(bits)
    width_bits, height_bits = bits.take(4) + 1, bits.take(4) + 1
    return bits.take(width_bits) + 1, bits.take(height_bits) + 1


def _skip_operating_points(bits: _Bits) -> None:
    """Skip times, buffers and operating points, which stand before the size unless it is a still image's header."""
    delay_bits = 0
    has_times = bits.take(1)
    if has_times:
        bits.take(64)
        if bits.take(1):
            bits.skip_long_number()
        if bits.take(1):
            delay_bits = bits.take(5) + 1
            bits.take(42)
    has_delays = bits.take(1)
    for _ in range(bits.take(5) + 1):
        bits.take(12)
        if bits.take(5) > 7:
            bits.take(1)
        if delay_bits and bits.take(1):
            bits.take(2 * delay_bits + 1)
        if has_delays and bits.take(1):
            bits.take(4)
