import struct

import pytest

from inference import containers
from inference.errors import IMAGE_BROKEN, IMAGE_TOO_LARGE, ImageError
from sightline_testing import pictures

KINDS = {"png": "PNG", "gif": "GIF", "bmp": "BMP", "webp": "WEBP"}
NAMES = [name for name in pictures.GOOD_NAMES if name.rpartition(".")[2] in KINDS]


def kind_of(name: str) -> str:
    return KINDS[name.rpartition(".")[2]]


def refusal(kind: str, content: bytes) -> str:
    with pytest.raises(ImageError) as caught:
        containers.first_picture(kind, content)
    return caught.value.code


@pytest.mark.parametrize("name", NAMES)
def test_the_size_is_read_from_the_header(name: str) -> None:
    size, _ = containers.first_picture(kind_of(name), pictures.good(name).content)
    assert size == (480, 360)


@pytest.mark.parametrize("name", NAMES)
def test_a_header_cut_off_is_broken(name: str) -> None:
    for length in range(12, 30):
        assert refusal(kind_of(name), pictures.good(name).content[:length]) == IMAGE_BROKEN


def test_a_png_keeps_only_what_makes_its_picture() -> None:
    extra = b"".join(pictures.png_chunk(kind, b"?") for kind in (b"tEXt", b"iCCP", b"acTL", b"gAMA"))
    bare = pictures.png((4, 4), 8, 0, bytes(16))
    assert containers.first_picture("PNG", pictures.png((4, 4), 8, 0, bytes(16), extra))[1] == bare
    assert containers.first_picture("PNG", bare)[1] is bare


def test_a_chunk_that_goes_beyond_the_file_is_a_truncation() -> None:
    content = pictures.good("colour.png").content
    lying = content.replace(struct.pack(">I", 13) + b"IHDR", struct.pack(">I", 2**31) + b"IHDR")
    assert refusal("PNG", lying) == IMAGE_BROKEN


def test_no_png_is_walked_for_ever() -> None:
    chunks = pictures.png_chunk(b"tEXt", b"") * 100_000
    assert refusal("PNG", pictures.png((4, 4), 8, 0, bytes(16), chunks)) == IMAGE_TOO_LARGE


def gif_with(extensions: bytes) -> bytes:
    content = pictures.good("still.gif").content
    begin = 13 + (3 << (content[10] & 7) + 1)
    return content[:begin] + extensions + content[begin:]


@pytest.mark.parametrize("extensions", [b"!\xfe\0" * 100_000, b"!\xfe" + b"\x01?" * 100_000 + b"\0"])
def test_no_gif_is_walked_for_ever(extensions: bytes) -> None:
    assert refusal("GIF", gif_with(extensions)) == IMAGE_TOO_LARGE


def test_a_gif_keeps_only_what_makes_its_picture() -> None:
    _, bare = containers.first_picture("GIF", gif_with(b"!\xfe\x05hello\0"))
    assert bare == containers.first_picture("GIF", pictures.good("still.gif").content)[1]


def test_a_frame_larger_than_its_gif_is_what_counts() -> None:
    content = bytearray(pictures.good("still.gif").content)
    frame = content.index(b",", 13 + 3 * 256)
    content[frame + 5 : frame + 9] = struct.pack("<HH", 60_000, 60_000)
    size, _ = containers.first_picture("GIF", bytes(content))
    assert size == (60_000, 60_000)


def test_a_run_length_bmp_is_taken_while_it_is_small() -> None:
    header = struct.pack("<IiiHHIIiiII", 40, 8, 8, 1, 8, 1, 0, 0, 0, 0, 0)
    small = b"BM" + bytes(12) + header
    assert containers.first_picture("BMP", small) == ((8, 8), small)
    assert refusal("BMP", small + bytes(containers.MAX_RUN_LENGTH_BYTES)) == IMAGE_TOO_LARGE


def test_a_bmp_stored_from_the_top_has_its_height() -> None:
    header = struct.pack("<IiiHHIIiiII", 40, 8, -9, 1, 24, 0, 0, 0, 0, 0, 0)
    assert containers.first_picture("BMP", b"BM" + bytes(12) + header)[0] == (8, 9)
    old = struct.pack("<IHHHH", 12, 8, 9, 1, 24)
    assert containers.first_picture("BMP", b"BM" + bytes(12) + old)[0] == (8, 9)


def webp_of(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for kind, data in chunks)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


CANVAS = (b"VP8X", bytes((2, 0, 0, 0, 7, 0, 0, 7, 0, 0)))
FRAME = bytes(16)


@pytest.mark.parametrize(
    "chunks",
    [
        [(b"none", b"")] * containers.MAX_CHUNKS,
        [(b"odd ", b"x")] * containers.MAX_CHUNKS,
        [(b"ANMF", FRAME + b"none\0\0\0\0" * containers.MAX_CHUNKS)],
        [(b"ANMF", FRAME)] * containers.MAX_CHUNKS,
    ],
    ids=["empty", "odd", "inside a frame", "frames"],
)
def test_no_webp_has_chunks_without_end(chunks: list[tuple[bytes, bytes]]) -> None:
    assert refusal("WEBP", webp_of(CANVAS, *chunks)) == IMAGE_TOO_LARGE
    assert containers.first_picture("WEBP", webp_of(CANVAS, *chunks[:-1]))[0] == (8, 8)


def test_frames_within_frames_are_counted_once() -> None:
    nested = b""
    for _ in range(2_000):
        nested = FRAME + b"ANMF" + struct.pack("<I", len(nested)) + nested
    assert containers.first_picture("WEBP", webp_of(CANVAS, (b"ANMF", nested)))[0] == (8, 8)
