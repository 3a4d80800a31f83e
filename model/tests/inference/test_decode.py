import os
import random
import re
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable
from unittest.mock import MagicMock

import cv2
import numpy as np
import pytest
from PIL import Image

from inference import limits
from inference.decode import View, decode, decode_by_pillow
from inference.errors import IMAGE_BROKEN, IMAGE_TOO_LARGE, UNSUPPORTED_TYPE, ImageError
from inference.limits import MAX_BYTES, MAX_PIXELS
from sightline_testing import sample_images
from sightline_testing.hostile import jpegs
from sightline_testing.service import REPOSITORY
from wire.decode_cost import decode_ms

# The default of DECODE_BUDGET_S.
BUDGET_S = 2.0
VIEW = View(224, 224, 0.875)
WHOLE = View(224, 224, None)
# 25 megapixels, and more cases, take minutes.
FULL = bool(os.environ.get("FULL"))
CODES = {"", IMAGE_BROKEN, IMAGE_TOO_LARGE, UNSUPPORTED_TYPE}


def pixels(content: bytes, view: View = WHOLE) -> np.ndarray:
    return decode(content, view).pixels


def distance(one: np.ndarray, other: np.ndarray) -> float:
    return cv2.norm(one, other, cv2.NORM_L1) / one.size


def refusal(content: bytes) -> ImageError:
    with pytest.raises(ImageError) as caught:
        decode(content, VIEW)
    return caught.value


def code_of(content: bytes) -> str:
    """The code that the image is refused with, empty for pixels."""
    try:
        assert decode(content, VIEW).pixels.shape[2] == 3
    except ImageError as fault:
        return fault.code
    return ""


SCENE = np.asarray(sample_images.scene())
GREY_SCENE = np.asarray(sample_images.scene().convert("L").convert("RGB"))
PAETH = 4
END_MARKER_BYTES = 2
PNG_END_BYTES = 12
LOSSLESS = ("colour.png", "colour_16_bit.png", "lossless.webp", "colour.bmp")
LOSSY = (
    "baseline.jpg", "progressive.jpeg", "full_chroma.jpg", "cmyk_inverted.jpg", "ycck.jpg", "with_script_tail.jpg",
    "with_broken_exif.jpg", "palette.png", "still.gif", "animated.gif", "lossy.webp", "animated.webp", "palette.bmp",
)  # fmt: skip


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_colour_comes_out_as_it_went_in(name: str) -> None:
    assert np.array_equal(pixels(sample_images.good(name).content), SCENE)


@pytest.mark.parametrize("name", LOSSY)
def test_lossy_colour_comes_out_nearly_as_it_went_in(name: str) -> None:
    assert distance(pixels(sample_images.good(name).content), SCENE) < 3


@pytest.mark.parametrize("name", ["grey.png", "grey_16_bit.png"])
def test_grey_becomes_three_equal_channels(name: str) -> None:
    assert np.array_equal(pixels(sample_images.good(name).content), GREY_SCENE)


def test_a_grey_jpeg_becomes_three_equal_channels() -> None:
    assert distance(pixels(sample_images.good("grey.jpg").content), GREY_SCENE) < 1


@pytest.mark.parametrize("value", [0, 1, 128, 32_768, 65_535])
def test_sixteen_bits_of_grey_are_scaled_and_not_cut_off(value: int) -> None:
    content = sample_images.png((4, 4), 16, 0, struct.pack(">H", value) * 16)
    assert np.all(pixels(content) == round(value / 257))


@pytest.mark.parametrize("bits", ["one_bit.png", "one_bit.bmp"])
def test_one_bit_is_black_and_white(bits: str) -> None:
    assert np.array_equal(
        pixels(sample_images.good(bits).content), np.asarray(sample_images.scene().convert("1").convert("RGB"))
    )


@pytest.mark.parametrize(
    "name", ["transparent.png", "grey_transparent.png", "transparent.webp", "palette_transparent.png"]
)
def test_what_is_transparent_is_white_whatever_colour_hides_there(name: str) -> None:
    found = pixels(sample_images.good(name).content)
    assert np.all(found[:90, :120] == 255)
    expected = GREY_SCENE if name.startswith("grey") else SCENE
    assert distance(found[100:], expected[100:]) < 3


