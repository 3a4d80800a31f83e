import os
import random
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable
from unittest.mock import MagicMock

import numpy as np
import pytest
from PIL import Image

from inference.decode import View, decode, decode_by_pillow
from inference.errors import IMAGE_BROKEN, IMAGE_TOO_LARGE, UNSUPPORTED_TYPE, ImageError
from sightline_testing import pictures
from sightline_testing.hostile import jpegs

VIEW = View(224, 224, 0.875)
WHOLE = View(224, 224, None)
# 25 megapixels, and more cases, take minutes.
FULL = bool(os.environ.get("FULL"))
CODES = {"", IMAGE_BROKEN, IMAGE_TOO_LARGE, UNSUPPORTED_TYPE}


def pixels(content: bytes, view: View = WHOLE) -> np.ndarray:
    return decode(content, view).pixels


def distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(int) - other).mean())


def refusal(content: bytes) -> ImageError:
    with pytest.raises(ImageError) as caught:
        decode(content, VIEW)
    return caught.value


def code_of(content: bytes) -> str:
    """The code that the picture is refused with, empty for pixels."""
    try:
        assert decode(content, VIEW).pixels.shape[2] == 3
    except ImageError as fault:
        return fault.code
    return ""


SCENE = np.asarray(pictures.scene())
GREY_SCENE = np.asarray(pictures.scene().convert("L").convert("RGB"))
PAETH = 4
LOSSLESS = ("colour.png", "colour_16_bit.png", "lossless.webp", "colour.bmp")
LOSSY = (
    "baseline.jpg", "progressive.jpeg", "full_chroma.jpg", "cmyk_inverted.jpg", "ycck.jpg", "with_script_tail.jpg",
    "with_broken_exif.jpg", "palette.png", "still.gif", "animated.gif", "lossy.webp", "animated.webp", "palette.bmp",
)  # fmt: skip


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_colour_comes_out_as_it_went_in(name: str) -> None:
    assert np.array_equal(pixels(pictures.good(name).content), SCENE)


@pytest.mark.parametrize("name", LOSSY)
def test_lossy_colour_comes_out_nearly_as_it_went_in(name: str) -> None:
    assert distance(pixels(pictures.good(name).content), SCENE) < 3


@pytest.mark.parametrize("name", ["grey.png", "grey_16_bit.png"])
def test_grey_becomes_three_equal_channels(name: str) -> None:
    assert np.array_equal(pixels(pictures.good(name).content), GREY_SCENE)


def test_a_grey_jpeg_becomes_three_equal_channels() -> None:
    assert distance(pixels(pictures.good("grey.jpg").content), GREY_SCENE) < 1


@pytest.mark.parametrize("value", [0, 1, 128, 32_768, 65_535])
def test_sixteen_bits_of_grey_are_scaled_and_not_cut_off(value: int) -> None:
    content = pictures.png((4, 4), 16, 0, struct.pack(">H", value) * 16)
    assert np.all(pixels(content) == round(value / 257))


@pytest.mark.parametrize("bits", ["one_bit.png", "one_bit.bmp"])
def test_one_bit_is_black_and_white(bits: str) -> None:
    assert np.array_equal(pixels(pictures.good(bits).content), np.asarray(pictures.scene().convert("1").convert("RGB")))


@pytest.mark.parametrize(
    "name", ["transparent.png", "grey_transparent.png", "transparent.webp", "palette_transparent.png"]
)
def test_what_is_transparent_is_white_whatever_colour_hides_there(name: str) -> None:
    found = pixels(pictures.good(name).content)
    assert np.all(found[:90, :120] == 255)
    expected = GREY_SCENE if name.startswith("grey") else SCENE
    assert distance(found[100:], expected[100:]) < 3


def test_half_transparent_is_mixed_with_white() -> None:
    content = pictures.encode(Image.new("RGBA", (8, 8), (255, 0, 0, 128)), "PNG")
    assert pixels(content)[0, 0].tolist() == [255, 127, 127]


