"""The Open Inference Protocol, version 2, as values: a request's bytes to images and options, predictions to bytes.

The image is a tensor of BYTES: encoded images, as they are in the binary extension, and as base64 in JSON. The outputs
are `label` and `score`, one for each image, or `probabilities` of every class; with the `classification`
parameter any of them is the best classes as "<score>:<index>:<label>", as Triton has it. A request is read piece by
piece, and its own figures (lengths, counts, shapes) is checked before more of it is read. No sockets, no disk.
"""

import binascii
import json
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import IO, Any

import problems
from images import json_stream
from images.json_stream import Base64Decoder, Collector, MalformedJson
from images.multipart import MAX_IMAGES
from images.uploads import decode_base64
from problems import Problem, UnusableFile
from utils import HEAD_BYTES, kind_of

INPUT = "image"
LABEL, SCORE, PROBABILITIES = "label", "score", "probabilities"
OUTPUTS = (LABEL, SCORE, PROBABILITIES)
EXTENSIONS = (
    *("binary_tensor_data", "classification", "model_configuration", "model_repository(index)", "statistics"),
)
LENGTH = struct.Struct("<I")
# Enough for the head of a data URL and the first bytes of an image.
BASE64_HEAD_BYTES = 256
_LENGTH_TEXT = re.compile("[0-9]{1,10}")
# No request waits for a day, and a number of a thousand digits is no time either.
MAX_TIMEOUT_US = 86_400 * 1_000_000

# The classes of one image with their scores, best first.
Classes = Sequence[tuple[str, float]]


@dataclass(frozen=True, slots=True)
class RequestedOutput:
    """A requested output: as it is, or as the text of so many best classes."""

    name: str
    classes: int = 0
    is_binary: bool = False


@dataclass(frozen=True, slots=True)
class InferRequest:
    """A parsed request."""

    id: str
    images: list[bytes]
    outputs: list[RequestedOutput]
    timeout_s: float | None

    @property
    def needs_labels(self) -> bool:
        """Return whether an answer names classes by their index among all."""
        return any(output.classes or output.name == PROBABILITIES for output in self.outputs)

    @property
    def needs_every_class(self) -> bool:
        """Return whether an answer lists the scores of all classes."""
        return any(output.name == PROBABILITIES and not output.classes for output in self.outputs)

    def top_k(self, classes: int) -> int:
        """Return how many classes an answer has to list, of so many that there are."""
        every = [classes] if self.needs_every_class else []
        return max([*every, *(min(output.classes, classes or output.classes) for output in self.outputs), 1])


def parse(body: IO[bytes] | bytes, header_length: str | None) -> InferRequest:
    """Read a request, a stream or bytes, no further than needed; raise Problem with what is wrong with it."""
    if header_length is not None and not _LENGTH_TEXT.fullmatch(header_length):
        raise _malformed(f"Inference-Header-Content-Length={header_length[:40]!r} is no length.")
    stream = BytesIO(body) if isinstance(body, bytes) else body
    try:
        document = json_stream.read(stream, None if header_length is None else int(header_length))
    except MalformedJson as error:
        raise _malformed(f"The request is no JSON that can be used: {error}.") from None
    if not isinstance(document, dict):
        raise _malformed("The request is no JSON object.")
    parameters = _object(document, "parameters")
    outputs = _outputs(document.get("outputs"), is_binary=parameters.get("binary_data_output") is True)
    return InferRequest(
        _id(document.get("id")),
        _images(document.get("inputs"), stream),
        outputs,
        _timeout_s(parameters.get("timeout")),
    )


def _id(text: Any) -> str:
    if text is None:
        return ""
    if not isinstance(text, str):
        raise _malformed(f"id={str(text)[:40]} is no string of up to {json_stream.MAX_SHORT_STRING} characters.")
    # Lone surrogates cannot be written as UTF-8.
    return text.encode("utf-8", "replace").decode()


