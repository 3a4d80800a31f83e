"""JSON read piece by piece: the same documents as ever, and nothing that costs more than its bytes."""

import base64
import json
import random
import tracemalloc
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest

from images import json_stream, uploads
from images.json_stream import LongString, MalformedJson, read
from problems import UnusableFile

IMAGE = bytes(range(256)) * 36 + b"x"
MIB = 1024**2
# A few pieces, and what a document may have besides its images.
SOON = 2 * json_stream.READ_BYTES


class Pieces:
    """A stream that returns pieces of any length."""

    def __init__(self, body: bytes, lengths: random.Random) -> None:
        self._body = BytesIO(body)
        self._lengths = lengths

    def read(self, size: int) -> bytes:
        return self._body.read(min(size, self._lengths.choice([1, 2, 5, 7, 100, 3999, 4001, 70_000])))


def in_text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def plain(document: Any) -> Any:
    """Give a document with its long strings as text again."""
    if isinstance(document, LongString):
        return in_text(document.content)
    if isinstance(document, dict):
        return {name: plain(value) for name, value in document.items()}
    return [plain(each) for each in document] if isinstance(document, list) else document


@pytest.mark.parametrize("seed", range(40))
def test_a_document_is_the_same_however_it_is_cut_and_escaped(seed: int) -> None:
    choices = random.Random(seed)  # noqa: S311  for a test to choose by
    sizes = [
        choices.choice([0, 1, 2, 3, 1498, 1499, 1500, 1501, 1502, 1503, 9_000]) for _ in range(choices.randrange(5))
    ]
    document: dict[str, Any] = {
        "images": [in_text(choices.randbytes(size)) for size in sizes],
        'a "quoted\\" name': 'x\\"y\u00e9\U0001f600' * choices.randrange(50),
        "others": [1, -2.5e3, None, True, [], {}, "\\", '"'],
    }
    body = json.dumps(document, ensure_ascii=choices.random() < 0.5, indent=choices.choice([None, 2])).encode()
    if choices.random() < 0.5:
        body = body.replace(b"/", b"\\/").replace(b"+", choices.choice([b"\\u002B", b"\\u002b", b"+"]))
    assert plain(json_stream.read(Pieces(body, choices))) == document  # type: ignore[arg-type]


def test_a_data_url_is_what_it_holds() -> None:
    body = json.dumps({"image": f"data:image/jpeg;base64,{in_text(IMAGE)}"}).encode()
    assert json_stream.read(BytesIO(body))["image"].content == IMAGE


def test_a_document_ends_where_it_is_told_to() -> None:
    stream = BytesIO(b'{"a": 1}' + IMAGE)
    assert json_stream.read(stream, 8) == {"a": 1}
    assert stream.read() == IMAGE


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "Expecting value"),
        (b'{"image": "' + b"A" * 10_000, "within a string"),
        (b'{"image": "' + b"A" * 10_001 + b'"}', "not base64"),
        (b'{"image": "' + b"A" * 10_000 + b"=" + b'"}', "not base64"),
        (b'{"image": "' + b"A" * 9_998 + b"==\\nAAAA" + b'"}', "not base64"),
        (b'{"image": "' + b"A" * 9_998 + b"*/" + b'"}', "not base64"),
        (b'{"image": "' + b"AAA=" * 2_500 + b'"}', "not base64"),
        (b'{"image": "' + b"AA==" + b"A" * 10_000 + b'"}', "not base64"),
        (b'{"image": "' + b"A" * 70_000 + b"=" * 10_000 + b'"}', "not base64"),
        (b'{"image": "' + b"A" * 10_000 + b'\\""}', "not base64"),
        (b'{"image": "' + b"A" * 10_000 + b"\\u00e9" + b'"}', "not base64"),
        (b'{"image": "' + b"A" * 10_000 + b"\xff\xff\xff\xff" + b'"}', "not base64"),
        (b'{"image": "' + b"A" * 10_000 + b'"} x', "Extra data"),
        (b'{"image": NaN}', "outside of any string"),
        (b'{"image": Infinity}', "Infinity"),
        (b'{"image": -Infinity}', "Infinity"),
        (b'{"image": "\xff"}', "UTF-8"),
        (b'{"image": "\xed\xa0\x80"}', "UTF-8"),
        (json.dumps({"image": ""}).encode("utf-16"), "UTF-8"),
        (json.dumps({"image": ""}).encode("utf-32-le"), "UTF-8"),
        (json.dumps({"image": "A" * 10_000}).encode("utf-16"), "UTF-8"),
        (json.dumps({"image": "A" * 10_000}).encode("utf-16-be"), "UTF-8"),
        (json.dumps({"image": "A" * 10_000}).encode("utf-32"), "UTF-8"),
        (b'{"image": ' + b"1" * 5_000 + b"}", "limit"),
        (b"[" * 4_000, "too deep"),
        (b"[" * 10_000, "brackets"),
    ],
)
def test_what_is_no_document_is_told(body: bytes, told: str) -> None:
    with pytest.raises(MalformedJson, match=told):
        json_stream.read(BytesIO(body))


