"""The whole loop: a wrong answer, reported, reviewed, learned and promoted, is a right one.

The operator's commands are those of docs/feedback-loop.md.

STORY_IMAGES=docs/feedback-loop makes the images in docs/feedback-loop.md.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, ViewportSize

from sightline_testing.browser import Visitor
from sightline_testing.checkout import shell
from sightline_testing.client import Client
from sightline_testing.drawings import drawing_jpeg
from sightline_testing.feedback_loop import BASE, MODEL, FeedbackLoop, running_loop
from sightline_testing.palette import small_png
from sightline_testing.service import REPOSITORY
from sightline_testing.waiting import wait_until

KEY = "the-key-of-these-tests"
KIND, LABEL = "bar_chart", "bar chart"  # nothing that the model has a class for
FIRST, OTHERS, UNSEEN = 2, (0, 1, 4, 7, 9), 5
NEW = f"{MODEL}/2-int8"
LOAD_TIMEOUT_S = 300.0  # generous: other work may share the machine
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
    """Images of the story, all of one size, if they are requested."""

    def __init__(self) -> None:
        self._folder = os.environ.get("STORY_IMAGES")

    def keep(self, name: str, page: Page, part: str) -> None:
        """Keep a screenshot of the upper part of this element, if it is requested."""
        if not self._folder:
            return
        page.evaluate("scrollTo(0, 0)")
        box = page.locator(part).bounding_box()
        assert box
        width, height = SIZE["width"], SIZE["height"]
        png = page.screenshot(full_page=True, clip={"x": box["x"], "y": box["y"], "width": width, "height": height})
        folder = Path(self._folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.png").write_bytes(small_png(png))


def test_a_wrong_answer_reported_reviewed_learned_and_promoted_is_right(
    visitor: Visitor, loop: FeedbackLoop, tmp_path: Path
) -> None:
    album = Album()
    images = {seed: drawn(tmp_path, seed) for seed in (FIRST, *OTHERS, UNSEEN)}
    assert answer_to(visitor, images[UNSEEN])[0].lower() != LABEL
    for seed in (*OTHERS, FIRST):
        name, version = answer_to(visitor, images[seed])
        assert (name.lower() != LABEL, version) == (True, BASE)
        report(visitor, album if seed == FIRST else None)
    review(visitor, album)
    made = operate(loop, "make improve")
    assert f"made {NEW}" in made
    if "STORY_IMAGES" in os.environ:
        compare(visitor, album, loop)
    operate(loop, 'make models DO="shadow 2-int8 --share 0.2"')
    see_the_other_version(visitor, loop, images[UNSEEN])
    assert f"{NEW}: " in operate(loop, 'make models DO="shadow --status"')
    promoted = operate(loop, 'make models DO="promote 2-int8 --provisional"')
    assert f"{NEW} is active" in promoted
    visitor.open()
    for seed in (UNSEEN, FIRST):
        name, version = answer_to(visitor, images[seed])
        assert (name.lower(), version) == (LABEL, NEW)
    album.keep("5-right", visitor.page, "#stage")
    assert f"{BASE} is active" in operate(loop, "make models DO=rollback")
    assert loop.ask(images[UNSEEN].read_bytes())[1] == BASE


def operate(loop: FeedbackLoop, command: str) -> str:
    """Run a command of the documentation, which has to succeed; return what it printed."""
    told = {"STATE_DIR": str(loop.service.state_dir), "BUNDLES_FOLDER": str(loop.bundles)}
    finished = shell(REPOSITORY, command, told)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def see_the_other_version(visitor: Visitor, loop: FeedbackLoop, image: Path) -> None:
    """Request the answer of the shadow version on the page, and again without scripts."""
    page, link = visitor.page, visitor.page.get_by_role("link", name=f"Compare with version {NEW}")
    link_of_page, client = 'id="answer-compare"', Client(loop.service.url)
    wait_until(
        lambda: link_of_page in client.get("/").text, "the workers have loaded the other version", LOAD_TIMEOUT_S
    )
    visitor.open()
    while not page.locator("#answer-compare").count():  # another process of the api may have learned it later
        visitor.reload()
    assert answer_to(visitor, image)[1] == BASE
    link.press("Enter")
    page.locator("#compared", has_text=f"{NEW}: {LABEL}").wait_for()
    for view in visitor.views():
        assert (visitor.overflow(), visitor.barriers()) == (0, []), view
    visitor.open(link.get_attribute("href") or "")
    page.get_by_role("heading", name=NEW).wait_for()
    assert LABEL in page.locator(".compared-list li").first.inner_text()
    for view in visitor.views():
        assert (visitor.overflow(), visitor.barriers()) == (0, []), view
        if "SHOTS" in os.environ:
            page.screenshot(path=f"{os.environ['SHOTS']}/compared-{view}.png")
    page.set_viewport_size(WINDOW)
    page.emulate_media(color_scheme="light")


def compare(visitor: Visitor, album: Album, loop: FeedbackLoop) -> None:
    """Show the page that compares both versions; test_documented_commands.py runs the command in any case."""
    loop.done("cli.evaluate", "2-int8")
    visitor.page.set_viewport_size(SIZE)
    visitor.page.goto((loop.bundles / NEW / "evaluation.html").as_uri())
    album.keep("4-evaluate", visitor.page, "body")
    visitor.page.set_viewport_size(WINDOW)


def drawn(folder: Path, seed: int) -> Path:
    image = folder / f"chart{seed}.jpg"
    image.write_bytes(drawing_jpeg(KIND, seed))
    return image


def answer_to(visitor: Visitor, image: Path) -> tuple[str, str]:
    """Upload an image on the page; return its prediction and the version."""
    visitor.open()
    visitor.choose(image)
    visitor.page.get_by_alt_text(f"The image you gave: {image.name}").wait_for()
    visitor.answer()
    origin = visitor.page.locator("#answer-origin").inner_text()
    found = re.search(rf"{MODEL}/\S+", origin)
    assert found, origin
    return visitor.answer_name(), found[0].rstrip(".,")


def report(visitor: Visitor, album: Album | None) -> None:
    """Say on the page what the image really shows."""
    visitor.page.locator("#report-label").fill(LABEL)
    if album is not None:
        album.keep("1-wrong", visitor.page, "#stage")
        visitor.page.locator(".prediction-map").first.click()
        visitor.page.locator("#view .map").wait_for()
        album.keep("2-where", visitor.page, "#stage")
    visitor.report()
    visitor.reported()


def review(visitor: Visitor, album: Album) -> None:
    """Accept every report, by keyboard and with the operator's key."""
    visitor.sign_in(KEY)
    album.keep("3-review", visitor.page, "#review")
    for done in range(1, len(OTHERS) + 2):
        visitor.page.keyboard.press("a")
        visitor.page.wait_for_function(
            "count => document.querySelectorAll('.case[data-status=accepted]').length === count", arg=done
        )
