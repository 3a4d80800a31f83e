"""Errors are shown with what to do about them, and the page waits and tries again for the visitor."""

from pathlib import Path

import pytest
from playwright.sync_api import Route, expect

from sightline_testing.browser import Visitor
from sightline_testing.sample_images import bad

BUSY = '{"status": 503, "code": "queue_full", "detail": "Too many images are waiting.", "success": false}'


def busy(visitor: Visitor, *, times: int, retry_after: str) -> None:
    """Have the next requests answered as a busy service answers them; no countdown continues by itself."""
    visitor.stop_clock()

    def refuse(route: Route) -> None:
        route.fulfill(
            status=503, body=BUSY, content_type="application/problem+json", headers={"Retry-After": retry_after}
        )

    visitor.page.route("**/predict*", refuse, times=times)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("notes.txt", b"words", "notes.txt is not an image that can be read here. Choose a JPEG or"),
        ("words.jpg", bad("text.jpg").content, "words.jpg is not an image that can be read here."),
        ("nothing.png", b"", "nothing.png is empty."),
    ],
)
def test_a_file_that_is_no_image_is_refused_in_words(
    visitor: Visitor, tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    visitor.choose(file)
    assert visitor.error().startswith(said)
    assert said in visitor.spoken(), "a screen reader gets it too"
    assert not visitor.page.get_by_role("button", name="Try again").is_visible(), "it would not help"


def test_a_damaged_image_is_refused_in_the_words_of_the_service(visitor: Visitor, tmp_path: Path) -> None:
    file = tmp_path / "damaged.jpg"
    file.write_bytes(bad("truncated.jpg").content)
    with visitor.page.expect_response("**/predict*") as response:
        visitor.choose(file)
    assert visitor.error() == response.value.json()["detail"]
    assert visitor.page.locator("#error-title").inner_text() == "This image is damaged"


def test_after_an_error_the_next_image_is_named(visitor: Visitor, tmp_path: Path, image: Path) -> None:
    file = tmp_path / "words.jpg"
    file.write_bytes(bad("text.jpg").content)
    visitor.choose(file)
    visitor.error()
    visitor.choose(image)
    visitor.answer()
    assert not visitor.page.locator("#error").is_visible()


def test_a_busy_service_is_asked_again_when_it_says(visitor: Visitor, image: Path) -> None:
    busy(visitor, times=1, retry_after="2")
    visitor.choose(image)
    for left in ("2 seconds", "1 second"):
        expect(visitor.page.locator("#busy-line")).to_have_text(f"Too many images are waiting. Trying again in {left}.")
        visitor.page.clock.run_for(1_000)
    visitor.answer()


def test_nobody_has_to_wait_for_the_countdown(visitor: Visitor, image: Path) -> None:
    busy(visitor, times=1, retry_after="20")
    visitor.choose(image)
    visitor.page.get_by_role("button", name="Try now").click()
    visitor.answer()


def test_waiting_can_be_stopped_and_taken_up_again(visitor: Visitor, image: Path) -> None:
    busy(visitor, times=1, retry_after="20")
    visitor.choose(image)
    visitor.page.get_by_role("button", name="Try now").wait_for()
    visitor.page.get_by_role("button", name="Stop", exact=True).press("Enter")
    assert "The image is still here" in visitor.error()
    assert visitor.focused() == "error-title", "the button is gone, and the keyboard is where the news stands"
    visitor.page.get_by_role("button", name="Try again").click()
    visitor.answer()


def test_a_service_that_stays_busy_is_not_asked_for_ever(visitor: Visitor, image: Path) -> None:
    busy(visitor, times=6, retry_after="20")
    visitor.choose(image)
    for _ in range(5):
        visitor.page.get_by_role("button", name="Try now").click()
    assert visitor.error() == "Too many images are waiting."
    visitor.page.get_by_role("button", name="Try again").click()
    visitor.answer()


def test_a_lost_connection_is_said_and_can_be_tried_again(visitor: Visitor, image: Path) -> None:
    visitor.page.context.set_offline(True)
    visitor.choose(image)
    assert visitor.error() == "The service cannot be reached. Check the connection, then try again."
    visitor.page.context.set_offline(False)
    visitor.page.get_by_role("button", name="Try again").click()
    visitor.answer()
