"""From "that's wrong" to a decision: a visitor reports, the operator reviews by keyboard."""

import csv
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, ViewportSize

from sightline_testing.browser import Visitor
from sightline_testing.pictures import jpeg
from sightline_testing.service import Service, running_service

Visit = Callable[..., Visitor]
KEY = "the-key-of-these-tests"
SCHEMES: tuple[Literal["light"], Literal["dark"]] = ("light", "dark")
PHONE, DESKTOP = ViewportSize(width=360, height=740), ViewportSize(width=1280, height=800)
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def reviewed_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service of its own: an operator's key that the tests know, and an inbox that nobody else fills."""
    told = {"OPERATOR_KEY": KEY, "MODEL_WORKERS": "1", "REQUEST_TIMEOUT_S": "60"}
    with running_service(tmp_path_factory.mktemp("reviewed"), told) as service:
        yield service


@pytest.fixture
def visitor(browser: Browser, reviewed_service: Service) -> Iterator[Visitor]:
    yield from visiting(browser, reviewed_service, viewport=DESKTOP)


def visiting(browser: Browser, service: Service, **options: Any) -> Iterator[Visitor]:
    context = browser.new_context(**options)
    visitor = Visitor(context.new_page(), service.url)
    visitor.open()
    yield visitor
    context.close()
    assert visitor.complaints == []


def report(visitor: Visitor, folder: Path, seed: int, label: str) -> None:
    """Have a picture named, and say that it is something else."""
    picture = folder / f"scene{seed}.jpg"
    picture.write_bytes(jpeg(seed=seed))
    visitor.choose(picture)
    visitor.page.get_by_alt_text(f"The picture you gave: scene{seed}.jpg").wait_for()
    visitor.answer()
    visitor.page.locator("#report-label").fill(label)
    visitor.report()
    visitor.reported()


def enter(visitor: Visitor) -> None:
    visitor.open("/review")
    visitor.page.get_by_label("Your name").fill("Ann")
    visitor.page.get_by_label("The operator’s key").fill(KEY)  # noqa: RUF001  as it is on the page
    visitor.page.keyboard.press("Enter")
    visitor.page.locator("#cases").wait_for()


def decisions(service: Service) -> list[tuple[str, str, str]]:
    assert service.state_dir is not None
    file = service.state_dir / "feedback" / "decisions.csv"
    if not file.exists():
        return []
    with file.open(newline="") as content:
        return [(row["decision"], row["label"], row["reviewer"]) for row in csv.DictReader(content)]


def current(visitor: Visitor) -> str:
    return visitor.page.locator('.case[aria-current="true"] .case-proposed').inner_text()


def kept(visitor: Visitor, count: int) -> None:
    visitor.page.wait_for_function(
        "count => document.querySelectorAll('.case:not([data-status=open])').length === count", arg=count
    )


def test_reports_are_reviewed_by_keyboard_alone(visitor: Visitor, reviewed_service: Service, tmp_path: Path) -> None:
    for seed, label in enumerate(["tiger cat", HOSTILE, "", "lynx"]):
        report(visitor, tmp_path, seed, label)
    enter(visitor)
    assert visitor.page.locator('[data-count="open"]').inner_text().strip() == "4"
    assert "lynx" in current(visitor), "the newest first, and it has the keyboard"
    visitor.page.keyboard.press("a")
    kept(visitor, 1)
    assert "not sure" in current(visitor)
    visitor.page.keyboard.press("a")
    visitor.page.keyboard.press("c")
    visitor.page.keyboard.type("bar chart")
    visitor.page.keyboard.press("Enter")
    kept(visitor, 2)
    assert HOSTILE in current(visitor)
    assert visitor.page.locator('.case[aria-current="true"] .badge').inner_text() == "new to the model"
    visitor.page.keyboard.press("r")
    kept(visitor, 3)
    assert "tiger cat" in current(visitor)
    visitor.page.keyboard.press("c")
    visitor.page.keyboard.type("rough")
    visitor.page.keyboard.press("Escape")
    visitor.page.keyboard.press("k")
    assert HOSTILE in current(visitor)
    visitor.page.keyboard.press("j")
    assert decisions(reviewed_service) == [
        ("accept", "lynx", "Ann"),
        ("correct", "bar chart", "Ann"),
        ("reject", "", "Ann"),
    ]
    counts = {name: visitor.page.locator(f'[data-count="{name}"]').inner_text().strip() for name in ("open", "all")}
    assert counts == {"open": "1", "all": "4"}
    visitor.page.keyboard.press("m")
    visitor.page.locator('.case[aria-current="true"] .map').wait_for()
    visitor.open("/review?status=corrected")
    assert visitor.page.get_by_text("bar chart").first.is_visible()
    with visitor.page.expect_download() as download:
        visitor.page.get_by_role("link", name="JSON lines").click()
    assert len(download.value.path().read_text().splitlines()) == 2
    visitor.page.get_by_role("button", name="Leave").click()
    visitor.page.get_by_label("Your name").wait_for()
    visitor.open("/review")
    assert visitor.page.locator("#cases").count() == 0


def look(visitor: Visitor, folder: Path, page: str) -> None:
    """Find no barrier and no sideways scrolling on the page as it stands; keep a picture of each look that it has."""
    for scheme in SCHEMES:
        visitor.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        for viewport in (PHONE, DESKTOP):
            visitor.page.set_viewport_size(viewport)
            assert visitor.overflow() == 0, (page, scheme, viewport)
            assert visitor.barriers() == [], (page, scheme, viewport)
            visitor.page.screenshot(path=folder / f"{page}-{viewport['width']}-{scheme}.png")


def test_the_inbox_has_no_barrier_and_scrolls_sideways_nowhere(visitor: Visitor, tmp_path: Path) -> None:
    folder = Path(os.environ.get("SCREENSHOTS_DIR", tmp_path / "screenshots"))
    report(visitor, tmp_path, 7, "a name that is so long that it can hardly be the name of anything " * 2)
    visitor.open("/review/login")
    look(visitor, folder, "login")
    enter(visitor)
    visitor.page.locator('.case[aria-current="true"] .case-map').click()
    visitor.page.locator(".case .map").wait_for()
    look(visitor, folder, "review")
    visitor.open("/review?label=nobody-said-that")
    visitor.page.get_by_text("No reports here.").wait_for()
    look(visitor, folder, "review-empty")


def test_without_scripts_the_inbox_decides_by_its_forms(
    browser: Browser, reviewed_service: Service, visitor: Visitor, tmp_path: Path
) -> None:
    report(visitor, tmp_path, 9, "puma")
    before = decisions(reviewed_service)
    for plain in visiting(browser, reviewed_service, java_script_enabled=False):
        enter(plain)
        case = plain.page.locator(".case").first
        assert "puma" in case.locator(".case-proposed").inner_text()
        case.get_by_role("button", name="Accept").click()
        plain.page.locator("#cases").wait_for()
    assert decisions(reviewed_service) == [*before, ("accept", "puma", "Ann")]
