"""The whole loop: a wrong answer, reported, reviewed, learned, compared and promoted, is a right one.

STORY_PICTURES=docs/feedback-loop makes the pictures in docs/feedback-loop.md.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, ViewportSize

from sightline_testing.browser import Visitor
from sightline_testing.drawings import drawing_jpeg
from sightline_testing.feedback_loop import BASE, MODEL, FeedbackLoop, running_loop
from sightline_testing.palette import small_png

KEY = "the-key-of-these-tests"
KIND, LABEL = "bar_chart", "bar chart"  # nothing that the model has a class for
FIRST, OTHERS, UNSEEN = 2, (0, 1, 4, 7, 9), 5
NEW = f"{MODEL}/2-int8"
WINDOW = ViewportSize(width=960, height=720)
SIZE = ViewportSize(width=884, height=640)  # of the page without its margins


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[FeedbackLoop]:
    told = {"OPERATOR_KEY": KEY, "MODEL_WORKERS": "1", "REQUEST_TIMEOUT_S": "60"}
    with running_loop(tmp_path / "loop", told) as loop:
        yield loop


@pytest.fixture
def visitor(browser: Browser, loop: FeedbackLoop) -> Iterator[Visitor]:
    context = browser.new_context(viewport=WINDOW, color_scheme="light", reduced_motion="reduce")
    visitor = Visitor(context.new_page(), loop.service.url)
    yield visitor
    context.close()
    assert visitor.complaints == []


class Album:
    """Pictures of the story, all of one size, where somebody wants them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, name: str, page: Page, part: str) -> None:
        """Keep what the upper part of this element looks like."""
        page.evaluate("scrollTo(0, 0)")
        box = page.locator(part).bounding_box()
        assert box
        width, height = SIZE["width"], SIZE["height"]
        png = page.screenshot(full_page=True, clip={"x": box["x"], "y": box["y"], "width": width, "height": height})
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / f"{name}.png").write_bytes(small_png(png))


def test_a_wrong_answer_reported_reviewed_learned_and_promoted_is_right(
    visitor: Visitor, loop: FeedbackLoop, tmp_path: Path
) -> None:
    album = Album(Path(os.environ.get("STORY_PICTURES", tmp_path / "story")))
    pictures = {seed: drawn(tmp_path, seed) for seed in (FIRST, *OTHERS, UNSEEN)}
    assert answer_to(visitor, pictures[UNSEEN])[0].lower() != LABEL
    for seed in (*OTHERS, FIRST):
        name, version = answer_to(visitor, pictures[seed])
        assert (name.lower() != LABEL, version) == (True, BASE)
        report(visitor, album if seed == FIRST else None)
    review(visitor, album)
    made = loop.done("cli.improve")
    assert f"made {NEW}" in made
    compared = loop.done("cli.evaluate", "2-int8")
    assert "Reviewed cases" in compared
    visitor.page.set_viewport_size(SIZE)
    visitor.page.goto((loop.bundles / NEW / "evaluation.html").as_uri())
    album.keep("4-evaluate", visitor.page, "body")
    visitor.page.set_viewport_size(WINDOW)
    promoted = loop.done("cli.models", "promote", "2-int8")
    assert f"{NEW} is active" in promoted
    visitor.open()
    for seed in (UNSEEN, FIRST):
        name, version = answer_to(visitor, pictures[seed])
        assert (name.lower(), version) == (LABEL, NEW)
    album.keep("5-right", visitor.page, "#stage")


def drawn(folder: Path, seed: int) -> Path:
    picture = folder / f"chart{seed}.jpg"
    picture.write_bytes(drawing_jpeg(KIND, seed))
    return picture


def answer_to(visitor: Visitor, picture: Path) -> tuple[str, str]:
    """Give a picture on the page; what is said of it, and by which version."""
    visitor.open()
    visitor.choose(picture)
    visitor.page.get_by_alt_text(f"The picture you gave: {picture.name}").wait_for()
    visitor.answer()
    origin = visitor.page.locator("#answer-origin").inner_text()
    found = re.search(rf"{MODEL}/\S+", origin)
    assert found, origin
    return visitor.answer_name(), found[0].rstrip(".,")


def report(visitor: Visitor, album: Album | None) -> None:
    """Say on the page what the picture really shows."""
    visitor.page.locator("#report-label").fill(LABEL)
    if album is not None:
        album.keep("1-wrong", visitor.page, "#stage")
        visitor.page.locator(".guess-map").first.click()
        visitor.page.locator("#view .map").wait_for()
        album.keep("2-where", visitor.page, "#stage")
    visitor.report()
    visitor.reported()


def review(visitor: Visitor, album: Album) -> None:
    """Accept every report, by keyboard and with the operator's key."""
    visitor.open("/review")
    visitor.page.get_by_label("Your name").fill("Ann")
    visitor.page.get_by_label("The operator’s key").fill(KEY)  # noqa: RUF001  as it is on the page
    visitor.page.keyboard.press("Enter")
    visitor.page.locator("#cases").wait_for()
    album.keep("3-review", visitor.page, "#review")
    for done in range(1, len(OTHERS) + 2):
        visitor.page.keyboard.press("a")
        visitor.page.wait_for_function(
            "count => document.querySelectorAll('.case[data-status=accepted]').length === count", arg=done
        )
