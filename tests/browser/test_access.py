"""Accessibility: no fault that axe-core detects, no sideways scrolling, no motion if the visitor prefers none."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from sightline_testing.browser import Visitor
from sightline_testing.sample_images import bad

Visit = Callable[..., Visitor]
FULL = bool(os.environ.get("FULL"))
PHONE = {"width": 360, "height": 740}


def barriers(visitor: Visitor) -> dict[str, list[str]]:
    """Return what is in somebody's way on the page as it stands, in each view."""
    found: dict[str, list[str]] = {}
    for view in visitor.views():
        faults = [*visitor.barriers(), *(["it scrolls sideways"] if visitor.overflow() else [])]
        found |= {view: faults} if faults else {}
    return found


def test_no_state_of_the_page_has_a_barrier_or_scrolls_sideways(visit: Visit, image: Path, tmp_path: Path) -> None:
    visitor = visit()
    found = {"start": barriers(visitor)}
    held = visitor.hold("**/predict*")
    visitor.choose(image)
    visitor.page.locator("[data-state=busy] #view img").wait_for()
    found["busy"] = barriers(visitor)
    held.wait().continue_()
    visitor.answer()
    found["answer"] = barriers(visitor)
    visitor.report()
    visitor.reported()
    found["reported"] = barriers(visitor)
    damaged = tmp_path / ("a_file_with_a_name_so_long_that_it_fits_on_no_telephone" * 3 + ".jpg")
    damaged.write_bytes(bad("truncated.jpg").content)
    visitor.choose(damaged)
    visitor.error()
    found["error, with the images of this visit"] = barriers(visitor)
    assert {state: each for state, each in found.items() if each} == {}


def test_the_description_of_the_api_has_no_barrier_and_scrolls_sideways_nowhere(visit: Visit) -> None:
    visitor = visit("/docs")
    assert {view: visitor.overflow() for view in visitor.views() if visitor.overflow()} == {}
    assert visitor.barriers("color-contrast") == []
    # Its sections have the same layout, and contrast takes as long as all else: the first and last ones are enough.
    if not FULL:
        visitor.page.evaluate(
            "document.querySelectorAll('.docs-operation').forEach("
            "(each, at, all) => { if (at > 2 && at < all.length - 3) each.remove(); })"
        )
    assert barriers(visitor) == {}


@pytest.mark.parametrize("path", ["/feedback", "/review", "/there-is-no-such-page"])
def test_no_other_page_has_a_barrier_or_scrolls_sideways(visit: Visit, path: str) -> None:
    visitor = visit(path)
    expect(visitor.page.get_by_role("link", name="Sightline")).to_be_visible()
    assert barriers(visitor) == {}


def test_no_page_that_the_plain_form_leads_to_has_a_barrier_or_scrolls_sideways(
    visit: Visit, image: Path, tmp_path: Path
) -> None:
    visitor = visit()
    visitor.page.route("**/js/*.js", lambda route: route.abort())
    found = {}
    damaged = tmp_path / "damaged.jpg"
    damaged.write_bytes(bad("truncated.jpg").content)
    for file, wait in ((damaged, visitor.error), (image, visitor.answer)):
        visitor.open()
        visitor.choose(file)
        with visitor.navigation():
            visitor.page.get_by_role("button", name="Name it").click()
        wait()
        found[file.name] = barriers(visitor)
    visitor.report()
    visitor.page.get_by_role("heading", name="Thank you").wait_for()
    found["thanks"] = barriers(visitor)
    assert {state: each for state, each in found.items() if each} == {}


@pytest.mark.parametrize("scripts", [True, False])
def test_the_plain_form_fits_a_phone(visit: Visit, image: Path, *, scripts: bool) -> None:
    visitor = visit(java_script_enabled=scripts, viewport=PHONE)
    assert visitor.overflow() == 0
    visitor.choose(image)
    if not scripts:
        visitor.page.get_by_role("button", name="Name it").click()
    visitor.answer()
    assert visitor.overflow() == 0


@pytest.mark.parametrize(("wish", "moves"), [("reduce", False), ("no-preference", True)])
def test_nothing_moves_for_who_wants_no_motion(visit: Visit, image: Path, wish: str, *, moves: bool) -> None:
    visitor = visit(reduced_motion=wish)
    visitor.hold("**/predict*")
    visitor.choose(image)
    visitor.page.locator("[data-state=busy] #view img").wait_for()
    running = "document.getAnimations().some((one) => one.playState === 'running')"
    if moves:
        visitor.page.wait_for_function(running)
    else:
        assert not visitor.page.evaluate(running)


def test_the_answer_is_spoken_without_moving_the_keyboard(visitor: Visitor, image: Path) -> None:
    visitor.page.locator("#file").focus()
    visitor.choose(image)
    first, *_ = visitor.answer()
    assert f"{first.name.lower()}, {first.percent}" in visitor.spoken().lower()
    assert visitor.page.locator("#announcement").get_attribute("role") == "status"
    assert visitor.focused() == "file"


def test_the_policy_of_the_page_runs_no_inline_script(visitor: Visitor) -> None:
    with visitor.page.expect_console_message(lambda message: "Content Security Policy" in message.text):
        ran = visitor.page.evaluate(
            """() => {
              const script = document.createElement("script");
              script.textContent = "window.ran = true";
              document.body.append(script);
              return window.ran === true;
            }"""
        )
    assert not ran
    visitor.complaints.clear()
