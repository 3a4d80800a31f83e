"""A picture goes in, the five best guesses come out: every way in, and what is shown."""

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import FilePayload

from sightline_testing.browser import Visitor
from sightline_testing.pictures import PHOTOGRAPH_LABEL, bad, encode, good, jpeg, scene

FIVE = 5
RIGHT = PHOTOGRAPH_LABEL.replace("_", " ")


def answered(visitor: Visitor, picture: Path) -> list[tuple[str, float]]:
    """What the service itself says of a picture."""
    upload: FilePayload = {"name": picture.name, "mimeType": "image/jpeg", "buffer": picture.read_bytes()}
    response = visitor.page.request.post(f"{visitor.url}/predict?top_k={FIVE}", multipart={"file": upload})
    return [(guess["label"], guess["score"]) for guess in response.json()["predictions"]]


def test_a_photograph_is_named_rightly(visitor: Visitor, photograph: Path) -> None:
    visitor.choose(photograph)
    first, *others = visitor.answer()
    assert (visitor.answer_name().lower(), first.name.lower(), len(others)) == (RIGHT, RIGHT, FIVE - 1)
    assert first.percent == f"{first.bar:.0%}"
    assert f": {RIGHT}, {first.percent}. then: {others[0].name.lower()}, " in visitor.spoken().lower()


def test_the_page_shows_the_guesses_that_the_service_gives(visitor: Visitor, picture: Path) -> None:
    visitor.choose(picture)
    shown = visitor.answer()
    given = answered(visitor, picture)
    assert [guess.name.lower() for guess in shown] == [label.replace("_", " ").lower() for label, _ in given]
    assert [guess.bar for guess in shown] == [score for _, score in given]


def test_the_picture_is_shown_and_described_by_its_name(visitor: Visitor, picture: Path) -> None:
    visitor.choose(picture)
    visitor.answer()
    shown = visitor.page.get_by_alt_text("The picture you gave: scene.jpg")
    assert shown.evaluate("image => image.decode().then(() => image.naturalWidth)") == 480


def test_a_picture_can_be_dropped_anywhere(visitor: Visitor, picture: Path) -> None:
    visitor.drop(picture)
    assert len(visitor.answer()) == FIVE


def test_a_picture_can_be_pasted(visitor: Visitor) -> None:
    visitor.paste(good("colour.png").content)
    assert len(visitor.answer()) == FIVE


def test_pasting_words_says_that_they_are_no_picture(visitor: Visitor) -> None:
    visitor.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    visitor.page.evaluate("navigator.clipboard.writeText('not a picture')")
    visitor.page.keyboard.press("Control+V")
    visitor.page.get_by_text("The clipboard holds no picture.").first.wait_for()


def test_a_phone_offers_its_camera(visit: Callable[..., Visitor], picture: Path) -> None:
    visitor = visit(has_touch=True, is_mobile=True, viewport={"width": 360, "height": 740})
    camera = visitor.page.locator("#camera")
    assert camera.get_attribute("capture") == "environment"
    assert visitor.page.get_by_text("Take a photo").is_visible()
    camera.set_input_files(picture)
    assert len(visitor.answer()) == FIVE


def test_a_desktop_offers_no_camera(visitor: Visitor) -> None:
    assert not visitor.page.get_by_text("Take a photo").is_visible()


def test_the_keyboard_alone_is_enough(visitor: Visitor, picture: Path) -> None:
    visitor.tab_to("file")
    with visitor.page.expect_file_chooser() as dialog:
        visitor.page.keyboard.press("Enter")
    dialog.value.set_files(picture)
    visitor.answer()
    visitor.tab_to("report-button")
    visitor.page.keyboard.press("Enter")
    visitor.reported()
    assert visitor.focused() == "report-line", "the button is gone, and the keyboard is where the thanks stand"


def test_several_pictures_are_named_one_after_the_other_and_stay_at_hand(visitor: Visitor, tmp_path: Path) -> None:
    files = [tmp_path / f"scene{seed}.jpg" for seed in range(3)]
    for seed, file in enumerate(files):
        file.write_bytes(jpeg(seed=seed))
    visitor.choose(*files)
    tiles = visitor.page.locator("#tiles .tile")
    first = tiles.nth(len(files) - 1)
    first.click()
    assert first.get_attribute("aria-current") == "true"
    assert visitor.answer_name().lower() == first.locator(".tile-name").inner_text().lower()
    assert visitor.page.get_by_alt_text("The picture you gave: scene0.jpg").count() == 1


def test_a_picture_whose_name_has_another_suffix_is_answered(visitor: Visitor, tmp_path: Path) -> None:
    unnamed = tmp_path / "photo.jfif"
    unnamed.write_bytes(good("baseline.jpg").content)
    visitor.choose(unnamed)
    assert len(visitor.answer()) == FIVE


def test_an_avif_is_converted_by_the_browser(visitor: Visitor, tmp_path: Path) -> None:
    avif = tmp_path / "scene.avif"
    avif.write_bytes(encode(scene(), "AVIF"))
    visitor.choose(avif)
    assert len(visitor.answer()) == FIVE
    assert "converted by this browser" in visitor.page.locator("#answer-origin").inner_text()


def test_too_many_bytes_are_scaled_down_by_the_browser(visitor: Visitor, tmp_path: Path) -> None:
    large = tmp_path / "large.bmp"
    content = good("colour.bmp").content
    limit = int(visitor.page.locator("#stage").get_attribute("data-max-upload-bytes") or 0)
    large.write_bytes(content + bytes(limit + 1 - len(content)))  # what follows a picture in its file is not looked at
    visitor.choose(large)
    assert len(visitor.answer()) == FIVE
    assert "scaled down by this browser" in visitor.page.locator("#answer-origin").inner_text()


def test_too_many_pixels_are_scaled_down_when_the_service_says_so(visitor: Visitor, tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    large.write_bytes(bad("30_megapixels.png").content)
    visitor.choose(large)
    assert len(visitor.answer()) == FIVE
    assert "scaled down by this browser" in visitor.page.locator("#answer-origin").inner_text()