def test_a_transparent_colour_of_an_rgb_png_is_white() -> None:
    key = pictures.png_chunk(b"tRNS", struct.pack(">HHH", 255, 0, 255))
    content = pictures.png((2, 1), 8, 2, bytes((255, 0, 255, 10, 20, 30)), key)
    assert pixels(content).tolist() == [[[255, 255, 255], [10, 20, 30]]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_told_with_the_pixels(orientation: int) -> None:
    assert decode(pictures.turned_jpeg(orientation), VIEW).orientation == orientation


@pytest.mark.parametrize("name", pictures.BAD_NAMES)
def test_a_bad_picture_is_refused_with_its_code(name: str) -> None:
    assert refusal(pictures.bad(name).content).code == pictures.bad(name).code


@pytest.mark.parametrize("name", ["thin.png", "30_megapixels.png", "30_megapixels.webp", "1000_scans.jpg"])
def test_a_bomb_is_refused_before_it_costs_memory(name: str) -> None:
    content = pictures.bad(name).content
    tracemalloc.start()
    try:
        refusal(content)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < len(content) + 100_000


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_cut_off_anywhere_is_never_half_a_picture(progressive: bool) -> None:
    content = pictures.jpeg(96, 72, progressive=progressive)
    for length in range(4, len(content)):
        assert refusal(content[:length]).code == IMAGE_BROKEN, length


@pytest.mark.parametrize(
    "name", ["colour.png", "palette.png", "still.gif", "lossy.webp", "lossless.webp", "colour.bmp"]
)
def test_any_other_format_cut_off_is_never_half_a_picture(name: str) -> None:
    content = pictures.good(name).content
    for length in range(30, len(content) - 8, len(content) // 60):
        assert refusal(content[:length]).code == IMAGE_BROKEN, length


@pytest.mark.parametrize("harmless", ["before a table", "before the end", "after the end"])
def test_stray_bytes_that_cost_no_pixel_are_tolerated(harmless: str) -> None:
    content = pictures.jpeg()
    at = {"before a table": content.index(b"\xff\xdb"), "before the end": -2, "after the end": len(content)}[harmless]
    assert np.array_equal(pixels(content[:at] + b"\0\0\0" + content[at:]), pixels(content))


def test_damage_inside_a_jpeg_is_refused() -> None:
    content = pictures.jpeg()
    middle = len(content) // 2
    assert refusal(content[:middle] + content[middle + 200 :]).code == IMAGE_BROKEN


def test_stray_bytes_do_not_hide_that_the_end_is_missing() -> None:
    content = pictures.jpeg()
    at = content.index(b"\xff\xdb")
    stray = content[:at] + b"\0\0\0" + content[at:]
    assert refusal(stray[: len(stray) * 3 // 4]).code == IMAGE_BROKEN


def test_a_sampling_that_the_fast_decoder_does_not_know_is_left_to_pillow() -> None:
    content = bytearray(pictures.jpeg(subsampling="4:4:4"))
    luma_sampling = content.index(b"\xff\xc0") + 11
    assert content[luma_sampling] == 0x11
    content[luma_sampling] = 0x31
    assert pixels(bytes(content)).shape == (360, 480, 3)


def test_large_jpegs_come_scaled_down_but_never_below_what_the_view_wants() -> None:
    assert pixels(pictures.jpeg(447, 447), WHOLE).shape == (447, 447, 3)
    assert pixels(pictures.jpeg(448, 448), WHOLE).shape == (224, 224, 3)
    assert pixels(pictures.large_jpeg(4032, 3024), VIEW).shape == (336, 336, 3)


@pytest.mark.parametrize(("width", "height"), [(6_400, 4_736), *([(8_064, 8_064)] if FULL else []), (9_984, 9_984)])
def test_baseline_jpegs_of_many_megapixels_are_taken(width: int, height: int) -> None:
    assert min(pixels(pictures.large_jpeg(width, height), VIEW).shape[:2]) >= 224


def test_only_one_sequential_scan_may_have_so_many_pixels() -> None:
    content = bytearray(pictures.large_jpeg(6_400, 4_736))
    # Three scans with one component each: the decoder would have to hold all coefficients of the picture.
    scan = content.index(b"\xff\xda")
    content[scan + 4] = 1
    assert refusal(bytes(content)).code == IMAGE_TOO_LARGE
    progressive = bytes(content).replace(b"\xff\xc0", b"\xff\xc2", 1)
    assert refusal(progressive).code == IMAGE_TOO_LARGE


def test_large_pictures_of_other_formats_are_averaged_down_before_they_are_copied() -> None:
    content = pictures.png((4_000, 3_000), 8, 0, bytes(4_000 * 3_000))
    assert pixels(content, VIEW).shape == (448, 448, 3)


def test_sixty_four_scans_are_taken_and_one_more_is_not() -> None:
    assert refusal(pictures.many_scans_jpeg(65)).code == IMAGE_TOO_LARGE
    # Repeated scans are no valid progression, so that it is the decoder which refuses these.
    assert refusal(pictures.many_scans_jpeg(64)).code == IMAGE_BROKEN


SIDE = 5_000 if FULL else 2_000
FLAT = Image.new("L", (SIDE, SIDE), 99)
FLAT_IMAGES: dict[str, Callable[[], bytes]] = {
    "one_bit.png": lambda: pictures.png((SIDE, SIDE), 1, 0, bytes(SIDE // 8 * SIDE)),
    "grey.png": lambda: pictures.encode(FLAT, "PNG"),
    "16_bits_with_alpha.png": lambda: pictures.png((SIDE, SIDE), 16, 6, bytes(8 * SIDE * SIDE)),
    "lossless.webp": lambda: pictures.encode(FLAT, "WEBP", lossless=True, method=0),
    "lossy.webp": lambda: pictures.encode(FLAT, "WEBP", method=0),
    "flat.gif": lambda: pictures.encode(FLAT, "GIF"),
    "flat.jpg": lambda: pictures.encode(FLAT, "JPEG"),
    "progressive.jpg": lambda: pictures.encode(FLAT, "JPEG", progressive=True),
    "refining_scans.jpg": lambda: jpegs.refining_scans(SIDE, SIDE, 43),
    "50_scans.jpg": lambda: jpegs.narrow_scans(SIDE, SIDE, 50),
    "runs.bmp": lambda: pictures.run_length_bmp(SIDE, SIDE, (b"\xfa\7" * (SIDE // 250) + b"\0\0") * SIDE),
    "unfinished_lines.bmp": lambda: pictures.run_length_bmp(SIDE, SIDE, b"\1\0\0\0" * SIDE),
}


@pytest.mark.parametrize("name", FLAT_IMAGES)
def test_no_image_is_refused_for_the_few_bytes_that_it_takes(name: str) -> None:
    assert pixels(FLAT_IMAGES[name](), VIEW).size


SLOW_IMAGES: dict[str, Callable[[], bytes]] = {
    "16_bits_with_alpha.png": lambda: pictures.png((3_000, 3_000), 16, 6, bytes(24_000 * 3_000), filtering=PAETH),
    "one_block.png": lambda: pictures.png((5_000, 5_000), 8, 0, bytes(5_000 * 5_000), filtering=PAETH),
    "noise.png": lambda: pictures.png((1_500, 1_500), 8, 6, random.Random(0).randbytes(6_000 * 1_500)),  # noqa: S311
    "noise.gif": lambda: pictures.encode(Image.effect_noise((3_000, 3_000), 90), "GIF"),
    "runs.bmp": lambda: pictures.run_length_bmp(500, 500, (b"\1\7" * 500 + b"\0\0") * 500),
}


@pytest.mark.parametrize("name", SLOW_IMAGES)
def test_decoding_ends_soon_after_its_budget_is_spent(name: str) -> None:
    content = SLOW_IMAGES[name]()
    begin = time.thread_time()
    decode(content, VIEW)
    whole_s = time.thread_time() - begin
    begin = time.thread_time()
    with pytest.raises(ImageError, match="DECODE_BUDGET_S") as caught:
        decode(content, VIEW, budget_s=whole_s / 10)
    assert caught.value.code == IMAGE_TOO_LARGE
    assert time.thread_time() - begin < whole_s / 2
    assert decode(content, VIEW, budget_s=10 * whole_s).pixels.size


def test_large_pictures_that_need_memory_are_decoded_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    lock = MagicMock()
    monkeypatch.setattr("inference.decode._few_large", lock)
    for content in (jpegs.progressive(3_000, 2_100, 4), pictures.png((3_000, 2_100), 8, 0, bytes(3_000 * 2_100))):
        pixels(content)
    assert lock.__enter__.call_count == 2
    for content in (pictures.large_jpeg(3_008, 2_100), jpegs.progressive(300, 210, 4)):
        pixels(content)
    assert lock.__enter__.call_count == 2


def test_pillow_itself_refuses_what_is_larger_than_anything_we_take() -> None:
    content = pictures.png((11_000, 9_200), 1, 0, bytes(1_375 * 9_200))
    with pytest.raises(ImageError, match="decompression bomb"):
        decode_by_pillow("PNG", content, VIEW)


def test_metadata_is_not_read_and_cannot_be_a_bomb() -> None:
    bomb = zlib.compress(bytes(50_000_000), 9)
    text = pictures.png_chunk(b"zTXt", b"Comment\0\0" + bomb)
    profile = pictures.png_chunk(b"iCCP", b"profile\0\0" + bomb)
    content = pictures.png((4, 4), 8, 0, bytes(range(16)), profile + text)
    tracemalloc.start()
    try:
        assert pixels(content).shape == (4, 4, 3)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


def test_mutants_of_every_format_are_pictures_or_refusals_and_nothing_else() -> None:
    draw = random.Random(20261122)  # noqa: S311 -- mutants, not secrets
    for name in pictures.GOOD_NAMES:
        content = pictures.good(name).content
        for _ in range(60):
            mutant = bytearray(content)
            for _ in range(draw.choice((1, 1, 3, 20))):
                at = draw.randrange(min(len(mutant), draw.choice((64, 1_000, 1_000_000))))
                mutant[at] = draw.choice((0, 1, 0x7F, 0x80, 0xFF, draw.randrange(256)))
            assert code_of(bytes(mutant)) in CODES
