"""An image goes in, the five best predictions come out: every way in, and what is shown."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import FilePayload, expect

from sightline_testing.browser import Visitor
from sightline_testing.sample_images import PHOTOGRAPH_LABEL, bad, encode, good, scene

FIVE = 5
SAMPLES = 6
RIGHT = PHOTOGRAPH_LABEL.replace("_", " ")


def answered(visitor: Visitor, image: Path) -> list[tuple[str, float]]:
    """The prediction of the service for an image."""
    upload: FilePayload = {"name": image.name, "mimeType": "image/jpeg", "buffer": image.read_bytes()}
    response = visitor.page.request.post(f"{visitor.url}/predict?top_k={FIVE}", multipart={"file": upload})
    return [(prediction["label"], prediction["score"]) for prediction in response.json()["predictions"]]


def test_a_photograph_is_named_rightly(visitor: Visitor, photograph: Path) -> None:
    visitor.choose(photograph)
    first, *others = visitor.answer()
    assert (visitor.answer_name().lower(), first.name.lower(), len(others)) == (RIGHT, RIGHT, FIVE - 1)
    assert first.percent == f"{first.bar:.0%}"
    assert f": {RIGHT}, {first.percent}. then: {others[0].name.lower()}, " in visitor.spoken().lower()


def test_the_page_shows_the_predictions_that_the_service_gives(visitor: Visitor, image: Path) -> None:
    visitor.choose(image)
    shown = visitor.answer()
    given = answered(visitor, image)
    assert [prediction.name.lower() for prediction in shown] == [label.replace("_", " ").lower() for label, _ in given]
    assert [prediction.bar for prediction in shown] == [score for _, score in given]


def test_the_image_is_shown_and_described_by_its_name(visitor: Visitor, image: Path) -> None:
    visitor.choose(image)
    visitor.answer()
    shown = visitor.page.get_by_alt_text("The image you gave: scene.jpg")
    assert shown.evaluate("image => image.decode().then(() => image.naturalWidth)") == 480


def test_an_image_that_was_chosen_before_the_script_ran_is_classified(visitor: Visitor, image: Path) -> None:
    with visitor.before_scripts("/", "main"):
        visitor.choose(image)
    assert len(visitor.answer()) == FIVE


def test_an_image_that_was_dropped_before_the_script_ran_is_classified(visitor: Visitor, image: Path) -> None:
    with visitor.before_scripts("/", "main"):
        visitor.page.locator("#prompt-line").wait_for()
        visitor.drop(image)
    assert len(visitor.answer()) == FIVE


def test_an_image_can_be_dropped_anywhere(visitor: Visitor, image: Path) -> None:
    visitor.drop(image)
    assert len(visitor.answer()) == FIVE


def test_an_image_can_be_pasted(visitor: Visitor) -> None:
    visitor.paste(good("colour.png").content)
    assert len(visitor.answer()) == FIVE


def test_pasting_words_says_that_they_are_no_image(visitor: Visitor) -> None:
    visitor.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    visitor.page.evaluate("navigator.clipboard.writeText('not an image')")
    visitor.page.keyboard.press("Control+V")
    visitor.page.get_by_text("The clipboard holds no image.").first.wait_for()


def test_a_phone_offers_its_camera(visit: Callable[..., Visitor], image: Path) -> None:
    visitor = visit(has_touch=True, is_mobile=True, viewport={"width": 360, "height": 740})
    camera = visitor.page.locator("#camera")
    assert camera.get_attribute("capture") == "environment"
    expect(visitor.page.get_by_text("Take a photo")).to_be_visible()
    camera.set_input_files(image)
    assert len(visitor.answer()) == FIVE


def test_a_desktop_offers_its_camera_in_the_viewfinder(visitor: Visitor) -> None:
    assert not visitor.page.get_by_text("Take a photo").is_visible()
    # Chromium's headless shell lists its cameras, and opens none.
    visitor.page.evaluate(
        """() => {
             const canvas = document.createElement("canvas");
             const draw = () => canvas.getContext("2d").fillRect(0, 0, canvas.width, canvas.height);
             setInterval(draw, 50);
             navigator.mediaDevices.getUserMedia = async () => canvas.captureStream(20);
           }"""
    )
    visitor.page.get_by_role("button", name="Use the camera").click()
    visitor.page.wait_for_function("() => document.querySelector('#view video')?.videoWidth > 0")
    visitor.page.get_by_role("button", name="Take the photo").click()
    assert len(visitor.answer()) == FIVE
    expect(visitor.page.locator("#view video")).to_have_count(0)
    expect(visitor.page.get_by_role("button", name="Use the camera")).to_be_visible()


def test_a_camera_that_may_not_be_used_is_told_in_words(visit: Callable[..., Visitor]) -> None:
    visitor = visit(permissions=[])
    visitor.page.evaluate(
        """() => {
             navigator.mediaDevices.getUserMedia = async () => { throw new DOMException("no", "NotAllowedError"); };
           }"""
    )
    visitor.page.get_by_role("button", name="Use the camera").click()
    visitor.page.get_by_text("The camera may not be used").first.wait_for()
    assert visitor.page.locator("#view").inner_html().strip() == ""


def test_the_whole_drop_area_opens_the_file_dialog(visitor: Visitor, image: Path) -> None:
    with visitor.page.expect_file_chooser() as dialog:
        visitor.page.locator("#viewfinder").click(position={"x": 40, "y": 40})
    dialog.value.set_files(image)
    assert len(visitor.answer()) == FIVE


def test_a_sample_image_is_one_click_away(visitor: Visitor) -> None:
    samples = visitor.page.locator(".sample")
    assert samples.count() == SAMPLES
    visitor.page.get_by_role("button", name="espresso").click()
    visitor.answer()
    assert visitor.answer_name().lower() == "espresso"
    expect(visitor.page.locator("#samples")).to_be_hidden()


def test_an_answer_can_be_taken_along(visitor: Visitor, image: Path) -> None:
    visitor.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    odd = image.rename(image.with_name('what\'s "this".jpg'))
    with visitor.page.expect_response("**/predict*") as response:
        visitor.choose(odd)
    visitor.answer()
    answer = response.value.json()
    assert json.loads(copied(visitor, "Copy JSON")) == answer
    command = copied(visitor, "Copy as cURL")
    curl = subprocess.run(["sh", "-c", command], cwd=odd.parent, capture_output=True, check=True)
    assert json.loads(curl.stdout)["prediction"] == answer["prediction"]
    script = copied(visitor, "Copy as Python")
    done = subprocess.run([sys.executable, "-c", script], cwd=odd.parent, capture_output=True, check=True)
    assert json.loads(done.stdout)["predictions"] == answer["predictions"]


def copied(visitor: Visitor, button: str) -> str:
    """Press a button, and return what it has put into the clipboard."""
    announced = visitor.texts("#announcement")
    visitor.page.get_by_role("button", name=button).click()
    announced.wait_for("Copied")
    text: str = visitor.page.evaluate("navigator.clipboard.readText()")
    expect(visitor.page.get_by_role("button", name=button)).to_be_visible()
    return text


def test_an_answer_has_an_address(visitor: Visitor, image: Path) -> None:
    visitor.choose(image)
    first, *_ = visitor.answer()
    with visitor.navigation():
        visitor.page.get_by_role("link", name="Link to this answer").click()
    assert "/p/" in visitor.page.url
    assert visitor.answer() == [first]
    expect(visitor.page.get_by_alt_text("The image you gave")).to_be_visible()


def test_the_keyboard_alone_is_enough(visitor: Visitor, image: Path) -> None:
    visitor.tab_to("file")
    with visitor.page.expect_file_chooser() as dialog:
        visitor.page.keyboard.press("Enter")
    dialog.value.set_files(image)
    visitor.answer()
    visitor.tab_to("report-unsure", most=60)
    visitor.page.keyboard.press("Enter")
    visitor.reported()
    assert visitor.focused() == "report-line", "the button is gone, and the keyboard is where the thanks stand"


def test_an_image_whose_name_has_another_suffix_is_answered(visitor: Visitor, tmp_path: Path) -> None:
    unnamed = tmp_path / "photo.jfif"
    unnamed.write_bytes(good("baseline.jpg").content)
    visitor.choose(unnamed)
    assert len(visitor.answer()) == FIVE


def test_an_image_of_a_format_that_is_not_taken_is_converted_by_the_browser(visitor: Visitor, tmp_path: Path) -> None:
    visitor.page.route("**/", lambda route: route.fulfill(body=route.fetch().text().replace(" avif ", " ")))
    visitor.reload()
    avif = tmp_path / "scene.avif"
    avif.write_bytes(encode(scene(), "AVIF"))
    visitor.choose(avif)
    assert len(visitor.answer()) == FIVE
    assert "converted by this browser" in visitor.page.locator("#answer-origin").inner_text()


@pytest.mark.parametrize("name", ["phone.heic", "colour.avif", "packed.tiff"])
def test_an_image_that_this_browser_may_not_show_is_sent_as_it_is(visitor: Visitor, tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_bytes(good(name).content)
    visitor.choose(file)
    assert len(visitor.answer()) == FIVE
    assert "converted" not in visitor.page.locator("#answer-origin").inner_text()
    if name == "colour.avif":
        visitor.page.get_by_alt_text(f"The image you gave: {name}").evaluate("image => image.decode()")
    else:
        visitor.page.get_by_text("This browser cannot show this image.").wait_for()


def test_too_many_bytes_are_scaled_down_by_the_browser(visitor: Visitor, tmp_path: Path) -> None:
    large = tmp_path / "large.bmp"
    content = good("colour.bmp").content
    limit = int(visitor.page.locator("#stage").get_attribute("data-max-upload-bytes") or 0)
    large.write_bytes(content + bytes(limit + 1 - len(content)))  # the bytes after an image in its file are ignored
    visitor.choose(large)
    assert len(visitor.answer()) == FIVE
    assert "scaled down by this browser" in visitor.page.locator("#answer-origin").inner_text()


def test_too_many_pixels_are_scaled_down_when_the_service_says_so(visitor: Visitor, tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    large.write_bytes(bad("30_megapixels.png").content)
    visitor.choose(large)
    assert len(visitor.answer()) == FIVE
    assert "scaled down by this browser" in visitor.page.locator("#answer-origin").inner_text()
