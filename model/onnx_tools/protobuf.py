"""Protocol buffers as far as an ONNX file needs them: a message is its fields in order, also those nobody knows.

A field is its number, its wire type and its value: an int for the wire type 0, bytes for the others.
"""

from dataclasses import dataclass, field

from inference import onnx_file

VARINT, BYTES = onnx_file.VARINT, onnx_file.LENGTH_DELIMITED

Field = tuple[int, int, int | bytes]


@dataclass
class Message:
    """The fields of one message; parsed only as deep as somebody asks."""

    fields: list[Field] = field(default_factory=list)

    @classmethod
    def parse(cls, content: bytes) -> "Message":
        """Read a message; ValueError where these are no such bytes."""
        found = onnx_file.fields(content, 0, len(content))
        fields = [
            (number, kind, value if isinstance(value, int) else content[slice(*value)]) for number, kind, value in found
        ]
        return cls(fields)

    def encode(self) -> bytes:
        """The bytes that parse() reads."""
        parts = []
        for number, kind, value in self.fields:
            parts.append(_encoded_varint(number << 3 | kind))
            if isinstance(value, int):
                parts.append(_encoded_varint(value))
            else:
                parts.extend((_encoded_varint(len(value)), value) if kind == BYTES else (value,))
        return b"".join(parts)

    def numbers(self, number: int) -> list[int]:
        """Every integer in the field of this number, packed or not."""
        found: list[int] = []
        for value in self._values(number):
            if isinstance(value, int):
                found.append(value)
                continue
            at = 0
            while at < len(value):
                item, at = onnx_file.varint(value, at, len(value))
                found.append(item)
        return found

    def blobs(self, number: int) -> list[bytes]:
        """Every string or message in the field of this number."""
        return [value for value in self._values(number) if isinstance(value, bytes)]

    def texts(self, number: int) -> list[str]:
        """Every string in the field of this number."""
        return [value.decode("utf-8") for value in self.blobs(number)]

    def text(self, number: int) -> str:
        """The string in the field of this number; empty where it is not there."""
        return next(iter(self.texts(number)), "")

    def add(self, number: int, value: "int | str | bytes | Message") -> "Message":
        """Append a field; returns itself, so that a message can be written in one expression."""
        if isinstance(value, int):
            self.fields.append((number, VARINT, value))
        else:
            self.fields.append((number, BYTES, value if isinstance(value, bytes) else value.encode()))
        return self

    def without(self, *numbers: int) -> "Message":
        """The same message less the fields of these numbers."""
        return Message([item for item in self.fields if item[0] not in numbers])

    def _values(self, number: int) -> list[int | bytes]:
        return [value for found, _, value in self.fields if found == number]


def _encoded_varint(value: int) -> bytes:
    if value < 0:
        raise ValueError(f"{value} is negative: no such number is written here")
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)