def _images(inputs: Any, stream: IO[bytes]) -> list[bytes]:
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise _malformed(f"inputs has to be one tensor, {INPUT!r}.")
    [tensor] = inputs
    if tensor.get("name") != INPUT:
        raise _malformed(f"name={str(tensor.get('name'))[:40]!r}: the model's only input is {INPUT!r}.")
    if tensor.get("datatype") != "BYTES":
        datatype = str(tensor.get("datatype"))[:40]
        raise _malformed(f"datatype={datatype!r}: {INPUT!r} is of BYTES, an image's file each.")
    size = _object(tensor, "parameters").get("binary_data_size")
    if size is not None:
        if tensor.get("data") is not None:
            raise _malformed(f"{INPUT!r} has both data and binary_data_size; send one of them.")
        elements = list(_elements(stream, size))
        _check_shape(tensor.get("shape"), len(elements))
        return elements
    data = _flat(tensor.get("data"))
    _check_shape(tensor.get("shape"), len(data))
    try:
        return [decode_base64(each) for each in data]
    except UnusableFile as error:
        raise _malformed(str(error)) from None


def _check_shape(shape: Any, count: int) -> None:
    if not 1 <= count <= MAX_IMAGES:
        raise _malformed(f"{count} images: a request has 1 to {MAX_IMAGES}.")
    # As the metadata have it, or with the images as a batch of tensors of one element each.
    if shape not in ([count], [count, 1]) or not all(type(side) is int for side in shape):
        raise _malformed(f"shape={str(shape)[:80]} is not that of {count} images, [{count}] or [{count}, 1].")


def _flat(data: Any) -> list[Any]:
    # Nested lists are allowed in row-major order.
    while isinstance(data, list) and data and all(isinstance(each, list) for each in data):
        data = [each for row in data for each in row]
    if not isinstance(data, list):
        raise _malformed("data is no list of base64 strings.")
    return data


def _elements(stream: IO[bytes], size: Any) -> Iterator[bytes]:
    """Read a tensor of BYTES, each element after its length in four bytes, and no more of them than are allowed."""
    if type(size) is not int or size < 0:
        raise _malformed(f"binary_data_size={str(size)[:40]} is no number of bytes.")
    left, count = size, 0
    while left:
        count += 1
        if count > MAX_IMAGES:
            raise _malformed(f"More than {MAX_IMAGES} images: a request has 1 to {MAX_IMAGES}.")
        length = LENGTH.unpack(b"".join(_next(stream, LENGTH.size)))[0] if left >= LENGTH.size else left
        left -= LENGTH.size + length
        if left < 0:
            raise _malformed(f"An element of {length} bytes does not fit into the {str(size)[:40]} of the tensor.")
        yield _element(stream, length)
    if stream.read(1):
        raise _malformed(f"binary_data_size={str(size)[:40]}, and more bytes follow the JSON.")


def _next(stream: IO[bytes], length: int) -> Iterator[bytes]:
    """Yield exactly so many bytes in pieces."""
    for piece in json_stream.pieces(stream, length):
        length -= len(piece)
        yield piece
    if length:
        raise _malformed(f"binary_data_size has {length} bytes more than follow the JSON.")


def _element(stream: IO[bytes], length: int) -> bytes:
    """Read an element; where it is base64 of an image, as some clients send, return it decoded."""
    head = b"".join(_next(stream, min(length, BASE64_HEAD_BYTES)))
    sink = Base64Decoder() if _is_base64_of_an_image(head) else Collector()
    try:
        sink.feed(head)
        for piece in _next(stream, length - len(head)):
            sink.feed(piece)
        return sink.finish()
    except MalformedJson as error:
        raise _malformed(f"An element begins as base64 of an image, but {error}.") from None