@pytest.mark.parametrize(
    "unit",
    [
        *(b"{},", b'"",', b"1,", b'"image":"",', b"[", b"[[],[]],", b"1", b" ", b"\n", b"\0", b"\xff", b"-", b"tru"),
        *(b'"\\"",', b'"' + b"a" * 1_900 + b'",', b'"' + b"\\u00e9" * 300 + b'",'),
        *('{"a":"é"},'.encode(encoding) for encoding in ("utf-8", "utf-16-le", "utf-32-be")),
        *(b'"' + b"\\\\" * 3_000, b'"' + b'\\"' * 3_000, b'"' + b"=" * 6_000, b'"' + b"," * 6_000),
    ],
)
def test_a_bomb_is_refused_once_a_few_pieces_of_it_are_read(unit: bytes) -> None:
    bomb = BytesIO(b'{"images":[' + unit * (8 * MIB // len(unit)))
    with pytest.raises(MalformedJson):
        json_stream.read(bomb)
    assert bomb.tell() <= SOON


@pytest.mark.parametrize("slash", ["/", "\\/"])
def test_no_more_than_the_images_is_in_memory(slash: str) -> None:
    content = bytes(range(256)) * (8 * MIB // 256)
    body = BytesIO(json.dumps({"image": in_text(content)}).replace("/", slash).encode())
    tracemalloc.start()
    try:
        document = json_stream.read(body)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert document["image"].content == content
    assert most < 10 * MIB


def test_a_long_string_is_named_in_few_words() -> None:
    assert repr(LongString(bytes(20 * MIB))) == f"<base64 of {20 * MIB} bytes>"


def test_a_small_document_is_bounded_too() -> None:
    assert json_stream.loads(b'\xef\xbb\xbf{"a": "b"}') == {"a": "b"}
    for body in (b"[" * 5_000, b" " * 70_000, b"NaN", b'"\xff"', b"{"):
        with pytest.raises(MalformedJson):
            json_stream.loads(body)


def wrapped(width: int, end: str) -> Callable[[bytes], str]:
    """Encode as encoders that break lines do."""

    def encode(content: bytes) -> str:
        text = in_text(content)
        return "".join(text[at : at + width] + end for at in range(0, len(text), width))

    return encode


ENCODERS: dict[str, Callable[[bytes], str]] = {
    "Python's encodebytes": lambda content: base64.encodebytes(content).decode(),
    "Android's default": wrapped(76, "\n"),
    "MIME": wrapped(76, "\r\n"),
    "PEM": wrapped(64, "\r\n"),
    "URL-safe": lambda content: base64.urlsafe_b64encode(content).decode(),
    "unpadded": lambda content: in_text(content).rstrip("="),
    "JSON Web Key": lambda content: base64.urlsafe_b64encode(content).decode().rstrip("="),
    "URL-safe in lines": lambda content: wrapped(76, "\n")(content).translate(str.maketrans("+/", "-_")).rstrip("=\n"),
    "blanks around": lambda content: f"  {in_text(content)}\n",
}


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("size", [0, 1, 2, 3, 100, 1_499, 5_000, 5_001, 5_002, 400_000])
@pytest.mark.parametrize("head", ["", "data:image/jpeg;base64,"])
def test_base64_is_read_as_encoders_write_it(encoder: str, size: int, head: str) -> None:
    content = (bytes(range(251)) * (size // 251 + 1))[:size]
    text = head + ENCODERS[encoder](content)
    for document in (json.dumps({"image": text}), json.dumps({"image": text}).replace("/", "\\/")):
        found = read(BytesIO(document.encode()))["image"]
        assert uploads.decode_base64(found) == content


@pytest.mark.parametrize("text", ["A", "AAAAA", "====", "=", "AA=A", "AA==AA==", "A*==", "\u00e9AAA", "AAA\u2028="])
def test_what_no_encoder_writes_is_no_base64(text: str) -> None:
    with pytest.raises(UnusableFile):
        uploads.decode_base64(text)
