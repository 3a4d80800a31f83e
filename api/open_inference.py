"""The Open Inference Protocol, version 2, as values: a request's bytes to pictures and wishes, answers to bytes.

The image is a tensor of BYTES: encoded pictures, as they are in the binary extension, and as base64 in JSON. What comes
back is `label` and `score`, one for each picture, or `probabilities` of every class; with the `classification`
parameter any of them is the best classes as "<score>:<index>:<label>", as Triton has it. No I/O.
"""

import json
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from json_bodies import MAX_PICTURES, decode
from problems import Problem
from signatures import HEAD_BYTES, kind_of
from uploads import UnusableFile

INPUT = "image"
LABEL, SCORE, PROBABILITIES = "label", "score", "probabilities"
OUTPUTS = (LABEL, SCORE, PROBABILITIES)
EXTENSIONS = ("binary_tensor_data", "classification")
LENGTH = struct.Struct("<I")
LONGEST_NUMBER = 10
# No request waits for a day, and a number of a thousand digits is no time either.
MAX_TIMEOUT_US = 86_400 * 1_000_000

Guesses = Sequence[tuple[str, float]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """An output that is asked for: as it is, or as so many best classes."""

    name: str
    classes: int = 0
    is_binary: bool = False


@dataclass(frozen=True, slots=True)
class InferRequest:
    """What a request asks."""

    id: str
    pictures: list[bytes]
    wanted: list[Wanted]
    timeout_s: float | None

    def top_k(self, classes: int) -> int:
        """Give how many classes an answer has to list, of so many that there are."""
        every = [classes for wanted in self.wanted if wanted.name == PROBABILITIES and not wanted.classes]
        return max([*every, *(min(wanted.classes, classes or wanted.classes) for wanted in self.wanted), 1])


def parse(body: bytes, header_length: str | None) -> InferRequest:
    """Read a request; raises Problem with what is wrong with it."""
    if header_length is not None and not _is_length(header_length):
        raise _malformed(f"Inference-Header-Content-Length={header_length[:40]!r} is no length.")
    end = len(body) if header_length is None else int(header_length)
    try:
        document = json.loads(body[:end])
    except (ValueError, RecursionError):
        raise _malformed(f"The first {min(end, len(body))} bytes are no JSON.") from None
    if not isinstance(document, dict):
        raise _malformed("The request is no JSON object.")
    parameters = _object(document, "parameters")
    told_id = document.get("id", "")
    return InferRequest(
        str(told_id)[:200],
        _pictures(document.get("inputs"), body[end:]),
        _wanted(document.get("outputs"), is_binary=parameters.get("binary_data_output") is True),
        _timeout_s(parameters.get("timeout")),
    )


def _is_length(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= LONGEST_NUMBER


def _pictures(inputs: Any, binary: bytes) -> list[bytes]:
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise _malformed(f"inputs has to be one tensor, {INPUT!r}.")
    [tensor] = inputs
    if tensor.get("datatype") != "BYTES":
        told = str(tensor.get("datatype"))[:40]
        raise _malformed(f"datatype={told!r}: {INPUT!r} is of BYTES, a picture's file each.")
    size = _object(tensor, "parameters").get("binary_data_size")
    found = _from_json(tensor.get("data")) if size is None else list(_elements(binary, size))
    if not 1 <= len(found) <= MAX_PICTURES:
        raise _malformed(f"{len(found)} pictures: a request has 1 to {MAX_PICTURES}.")
    _check_shape(tensor.get("shape"), len(found))
    return found


def _check_shape(shape: Any, count: int) -> None:
    if not isinstance(shape, list) or not all(type(side) is int and 0 <= side <= MAX_PICTURES for side in shape):
        raise _malformed(f"shape={str(shape)[:80]} is no list of whole numbers up to {MAX_PICTURES}.")
    product = 1
    for side in shape[:8]:
        product *= side
    if product != count:
        raise _malformed(f"shape={str(shape)[:80]} is not that of {count} pictures.")


def _from_json(data: Any) -> list[bytes]:
    # Nested lists are allowed in row-major order.
    while isinstance(data, list) and data and all(isinstance(each, list) for each in data):
        data = [each for row in data for each in row]
    if not isinstance(data, list):
        raise _malformed("data is no list of base64 strings.")
    return [_from_text(each) for each in data]


def _from_text(text: Any) -> bytes:
    try:
        return decode(text)
    except UnusableFile as error:
        raise _malformed(str(error)) from None


def _elements(binary: bytes, size: Any) -> Iterator[bytes]:
    """Take a tensor of BYTES apart: each element after its length in four bytes."""
    if type(size) is not int or size != len(binary):
        raise _malformed(f"binary_data_size={str(size)[:40]}, and {len(binary)} bytes follow the JSON.")
    position = 0
    while position < len(binary):
        start = position + LENGTH.size
        length = LENGTH.unpack_from(binary, position)[0] if start <= len(binary) else len(binary)
        position = start + length
        if position > len(binary):
            raise _malformed(f"An element of {length} bytes does not fit into the {len(binary)} of the tensor.")
        data = binary[start:position]
        # Some clients send base64 here, too.
        yield data if kind_of(data[:HEAD_BYTES]) else _decoded_or_as_is(data)


def _decoded_or_as_is(data: bytes) -> bytes:
    try:
        decoded = decode(data.decode("ascii"))
    except (UnicodeDecodeError, UnusableFile):
        return data
    return decoded if kind_of(decoded[:HEAD_BYTES]) else data


def _wanted(outputs: Any, *, is_binary: bool) -> list[Wanted]:
    if not outputs:
        return [Wanted(LABEL, is_binary=is_binary), Wanted(SCORE, is_binary=is_binary)]
    if not isinstance(outputs, list) or len(outputs) > len(OUTPUTS):
        raise _malformed(f"outputs is no list of up to {len(OUTPUTS)} of {', '.join(OUTPUTS)}.")
    return [_output(each, is_binary) for each in outputs]


def _output(told: Any, is_binary: bool) -> Wanted:
    if not isinstance(told, dict) or told.get("name") not in OUTPUTS:
        raise _malformed(f"output {str(told)[:80]}: there are {', '.join(OUTPUTS)}.")
    parameters = _object(told, "parameters")
    classes = parameters.get("classification", 0)
    if type(classes) is not int or not 0 <= classes <= 1000:
        raise _malformed(f"classification={str(classes)[:40]} is no number of classes from 1 to 1000.")
    return Wanted(told["name"], classes, parameters.get("binary_data", is_binary) is True)


def _timeout_s(told: Any) -> float | None:
    """Read Triton's own timeout, in microseconds."""
    return min(told, MAX_TIMEOUT_US) / 1_000_000 if type(told) is int and told > 0 else None


def _object(holder: dict[str, Any], key: str) -> dict[str, Any]:
    found = holder.get(key, {})
    if not isinstance(found, dict):
        raise _malformed(f"{key} is no JSON object.")
    return found


def answer(
    request: InferRequest, model: str, version: str, answers: Sequence[Guesses], labels: Sequence[str]
) -> tuple[bytes, int | None]:
    """Give the body of an answer, and the length of the JSON in it where binary tensors follow."""
    tail: list[bytes] = []
    document = {
        "model_name": model,
        "model_version": version,
        **({"id": request.id} if request.id else {}),
        "outputs": [_tensor(wanted, answers, labels, tail) for wanted in request.wanted],
    }
    head = json.dumps(document, ensure_ascii=False, allow_nan=False).encode()
    return b"".join([head, *tail]), len(head) if tail else None


def _tensor(wanted: Wanted, answers: Sequence[Guesses], labels: Sequence[str], tail: list[bytes]) -> dict[str, Any]:
    datatype, shape, values = _values(wanted, answers, labels)
    tensor: dict[str, Any] = {"name": wanted.name, "datatype": datatype, "shape": shape}
    if not wanted.is_binary:
        return tensor | {"data": values}
    data = (
        struct.pack(f"<{len(values)}f", *values)
        if datatype == "FP32"
        else b"".join(LENGTH.pack(len(text)) + text for text in (value.encode() for value in values))
    )
    tail.append(data)
    return tensor | {"parameters": {"binary_data_size": len(data)}}


def _values(wanted: Wanted, answers: Sequence[Guesses], labels: Sequence[str]) -> tuple[str, list[int], list[Any]]:
    count = len(answers)
    if wanted.classes:
        rows = [_classified(guesses[: wanted.classes], labels) for guesses in answers]
        return "BYTES", [count, len(rows[0])], [text for row in rows for text in row]
    if wanted.name == LABEL:
        return "BYTES", [count], [guesses[0][0] for guesses in answers]
    if wanted.name == SCORE:
        return "FP32", [count], [guesses[0][1] for guesses in answers]
    return "FP32", [count, len(labels)], [score for guesses in answers for score in _vector(guesses, labels)]


def _classified(guesses: Guesses, labels: Sequence[str]) -> list[str]:
    return [f"{score:.6f}:{index}:{label}" for index, (label, score) in _indexed(guesses, labels)]


def _vector(guesses: Guesses, labels: Sequence[str]) -> list[float]:
    vector = [0.0] * len(labels)
    for index, (_, score) in _indexed(guesses, labels):
        if index >= 0:
            vector[index] = score
    return vector


def _indexed(guesses: Guesses, labels: Sequence[str]) -> Iterator[tuple[int, tuple[str, float]]]:
    """Give each class with its place among all; of two by one name, the likelier one takes the first place."""
    places: dict[str, list[int]] = {}
    for place, label in enumerate(labels):
        places.setdefault(label, []).append(place)
    for guess in guesses:
        left = places.get(guess[0], [])
        yield left.pop(0) if left else -1, guess


def _malformed(detail: str) -> Problem:
    return Problem(400, "malformed", detail)