def _is_base64_of_an_image(head: bytes) -> bool:
    text = json_stream.cleaned(head.partition(b",")[2] if head.startswith(b"data:") else head)
    try:
        begin = binascii.a2b_base64(text[: len(text) // 4 * 4])
    except ValueError:
        return False
    return kind_of(head[:HEAD_BYTES]) is None and kind_of(begin[:HEAD_BYTES]) is not None


def _outputs(outputs: Any, *, is_binary: bool) -> list[RequestedOutput]:
    if not outputs:
        return [RequestedOutput(name, is_binary=is_binary) for name in (LABEL, SCORE)]
    if not isinstance(outputs, list) or len(outputs) > len(OUTPUTS):
        raise _malformed(f"outputs is no list of up to {len(OUTPUTS)} of {', '.join(OUTPUTS)}.")
    return [_output(each, is_binary) for each in outputs]


def _output(output: Any, is_binary: bool) -> RequestedOutput:
    if not isinstance(output, dict) or output.get("name") not in OUTPUTS:
        raise _malformed(f"output {str(output)[:80]}: there are {', '.join(OUTPUTS)}.")
    parameters = _object(output, "parameters")
    classes = parameters.get("classification", 0)
    if type(classes) is not int or not 0 <= classes <= 1000:
        raise _malformed(f"classification={str(classes)[:40]} is no number of classes from 1 to 1000.")
    return RequestedOutput(output["name"], classes, parameters.get("binary_data", is_binary) is True)


def _timeout_s(timeout_us: Any) -> float | None:
    """Read Triton's own timeout, in microseconds."""
    return min(timeout_us, MAX_TIMEOUT_US) / 1_000_000 if type(timeout_us) is int and timeout_us > 0 else None


def _object(holder: dict[str, Any], key: str) -> dict[str, Any]:
    found = holder.get(key)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise _malformed(f"{key} is no JSON object.")
    return found


def answer(
    request: InferRequest, model: str, version: str, predictions: Sequence[Classes], labels: Sequence[str]
) -> tuple[bytes, int | None]:
    """Return the body of an answer, and the length of the JSON in it where binary tensors follow."""
    tail: list[bytes] = []
    document = {
        "model_name": model,
        "model_version": version,
        **({"id": request.id} if request.id else {}),
        "outputs": [_tensor(output, predictions, labels, tail) for output in request.outputs],
    }
    head = json.dumps(document, ensure_ascii=False, allow_nan=False).encode()
    return b"".join([head, *tail]), len(head) if tail else None


def _tensor(
    output: RequestedOutput, predictions: Sequence[Classes], labels: Sequence[str], tail: list[bytes]
) -> dict[str, Any]:
    datatype, shape, values = _values(output, predictions, labels)
    tensor: dict[str, Any] = {"name": output.name, "datatype": datatype, "shape": shape}
    if not output.is_binary:
        return tensor | {"data": values}
    data = (
        struct.pack(f"<{len(values)}f", *values)
        if datatype == "FP32"
        else b"".join(LENGTH.pack(len(text)) + text for text in (value.encode() for value in values))
    )
    tail.append(data)
    return tensor | {"parameters": {"binary_data_size": len(data)}}


def _values(
    output: RequestedOutput, predictions: Sequence[Classes], labels: Sequence[str]
) -> tuple[str, list[int], list[Any]]:
    count = len(predictions)
    if output.classes:
        rows = [_classified(classes[: output.classes], labels) for classes in predictions]
        return "BYTES", [count, len(rows[0])], [text for row in rows for text in row]
    if output.name == LABEL:
        return "BYTES", [count], [classes[0][0] for classes in predictions]
    if output.name == SCORE:
        return "FP32", [count], [classes[0][1] for classes in predictions]
    return "FP32", [count, len(labels)], [score for classes in predictions for score in _vector(classes, labels)]


def _classified(classes: Classes, labels: Sequence[str]) -> list[str]:
    return [f"{score:.6f}:{index}:{label}" for index, (label, score) in _indexed(classes, labels)]


def _vector(classes: Classes, labels: Sequence[str]) -> list[float]:
    vector = [0.0] * len(labels)
    for index, (_, score) in _indexed(classes, labels):
        vector[index] = score
    return vector


def _indexed(classes: Classes, labels: Sequence[str]) -> Iterator[tuple[int, tuple[str, float]]]:
    """Yield each class with its index among all; of two by one name, the more likely one takes the first index.

    Raise Problem for a class that is not among them: the answer is of another version of the model.
    """
    places: dict[str, list[int]] = {}
    for place, label in enumerate(labels):
        places.setdefault(label, []).append(place)
    for each in classes:
        left = places.get(each[0])
        if not left:
            detail = "The model was replaced by one with other classes while it answered. Ask again."
            raise Problem(503, "not_ready", detail, retry_after_s=problems.soon())
        yield left.pop(0), each


def _malformed(detail: str) -> Problem:
    return Problem(400, "malformed", detail)
