"""Where did it look? A map over the picture for any of the five guesses, when somebody asks."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sightline_testing.browser import Visitor

Visit = Callable[..., Visitor]
PRESSED = '.guess-map[aria-pressed="true"]'


@pytest.mark.parametrize("place", [0, 4])
def test_a_guess_shows_where_it_was_seen_and_hides_it_again(visitor: Visitor, photograph: Path, place: int) -> None:
    visitor.choose(photograph)
    guess = visitor.answer()[place]
    assert visitor.page.locator("#view .map").count() == 0, "nobody has asked"
    button = visitor.page.locator(".guess-map").nth(place)
    button.click()
    visitor.page.locator("#view .map").wait_for()
    assert button.get_attribute("aria-pressed") == "true"
    assert guess.name.lower() in visitor.spoken().lower()
    picture, laid = (visitor.page.locator(each).bounding_box() for each in ("#view img:not(.map)", "#view .map"))
    assert picture == laid, "the map covers the picture and nothing else"
    button.click()
    visitor.page.locator("#view .map").wait_for(state="detached")
    assert button.get_attribute("aria-pressed") == "false"


def test_one_map_is_shown_at_a_time_and_none_over_the_next_picture(
    visitor: Visitor, photograph: Path, picture: Path
) -> None:
    visitor.choose(photograph)
    visitor.answer()
    for place in (0, 1):
        visitor.page.locator(".guess-map").nth(place).click()
        visitor.page.locator(".guess-map").nth(place).and_(visitor.page.locator(PRESSED)).wait_for()
        assert visitor.page.locator("#view .map").count() == visitor.page.locator(PRESSED).count() == 1
    visitor.choose(picture)
    visitor.page.get_by_alt_text("The picture you gave: scene.jpg").wait_for()
    visitor.answer()
    assert visitor.page.locator("#view .map").count() == visitor.page.locator(PRESSED).count() == 0


def test_a_map_that_cannot_be_had_is_told_in_words(visitor: Visitor, picture: Path) -> None:
    visitor.choose(picture)
    visitor.answer()
    refusal = {"detail": "This model cannot say where it looked.", "code": "not_explainable"}
    visitor.page.route("**/maps/**", lambda route: route.fulfill(status=422, json=refusal))
    visitor.page.locator(".guess-map").first.click()
    visitor.page.get_by_text(refusal["detail"]).first.wait_for()
    assert visitor.page.locator(PRESSED).count() == 0


def test_without_scripts_nothing_offers_what_it_cannot_do(visit: Visit, picture: Path) -> None:
    visitor = visit(java_script_enabled=False)
    visitor.choose(picture)
    visitor.page.get_by_role("button", name="Name it").click()
    visitor.answer()
    assert not visitor.page.locator(".guess-map").first.is_visible()