def test_half_transparent_is_mixed_with_white() -> None:
    content = sample_images.encode(Image.new("RGBA", (8, 8), (255, 0, 0, 128)), "PNG")
    assert pixels(content)[0, 0].tolist() == [255, 127, 127]


def test_a_transparent_colour_of_an_rgb_png_is_white() -> None:
    key = sample_images.png_chunk(b"tRNS", struct.pack(">HHH", 255, 0, 255))
    content = sample_images.png((2, 1), 8, 2, bytes((255, 0, 255, 10, 20, 30)), key)
    assert pixels(content).tolist() == [[[255, 255, 255], [10, 20, 30]]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_told_with_the_pixels(orientation: int) -> None:
    assert decode(sample_images.turned_jpeg(orientation), VIEW).orientation == orientation


@pytest.mark.parametrize("name", sample_images.BAD_NAMES)
def test_a_bad_image_is_refused_with_its_code(name: str) -> None:
    assert refusal(sample_images.bad(name).content).code == sample_images.bad(name).code


@pytest.mark.parametrize("name", ["thin.png", "30_megapixels.png", "30_megapixels.webp", "1000_scans.jpg"])
def test_a_bomb_is_refused_before_it_costs_memory(name: str) -> None:
    content = sample_images.bad(name).content
    tracemalloc.start()
    try:
        refusal(content)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < len(content) + 100_000


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_cut_off_anywhere_is_never_half_an_image(progressive: bool) -> None:
    content = sample_images.jpeg(96, 72, progressive=progressive)
    for length in range(4, len(content) - END_MARKER_BYTES):
        assert refusal(content[:length]).code == IMAGE_BROKEN, length


WITH_END_MARKER: dict[str, Callable[[], bytes]] = {
    "baseline": sample_images.jpeg,
    "optimised": lambda: sample_images.jpeg(optimize=True),
    "progressive": lambda: sample_images.jpeg(progressive=True),
    "grey": lambda: sample_images.good("grey.jpg").content,
    "cmyk": sample_images.inverted_cmyk_jpeg,
    "ycck": lambda: sample_images.inverted_cmyk_jpeg(transform=2),
    "restarts": lambda: sample_images.jpeg(restart_marker_blocks=3),
    "turned": lambda: sample_images.turned_jpeg(6),
    "scaled": lambda: sample_images.large_jpeg(2_048, 1_536),
    "narrow": lambda: sample_images.jpeg(17, 13),
    "ends with zeros": lambda: sample_images.encode(Image.new("RGB", (64, 64), (9, 99, 199)), "JPEG"),
    "scan by component": lambda: jpegs.scan_by_component(72, 56),
}


@pytest.mark.parametrize("name", WITH_END_MARKER)
def test_a_jpeg_without_its_end_marker_is_the_same_image(name: str) -> None:
    content = WITH_END_MARKER[name]()
    expected = pixels(content)
    for padding in (b"", b"\0", bytes(700), b"\xff", b"\xff" * 9):
        assert np.array_equal(pixels(content[:-END_MARKER_BYTES] + padding), expected)
    assert np.array_equal(pixels(content[:-1]), expected)


@pytest.mark.parametrize("name", WITH_END_MARKER)
@pytest.mark.parametrize("padding", [b"", bytes(700), b"\xff" * 9])
def test_a_jpeg_without_its_end_is_refused_whatever_fills_its_place(name: str, padding: bytes) -> None:
    content = WITH_END_MARKER[name]()
    for missing in (3, 4, 5, 9, 40, 300, len(content) // 3):
        if missing < len(content) // 2:
            assert refusal(content[:-missing] + padding).code == IMAGE_BROKEN, missing


@pytest.mark.parametrize("name", ["progressive", "scan by component"])
def test_a_jpeg_that_ends_between_two_scans_is_refused(name: str) -> None:
    content = WITH_END_MARKER[name]()
    scans = [each.start() for each in re.finditer(rb"\xff[\xda\xc4]", content)]
    for start in scans[1:]:
        assert refusal(content[:start]).code == IMAGE_BROKEN


def test_stray_bytes_do_not_hide_that_a_padded_jpeg_is_cut_off() -> None:
    content = sample_images.jpeg()
    at = content.index(b"\xff\xdb")
    stray = content[:at] + b"\0\0\0" + content[at:]
    assert refusal(stray[: len(stray) * 3 // 4] + bytes(len(stray))).code == IMAGE_BROKEN


@pytest.mark.parametrize(
    "name", ["colour.png", "palette.png", "still.gif", "lossy.webp", "lossless.webp", "colour.bmp"]
)
def test_any_other_format_cut_off_is_never_half_an_image(name: str) -> None:
    content = sample_images.good(name).content
    for length in range(30, len(content) - 8, len(content) // 60):
        assert refusal(content[:length]).code == IMAGE_BROKEN, length


@pytest.mark.parametrize("harmless", ["before a table", "before the end", "after the end"])
def test_stray_bytes_that_cost_no_pixel_are_tolerated(harmless: str) -> None:
    content = sample_images.jpeg()
    at = {"before a table": content.index(b"\xff\xdb"), "before the end": -2, "after the end": len(content)}[harmless]
    assert np.array_equal(pixels(content[:at] + b"\0\0\0" + content[at:]), pixels(content))


def test_damage_inside_a_jpeg_is_refused() -> None:
    content = sample_images.jpeg()
    middle = len(content) // 2
    assert refusal(content[:middle] + content[middle + 200 :]).code == IMAGE_BROKEN


def test_stray_bytes_do_not_hide_that_the_end_is_missing() -> None:
    content = sample_images.jpeg()
    at = content.index(b"\xff\xdb")
    stray = content[:at] + b"\0\0\0" + content[at:]
    assert refusal(stray[: len(stray) * 3 // 4]).code == IMAGE_BROKEN


def test_a_sampling_that_the_fast_decoder_does_not_know_is_left_to_pillow() -> None:
    content = bytearray(sample_images.jpeg(subsampling="4:4:4"))
    luma_sampling = content.index(b"\xff\xc0") + 11
    assert content[luma_sampling] == 0x11
    content[luma_sampling] = 0x31
    assert pixels(bytes(content)).shape == (360, 480, 3)


def test_large_jpegs_come_scaled_down_but_never_below_what_the_view_wants() -> None:
    assert pixels(sample_images.jpeg(447, 447), WHOLE).shape == (447, 447, 3)
    assert pixels(sample_images.jpeg(448, 448), WHOLE).shape == (224, 224, 3)
    assert pixels(sample_images.large_jpeg(4032, 3024), VIEW).shape == (336, 336, 3)


@pytest.mark.parametrize(("width", "height"), [(6_400, 4_736), *([(8_064, 8_064)] if FULL else []), (9_984, 9_984)])
def test_baseline_jpegs_of_many_megapixels_are_taken(width: int, height: int) -> None:
    assert min(pixels(sample_images.large_jpeg(width, height), VIEW).shape[:2]) >= 224


@pytest.mark.parametrize("size", [(30_000, 640), (30_000, 3_200), (12_016, 8_192), (13_000, 384)])
@pytest.mark.parametrize("view", [VIEW, WHOLE, View(224, 224, 1.0, takes_single_pixels=True)])
def test_a_panorama_is_taken_as_a_jpeg_of_one_scan(size: tuple[int, int], view: View) -> None:
    content = sample_images.large_jpeg(*size)
    found = decode(content, view)
    assert found.size == size
    assert min(found.pixels.shape[:2]) >= 224
    assert found.pixels.size < 3 * MAX_PIXELS
    assert len(content) < MAX_BYTES


@pytest.mark.parametrize("page", ["README.md", "docs/files-and-formats.md"])
def test_the_limits_are_documented(page: str) -> None:
    text = " ".join((REPOSITORY / page).read_text().split())
    sides = (f"{limits.MAX_SCALED_SIDE:,}", f"{limits.MAX_SIDE:,}")
    megapixels = (str(limits.MAX_SCALED_PIXELS // 10**6), str(limits.MAX_PIXELS // 10**6))
    assert [limit for limit in (*sides, *megapixels, f"{limits.MAX_ASPECT} times") if limit not in text] == []


@pytest.mark.parametrize("size", [(30_016, 3_200), (30_000, 512)])
def test_a_panorama_beyond_the_limits_is_refused_with_its_size_and_the_limit(size: tuple[int, int]) -> None:
    fault = refusal(sample_images.large_jpeg(*size))
    assert fault.code == IMAGE_TOO_LARGE
    assert f"{size[0]} x {size[1]} pixels" in str(fault)
    assert ("30000" if size[1] > 600 else "50 times") in str(fault)


def test_a_high_panorama_is_taken_and_other_formats_end_earlier() -> None:
    content = bytearray(sample_images.large_jpeg(640, 30_080))
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 7] = struct.pack(">H", 30_000)
    assert decode(bytes(content), VIEW).size == (640, 30_000)
    for other in (
        sample_images.png((12_001, 300), 8, 0, bytes(12_001 * 300)),
        sample_images.jpeg(12_008, 304, progressive=True),
    ):
        assert "12000" in str(refusal(other))


def code() -> bytes:
    """A QR code, drawn so large that it has 25 megapixels."""
    cells = np.random.default_rng(1).integers(0, 2, (177, 177), dtype=np.uint8)
    return sample_images.encode(Image.fromarray(np.kron(cells * 255, np.ones((28, 28), np.uint8))).convert("1"), "PNG")


def screenshot() -> bytes:
    image = Image.new("RGB", (3_840, 2_160), (250, 250, 250))
    for top in range(0, 2_160, 40):
        image.paste((20, 20, 20), (100, top, 400 + top, top + 12))
    return sample_images.encode(image, "PNG")


SMALL_FILES: dict[str, Callable[[], bytes]] = {
    "QR code": code,
    "screenshot": screenshot,
    "flat": lambda: sample_images.encode(Image.new("RGB", (5_000, 5_000)), "PNG", compress_level=1),
    "flat of one bit": lambda: sample_images.png((5_000, 5_000), 1, 0, bytes(625 * 5_000)),
    "flat WebP": lambda: sample_images.encode(Image.new("RGB", (5_000, 5_000)), "WEBP", lossless=True, method=0),
    "flat JPEG": lambda: sample_images.encode(Image.new("RGB", (5_000, 5_000)), "JPEG", quality=1, optimize=True),
    "photograph": lambda: sample_images.large_jpeg(6_000, 4_000),
}


@pytest.mark.parametrize("name", SMALL_FILES)
def test_nothing_is_refused_for_how_well_it_is_compressed(name: str) -> None:
    content = SMALL_FILES[name]()
    # Of those that the api sends to a worker at all: what is estimated to exceed the budget is refused.
    assert decode_ms(content) < 1000 * BUDGET_S
    assert decode(content, VIEW, BUDGET_S).size >= (3_840, 2_160)


def test_only_one_sequential_scan_may_have_so_many_pixels() -> None:
    content = bytearray(sample_images.large_jpeg(6_400, 4_736))
    # Three scans with one component each: the decoder would have to hold all coefficients of the image.
    scan = content.index(b"\xff\xda")
    content[scan + 4] = 1
    assert refusal(bytes(content)).code == IMAGE_TOO_LARGE
    progressive = bytes(content).replace(b"\xff\xc0", b"\xff\xc2", 1)
    assert refusal(progressive).code == IMAGE_TOO_LARGE


def test_large_images_of_other_formats_are_averaged_down_before_they_are_copied() -> None:
    content = sample_images.png((4_000, 3_000), 8, 0, bytes(4_000 * 3_000))
    assert pixels(content, VIEW).shape == (448, 448, 3)


def test_sixty_four_scans_are_taken_and_one_more_is_not() -> None:
    assert refusal(sample_images.many_scans_jpeg(65)).code == IMAGE_TOO_LARGE
    # Repeated scans are no valid progression, so that it is the decoder which refuses these.
    assert refusal(sample_images.many_scans_jpeg(64)).code == IMAGE_BROKEN


SIDE = 5_000 if FULL else 2_000
FLAT = Image.new("L", (SIDE, SIDE), 99)
FLAT_IMAGES: dict[str, Callable[[], bytes]] = {
    "one_bit.png": lambda: sample_images.png((SIDE, SIDE), 1, 0, bytes(SIDE // 8 * SIDE)),
    "grey.png": lambda: sample_images.encode(FLAT, "PNG"),
    "16_bits_with_alpha.png": lambda: sample_images.png((SIDE, SIDE), 16, 6, bytes(8 * SIDE * SIDE)),
    "lossless.webp": lambda: sample_images.encode(FLAT, "WEBP", lossless=True, method=0),
    "lossy.webp": lambda: sample_images.encode(FLAT, "WEBP", method=0),
    "flat.gif": lambda: sample_images.encode(FLAT, "GIF"),
    "flat.jpg": lambda: sample_images.encode(FLAT, "JPEG"),
    "progressive.jpg": lambda: sample_images.encode(FLAT, "JPEG", progressive=True),
    "refining_scans.jpg": lambda: jpegs.refining_scans(SIDE, SIDE, 43),
    "50_scans.jpg": lambda: jpegs.narrow_scans(SIDE, SIDE, 50),
    "runs.bmp": lambda: sample_images.run_length_bmp(SIDE, SIDE, (b"\xfa\7" * (SIDE // 250) + b"\0\0") * SIDE),
    "unfinished_lines.bmp": lambda: sample_images.run_length_bmp(SIDE, SIDE, b"\1\0\0\0" * SIDE),
}


@pytest.mark.parametrize("name", FLAT_IMAGES)
def test_no_image_is_refused_for_the_few_bytes_that_it_takes(name: str) -> None:
    assert pixels(FLAT_IMAGES[name](), VIEW).size


SLOW_IMAGES: dict[str, Callable[[], bytes]] = {
    "16_bits_with_alpha.png": lambda: sample_images.png((3_000, 3_000), 16, 6, bytes(24_000 * 3_000), filtering=PAETH),
    "one_block.png": lambda: sample_images.png((5_000, 5_000), 8, 0, bytes(5_000 * 5_000), filtering=PAETH),
    "noise.png": lambda: sample_images.png((1_500, 1_500), 8, 6, random.Random(0).randbytes(6_000 * 1_500)),  # noqa: S311
    "noise.gif": lambda: sample_images.encode(Image.effect_noise((3_000, 3_000), 90), "GIF"),
    "runs.bmp": lambda: sample_images.run_length_bmp(500, 500, (b"\1\7" * 500 + b"\0\0") * 500),
    "refining_scans.jpg": lambda: jpegs.refining_scans(3_000, 3_000, 43),
    "many_scans.jpg": lambda: jpegs.progressive(3_000, 3_000, 50),
    "narrow_scans.jpg": lambda: jpegs.narrow_scans(4_000, 4_000, 60),
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


def test_a_jpeg_has_the_same_pixels_however_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    for content in (sample_images.jpeg(1_000, 700, progressive=True), jpegs.progressive(1_000, 700, 20)):
        by_libjpeg = decode(content, VIEW)
        with monkeypatch.context() as patch:
            patch.setattr("inference.decode.UNINTERRUPTED_PART", 0.0)
            patch.setattr("inference.decode._by_libjpeg", None)
            by_pillow = decode(content, VIEW, budget_s=60.0)
        assert np.array_equal(by_pillow.pixels, by_libjpeg.pixels)


def test_damage_in_a_jpeg_of_few_scans_is_noticed_with_a_budget_too() -> None:
    content = sample_images.jpeg(1_000, 700, progressive=True)
    at = len(content) // 2
    with pytest.raises(ImageError, match="cannot be decoded"):
        decode(content[:at] + bytes(500) + content[at + 500 :], VIEW, budget_s=2.0)


def test_large_images_that_need_memory_are_decoded_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    lock = MagicMock()
    monkeypatch.setattr("inference.decode._few_large", lock)
    for content in (jpegs.progressive(3_000, 2_100, 4), sample_images.png((3_000, 2_100), 8, 0, bytes(3_000 * 2_100))):
        pixels(content)
    assert lock.__enter__.call_count == 2
    for content in (sample_images.large_jpeg(3_008, 2_100), jpegs.progressive(300, 210, 4)):
        pixels(content)
    assert lock.__enter__.call_count == 2


def test_pillow_itself_refuses_what_is_larger_than_anything_we_take() -> None:
    content = sample_images.png((11_000, 9_200), 1, 0, bytes(1_375 * 9_200))
    with pytest.raises(ImageError, match="decompression bomb"):
        decode_by_pillow("PNG", content, VIEW)


def test_metadata_is_not_read_and_cannot_be_a_bomb() -> None:
    bomb = zlib.compress(bytes(50_000_000), 9)
    text = sample_images.png_chunk(b"zTXt", b"Comment\0\0" + bomb)
    profile = sample_images.png_chunk(b"iCCP", b"profile\0\0" + bomb)
    content = sample_images.png((4, 4), 8, 0, bytes(range(16)), profile + text)
    tracemalloc.start()
    try:
        assert pixels(content).shape == (4, 4, 3)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


def test_mutants_of_every_format_are_images_or_refusals_and_nothing_else() -> None:
    draw = random.Random(20261122)  # noqa: S311 -- mutants, not secrets
    for name in sample_images.GOOD_NAMES:
        content = sample_images.good(name).content
        for _ in range(60):
            mutant = bytearray(content)
            for _ in range(draw.choice((1, 1, 3, 20))):
                at = draw.randrange(min(len(mutant), draw.choice((64, 1_000, 1_000_000))))
                mutant[at] = draw.choice((0, 1, 0x7F, 0x80, 0xFF, draw.randrange(256)))
            assert code_of(bytes(mutant)) in CODES


PNGS: dict[str, Callable[[], bytes]] = {
    "colour": lambda: sample_images.good("colour.png").content,
    "palette": lambda: sample_images.good("palette_transparent.png").content,
    "16 bits": lambda: sample_images.good("grey_16_bit.png").content,
    "one bit": lambda: sample_images.good("one_bit.png").content,
    "animated": lambda: sample_images.animation("PNG"),
}


@pytest.mark.parametrize("name", PNGS)
def test_a_png_without_its_end_chunk_is_the_same_image(name: str) -> None:
    content = PNGS[name]()
    bare = content[:-PNG_END_BYTES]
    text = sample_images.png_chunk(b"tEXt", b"Comment\0" + b"x" * 90)
    for rest in (b"", content[-PNG_END_BYTES:][:7], content[-PNG_END_BYTES:][:11], text, text[:-1], text[:9], b"junk"):
        assert np.array_equal(pixels(bare + rest), pixels(content))


@pytest.mark.parametrize("name", PNGS)
def test_a_png_without_the_end_of_its_data_is_refused(name: str) -> None:
    content = PNGS[name]()
    data = content.index(b"IDAT") - 4
    end = data + 12 + int.from_bytes(content[data : data + 4], "big")
    for missing in (1, 4, 5, 8, 9, 40, (end - data) // 2, end - data):
        assert refusal(content[: end - missing]).code == IMAGE_BROKEN


@pytest.mark.parametrize("missing", [9, 100, 1_000])
def test_a_png_whose_data_end_early_in_a_chunk_of_their_own_length_is_refused(missing: int) -> None:
    content = sample_images.good("colour.png").content
    data = content.index(b"IDAT")
    whole = content[data + 4 : -PNG_END_BYTES - 4]
    short = content[: data - 4] + sample_images.png_chunk(b"IDAT", whole[:-missing])
    for end in (b"", content[-PNG_END_BYTES:]):
        assert refusal(short + end).code == IMAGE_BROKEN


def with_chunk(content: bytes, chunk: bytes, *, is_late: bool = False) -> bytes:
    at = len(content) - PNG_END_BYTES if is_late else content.index(b"IDAT") - 4
    return content[:at] + chunk + content[at:]


def damaged(chunk: bytes) -> bytes:
    return chunk[:-1] + bytes((chunk[-1] ^ 1,))


ORIENTED = sample_images.png_chunk(b"eXIf", sample_images.exif(6).removeprefix(b"Exif\0\0"))


def test_an_orientation_counts_where_browsers_read_it() -> None:
    """A browser shows the image that the heat map is laid over."""
    content = sample_images.good("colour.png").content
    assert decode(with_chunk(content, ORIENTED), VIEW).orientation == 6
    assert decode(with_chunk(content, ORIENTED, is_late=True), VIEW).orientation == 1
    assert decode(with_chunk(content, damaged(ORIENTED)), VIEW).orientation == 1


def key_chunk(*values: int) -> bytes:
    return sample_images.png_chunk(b"tRNS", struct.pack(f">{len(values)}H", *values))


GREYS_16 = struct.pack(">4H", 0, 1_000, 30_000, 65_535)
COLOURS_16 = struct.pack(">6H", 1_000, 2_000, 3_000, 40_000, 50_000, 60_000)
PALETTE = sample_images.png_chunk(b"PLTE", bytes((10, 20, 30, 40, 50, 60, 70, 80, 90)))


@pytest.mark.parametrize(
    ("depth", "row", "key", "expected"),
    [
        (16, GREYS_16, 30_000, [0, 4, 255, 255]), (16, GREYS_16, 0, [255, 4, 117, 255]),
        (16, GREYS_16, 1_001, [0, 4, 117, 255]), (8, bytes((0, 10, 100, 255)), 100, [0, 10, 255, 255]),
        (4, bytes((0x05, 0xAF)), 5, [0, 255, 170, 255]), (2, bytes((0b00011011,)), 1, [0, 255, 170, 255]),
        (1, bytes((0b01010000,)), 1, [0, 255, 0, 255]), (1, bytes((0b01010000,)), 0, [255] * 4),
    ],
)  # fmt: skip
def test_a_transparent_grey_is_white_at_every_depth(depth: int, row: bytes, key: int, expected: list[int]) -> None:
    found = pixels(sample_images.png((4, 1), depth, 0, row, key_chunk(key)))
    assert found.tolist() == [[[value] * 3 for value in expected]]


def test_a_transparent_colour_of_sixteen_bits_is_white() -> None:
    content = sample_images.png((2, 1), 16, 2, COLOURS_16, key_chunk(40_000, 50_000, 60_000))
    assert pixels(content).tolist() == [[[3, 7, 11], [255, 255, 255]]]


@pytest.mark.parametrize(
    "key",
    [
        key_chunk(),
        key_chunk(1),
        key_chunk(1, 2, 3, 4),
        damaged(key_chunk(4, 5, 6)),
        sample_images.png_chunk(b"tRNS", b"?"),
    ],
)
def test_a_broken_transparent_colour_is_passed_over(key: bytes) -> None:
    content = sample_images.png((2, 1), 8, 2, bytes((1, 2, 3, 4, 5, 6)), key)
    assert pixels(content).tolist() == [[[1, 2, 3], [4, 5, 6]]]


@pytest.mark.parametrize(
    ("alphas", "first"), [(b"\0", 255), (bytes(3), 255), (b"", 10), (bytes(4), 10), (bytes(300), 10)]
)
def test_as_many_transparencies_as_colours_count(alphas: bytes, first: int) -> None:
    content = sample_images.png((2, 1), 8, 3, bytes(2), PALETTE + sample_images.png_chunk(b"tRNS", alphas))
    assert pixels(content)[0, 0, 0] == first


def test_a_png_of_indexed_colours_without_a_palette_is_broken() -> None:
    assert "palette" in str(refusal(sample_images.png((4, 1), 8, 3, bytes(4))))


@pytest.mark.parametrize("flags", [b"\x50\0\x20\x06", b"\x50\0\x20\x02", b"\x30\0\x20\6"])
def test_a_png_of_apples_own_kind_is_refused_by_name(flags: bytes) -> None:
    content = sample_images.good("colour.png").content
    fault = refusal(content[:8] + sample_images.png_chunk(b"CgBI", flags) + content[8:])
    assert fault.code == UNSUPPORTED_TYPE
    assert "CgBI" in str(fault)


def good(name: str) -> bytes:
    return sample_images.good(name).content


def changed(name: str, at: int, put: bytes) -> bytes:
    content = good(name)
    return content[:at] + put + content[at + len(put) :]


# Made by the test: at collection, every process of the suite would do so.
UNREADABLE_HEADERS: dict[str, Callable[[], bytes]] = {
    "PNG with a wrong check sum": lambda: changed("colour.png", 29, damaged(good("colour.png")[29:33])),
    "PNG of 7 bits": lambda: sample_images.png((4, 1), 7, 0, bytes(4)),
    "PNG without a width": lambda: sample_images.png((1, 1), 8, 0, bytes(1)).replace(b"IHDR\0\0\0\1", b"IHDR\0\0\0\0"),
    "BMP of 13 bits": lambda: changed("colour.bmp", 28, b"\x0d\0"),
    "BMP of another header": lambda: changed("colour.bmp", 14, b"\x29"),
    "BMP of unknown compression": lambda: changed("colour.bmp", 30, b"\x4d"),
    "GIF of nothing": lambda: good("still.gif")[:13],
    "WebP without an image": lambda: good("lossy.webp")[:20] + bytes(len(good("lossy.webp")) - 20),
}


@pytest.mark.parametrize("name", UNREADABLE_HEADERS)
def test_a_refusal_names_no_object_of_the_program(name: str) -> None:
    fault = refusal(UNREADABLE_HEADERS[name]())
    assert fault.code == IMAGE_BROKEN
    assert "object at" not in str(fault)
    assert "0x" not in str(fault)
