"""Where? A heat map over the image for any of the five predictions, on request."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Route

from sightline_testing.browser import Visitor
from sightline_testing.sample_images import encode

Visit = Callable[..., Visitor]
# As often as a worker on a machine with ten times as much to do as it can is not ready yet.
REFUSALS = 10
PRESSED = '.prediction-map[aria-pressed="true"]'


@pytest.mark.parametrize("place", [0, 4])
def test_a_prediction_shows_where_it_was_seen_and_hides_it_again(
    visitor: Visitor, photograph: Path, place: int
) -> None:
    visitor.choose(photograph)
    prediction = visitor.answer()[place]
    assert visitor.page.locator("#view .map").count() == 0, "no map was requested"
    button = visitor.page.locator(".prediction-map").nth(place)
    button.click()
    visitor.page.locator("#view .map").wait_for()
    assert button.get_attribute("aria-pressed") == "true"
    assert prediction.name.lower() in visitor.spoken().lower()
    boxes = "images => new Set(images.map((image) => JSON.stringify(image.getBoundingClientRect()))).size"
    assert visitor.page.locator("#view img").evaluate_all(boxes) == 1, "the map covers the image and nothing else"
    button.click()
    visitor.page.locator("#view .map").wait_for(state="detached")
    assert button.get_attribute("aria-pressed") == "false"


def test_one_map_is_shown_at_a_time_and_none_over_the_next_image(
    visitor: Visitor, photograph: Path, image: Path
) -> None:
    visitor.choose(photograph)
    visitor.answer()
    for place in (0, 1):
        visitor.page.locator(".prediction-map").nth(place).click()
        visitor.page.locator(".prediction-map").nth(place).and_(visitor.page.locator(PRESSED)).wait_for()
        assert visitor.page.locator("#view .map").count() == visitor.page.locator(PRESSED).count() == 1
    visitor.choose(image)
    visitor.page.get_by_alt_text("The image you gave: scene.jpg").wait_for()
    visitor.answer()
    assert visitor.page.locator("#view .map").count() == visitor.page.locator(PRESSED).count() == 0


def held_map(visitor: Visitor) -> Route:
    """Ask for the map of the first prediction, and hold its answer back."""
    held = visitor.hold("**/maps/**")
    visitor.page.locator(".prediction-map").first.click()
    return held.wait()


def answered(visitor: Visitor, held: Route) -> None:
    """Let a map arrive for what was held back, and be laid where it would be."""
    held.fulfill(body=encode(Image.new("RGBA", (8, 6)), "PNG"), content_type="image/png")
    visitor.page.wait_for_timeout(1_000)


def test_a_map_that_comes_late_is_not_laid_over_the_next_image(visitor: Visitor, photograph: Path, image: Path) -> None:
    visitor.choose(photograph)
    visitor.answer()
    held = held_map(visitor)
    visitor.choose(image)
    visitor.page.get_by_alt_text("The image you gave: scene.jpg").wait_for()
    visitor.answer()
    answered(visitor, held)
    assert visitor.page.locator("#view .map").count() == visitor.page.locator(PRESSED).count() == 0
    assert not visitor.page.locator("#notice").is_visible()


def test_a_map_that_comes_late_is_not_laid_over_an_image_of_this_visit(
    visitor: Visitor, photograph: Path, image: Path
) -> None:
    for file in (photograph, image):
        visitor.choose(file)
        visitor.page.locator(f'#view img[alt$="{file.name}"]').wait_for()
        visitor.answer()
    held = held_map(visitor)
    visitor.page.locator("#tiles .tile").last.click()
    answered(visitor, held)
    assert visitor.page.locator("#view .map").count() == visitor.page.locator(PRESSED).count() == 0


def test_a_map_that_was_taken_away_before_it_came_stays_away(visitor: Visitor, photograph: Path) -> None:
    visitor.choose(photograph)
    visitor.answer()
    held = held_map(visitor)
    visitor.page.locator(".prediction-map").first.click()
    answered(visitor, held)
    assert visitor.page.locator("#view .map").count() == visitor.page.locator(PRESSED).count() == 0


def test_of_two_maps_the_one_asked_for_last_is_laid(visitor: Visitor, photograph: Path) -> None:
    visitor.choose(photograph)
    visitor.answer()
    held = held_map(visitor)
    second = visitor.page.locator(".prediction-map").nth(1)
    second.click()
    second.and_(visitor.page.locator(PRESSED)).wait_for()
    answered(visitor, held)
    assert second.get_attribute("aria-pressed") == "true"
    assert visitor.page.locator("#view .map").count() == visitor.page.locator(PRESSED).count() == 1


def test_a_map_that_cannot_be_had_says_nothing_about_the_next_image(
    visitor: Visitor, photograph: Path, image: Path
) -> None:
    visitor.choose(photograph)
    visitor.answer()
    held = held_map(visitor)
    visitor.choose(image)
    visitor.page.get_by_alt_text("The image you gave: scene.jpg").wait_for()
    visitor.answer()
    held.fulfill(status=422, json={"detail": "This model has no heat maps.", "code": "not_explainable"})
    visitor.page.wait_for_timeout(300)
    assert not visitor.page.locator("#notice").is_visible()


def test_a_map_is_waited_for_until_a_busy_worker_has_loaded_what_makes_it(visitor: Visitor, photograph: Path) -> None:
    visitor.choose(photograph)
    visitor.answer()
    refused: list[str] = []
    loading = {"detail": "What explains it is being loaded.", "code": "not_ready"}

    def answer(route: Route) -> None:
        if len(refused) < REFUSALS:
            refused.append(route.request.url)
            route.fulfill(status=503, json=loading, headers={"Retry-After": "1"})
        else:
            route.continue_()

    visitor.page.route("**/maps/**", answer)
    visitor.page.locator(".prediction-map").first.click()
    visitor.page.locator("#view .map").wait_for()
    assert len(refused) == REFUSALS


def test_a_map_that_cannot_be_had_is_told_in_words(visitor: Visitor, image: Path) -> None:
    visitor.choose(image)
    visitor.answer()
    refusal = {"detail": "This model has no heat maps.", "code": "not_explainable"}
    visitor.page.route("**/maps/**", lambda route: route.fulfill(status=422, json=refusal))
    visitor.page.locator(".prediction-map").first.click()
    visitor.page.get_by_text(refusal["detail"]).first.wait_for()
    assert visitor.page.locator(PRESSED).count() == 0


def test_without_scripts_nothing_offers_what_it_cannot_do(visit: Visit, image: Path) -> None:
    visitor = visit(java_script_enabled=False)
    visitor.choose(image)
    visitor.page.get_by_role("button", name="Name it").click()
    visitor.answer()
    assert not visitor.page.locator(".prediction-map").first.is_visible()
