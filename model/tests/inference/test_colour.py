"""Colour profiles and gamma: the model gets the colours that a browser shows."""

import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from inference import colour
from inference.arrays import Pixels
from inference.preprocessing import Preprocessing
from sightline_testing.profiles import SPACES, WIDE, in_space, profile
from sightline_testing.sample_images import FAST_HEIC, encode, png_chunk, scene

PREPROCESSING = Preprocessing("stretch", 1.0, (96, 128), "area", "RGB", (0, 0, 0), (1, 1, 1), "NCHW")
ENCODERS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 97, "subsampling": "4:4:4"},
    "PNG": {},
    "WEBP": {"lossless": True},
    "TIFF": {},
    "AVIF": {"quality": 97, "speed": 10, "subsampling": "4:4:4"},
    "HEIF": {**FAST_HEIC, "chroma": 444},
}


def prepared(content: bytes) -> Pixels:
    out = np.empty((96, 128, 3), np.uint8)
    PREPROCESSING.prepare(content, out)
    return out


def image() -> Image.Image:
    """Vivid colours, with some grain."""
    shade = Image.linear_gradient("L").resize((128, 96))
    return Image.merge("RGB", (shade, shade.transpose(Image.Transpose.ROTATE_180), scene(128, 96).convert("L")))


def difference(content: bytes, other: bytes) -> float:
    return float(np.abs(prepared(content).astype(int) - prepared(other)).mean())


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("space", WIDE)
def test_an_image_of_a_wide_space_has_the_colours_of_its_srgb_form(kind: str, space: str) -> None:
    options = ENCODERS[kind]
    plain, wide = (encode(each, kind, **options) for each in (image(), in_space(image(), space)))
    described = encode(in_space(image(), space), kind, icc_profile=profile(space), **options)
    assert difference(described, plain) < difference(wide, plain) / 2
    assert difference(described, plain) < 3


@pytest.mark.parametrize("kind", ENCODERS)
def test_a_profile_of_srgb_changes_nothing(kind: str) -> None:
    options = ENCODERS[kind]
    assert (
        difference(encode(image(), kind, icc_profile=profile("sRGB"), **options), encode(image(), kind, **options)) == 0
    )


def test_a_profile_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encode(image(), "JPEG", icc_profile=profile("sRGB"))
    prepared(content)
    monkeypatch.setattr(colour, "_made", lambda _: pytest.fail("made again"))
    prepared(content)


def test_so_many_profiles_are_known_and_no_more() -> None:
    for number in range(3 * colour.MAX_KNOWN):
        colour.to_srgb(prepared(encode(image(), "PNG")), profile("ProPhoto") + bytes((number,)), 0)
    assert len(colour._known) == colour.MAX_KNOWN


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize(
    "damaged",
    [
        b"no profile",
        profile("ProPhoto")[:300],
        profile("ProPhoto")[:16] + b"CMYK" + profile("ProPhoto")[20:],
        profile("ProPhoto")[:16] + b"GRAY" + profile("ProPhoto")[20:],
        profile("ProPhoto")[:128] + bytes(len(profile("ProPhoto")) - 128),
    ],
)
def test_a_profile_that_cannot_be_used_is_passed_over(kind: str, damaged: bytes) -> None:
    options = ENCODERS[kind]
    assert difference(encode(image(), kind, icc_profile=damaged, **options), encode(image(), kind, **options)) == 0


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_a_profile_of_colours_describes_neither_greys_nor_inks(mode: str) -> None:
    other = image().convert(mode)
    for kind in ("JPEG", "TIFF"):
        assert difference(encode(other, kind, icc_profile=profile("ProPhoto")), encode(other, kind)) == 0


def test_a_profile_in_several_segments_is_joined() -> None:
    long = profile("Adobe RGB") + bytes(150_000)
    plain = encode(image(), "JPEG", quality=97)
    described = encode(in_space(image(), "Adobe RGB"), "JPEG", quality=97, icc_profile=long)
    assert difference(described, plain) < 3


@pytest.mark.parametrize("edit", ["check sum", "method", "name", "too long"])
def test_a_png_is_read_without_a_profile_that_is_damaged(edit: str) -> None:
    packed = zlib.compress(profile("ProPhoto"))
    body = {
        "method": b"name\0\1" + packed,
        "name": b"n" * 90 + b"\0\0" + packed,
        "too long": b"name\0\0" + zlib.compress(bytes(2_000_000)),
    }.get(edit, b"name\0\0" + packed)
    chunk = png_chunk(b"iCCP", body)
    if edit == "check sum":
        chunk = chunk[:-4] + b"\0\0\0\0"
    plain = encode(image(), "PNG")
    assert difference(plain[:33] + chunk + plain[33:], plain) == 0


def with_gamma(content: bytes, gamma: float, *others: bytes) -> bytes:
    chunk = png_chunk(b"gAMA", struct.pack(">I", round(gamma * 100_000)))
    return content[:33] + b"".join(others) + chunk + content[33:]


@pytest.mark.parametrize("gamma", [1.0, 1 / 1.8, 1 / 3])
def test_the_gamma_of_a_png_counts(gamma: float) -> None:
    plain = encode(image(), "PNG")
    stored = encode(image().point([round(255 * (value / 255) ** (2.2 * gamma)) for value in range(256)] * 3), "PNG")
    assert difference(stored, plain) > 5
    assert difference(with_gamma(stored, gamma), plain) < 1.5
    # An image that is declared as sRGB is sRGB.
    assert difference(with_gamma(stored, gamma, png_chunk(b"sRGB", b"\0")), stored) == 0


@pytest.mark.parametrize("gamma", [0, 0.45455, 0.46, 0.001, 20_000])
def test_a_usual_or_senseless_gamma_changes_nothing(gamma: float) -> None:
    plain = encode(image(), "PNG")
    assert difference(with_gamma(plain, gamma), plain) == 0


def test_there_are_profiles_of_four_spaces() -> None:
    assert {colour._transform(profile(each)) is None for each in WIDE} == {False}
    assert len(SPACES) == 1 + len(WIDE)
