import hashlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.datastructures import FileStorage

import utils
from sightline_testing import sample_images


@pytest.mark.parametrize("extension", ["png", "jpg", "jpeg", "gif", "webp", "bmp", "PNG", "Jpg", "JPEG"])
def test_an_image_s_extension_is_allowed_in_any_case(extension: str) -> None:
    assert utils.allowed_file(f"dog.{extension}")


@pytest.mark.parametrize("name", ["/srv/images/dog.jpg", "../dog.png", "a.b/dog.gif", "dog.tar.jpeg", "C:\\dog.jpg"])
def test_a_path_before_the_name_changes_nothing(name: str) -> None:
    assert utils.allowed_file(name)


@pytest.mark.parametrize(
    "name", ["", "jpg", "dog", "dog.", "dog.txt", "dog.jpg.exe", "dog.jpg ", "jpg/dog", "a.jpg/dog"]
)
def test_anything_else_is_not_allowed(name: str) -> None:
    assert not utils.allowed_file(name)


def test_the_hash_name_is_the_content_s_md5_with_the_original_extension() -> None:
    file = FileStorage(io.BytesIO(b"the content"), "some/where/dog.jpeg")
    assert utils.get_file_hash(file) == hashlib.md5(b"the content", usedforsecurity=False).hexdigest() + ".jpeg"


@given(content=st.binary(), read_before=st.integers(0, 8))
def test_the_stream_is_at_its_start_afterwards_wherever_it_was(content: bytes, read_before: int) -> None:
    file = FileStorage(io.BytesIO(content), "dog.png")
    file.stream.read(read_before)
    name = utils.get_file_hash(file)
    assert name == hashlib.md5(content, usedforsecurity=False).hexdigest() + ".png"
    assert file.stream.read() == content


@given(name=st.text())
def test_the_hash_name_never_holds_a_directory(name: str) -> None:
    assert "/" not in utils.get_file_hash(FileStorage(io.BytesIO(b""), name))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("JPEG", utils.JPEG),
        ("PNG", utils.PNG),
        ("GIF", utils.GIF),
        ("BMP", utils.BMP),
        ("WEBP", utils.WEBP),
        ("HEIF", utils.HEIC),
        ("AVIF", utils.AVIF),
        ("TIFF", utils.TIFF),
    ],
)
def test_each_kind_is_told_by_its_first_bytes(kind: str, expected: utils.Kind) -> None:
    content = sample_images.encode(sample_images.scene(32, 24), kind)
    assert utils.kind_of(content[: utils.HEAD_BYTES]) == expected


@pytest.mark.parametrize(
    ("brands", "expected"),
    [
        ((b"heic", b"mif1"), utils.HEIC),
        ((b"heix",), utils.HEIC),
        ((b"mif1", b"heic", b"miaf"), utils.HEIC),
        ((b"mif1", b"miaf", b"avif"), utils.AVIF),
        ((b"msf1", b"hevc"), utils.HEIC),
        ((b"avis", b"msf1"), utils.AVIF),
        ((b"heic", b"avif"), utils.HEIC),
        ((b"isom", b"heic"), None),
        ((b"crx ", b"isom"), None),
    ],
)
def test_heic_and_avif_are_told_by_their_brands(brands: tuple[bytes, ...], expected: utils.Kind | None) -> None:
    first, *others = brands
    box = b"ftyp" + first + bytes(4) + b"".join(others)
    # What follows the box is none of its brands.
    head = (len(box) + 4).to_bytes(4, "big") + box + b"avifheic" * 9
    assert utils.kind_of(head[: utils.HEAD_BYTES]) == expected


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xd8", b"GIF90a", b"RIFF\0\0\0\0WAVE", b"RIFF\0\0\0\0", b"<svg>", b"II+\0", b"\0\0\0\x18ftypisom"],
)
def test_anything_else_is_no_image_of_ours(content: bytes) -> None:
    assert utils.kind_of(content) is None
