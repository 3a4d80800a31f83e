import pytest

from images import sniffing
from sightline_testing import pictures


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("JPEG", sniffing.JPEG),
        ("PNG", sniffing.PNG),
        ("GIF", sniffing.GIF),
        ("BMP", sniffing.BMP),
        ("WEBP", sniffing.WEBP),
    ],
)
def test_each_kind_is_told_by_its_first_bytes(kind: str, expected: sniffing.Kind) -> None:
    content = pictures.encode(pictures.scene(32, 24), kind)
    assert sniffing.kind_of(content[: sniffing.HEAD_BYTES]) == expected


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xd8", b"GIF90a", b"RIFF\0\0\0\0WAVE", b"RIFF\0\0\0\0", b"<svg>", b"II*\0", b"\0\0\0\x18ftypheic"],
)
def test_anything_else_is_no_picture_of_ours(content: bytes) -> None:
    assert sniffing.kind_of(content) is None
