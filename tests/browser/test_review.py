"""From "that's wrong" to a decision: a visitor reports, the operator reviews by keyboard."""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from sightline_testing.browser import Visitor
from sightline_testing.client import Client
from sightline_testing.sample_images import FAST_HEIC, encode, jpeg, scene
from sightline_testing.service import Service, running_service
from wire.tables.feedback import REPORTS, REPORTS_FILE

Visit = Callable[..., Visitor]
KEY = "the-key-of-these-tests"
# Generous: other work may share the machine with the trainer.
ORDER_TIMEOUT_MS = 300_000
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service of its own: an operator key that the tests know, and an inbox that no other test fills."""
    told = {"OPERATOR_KEY": KEY, "MODEL_WORKERS": "1", "REQUEST_TIMEOUT_S": "60", "TRAINER": "1"}
    with running_service(tmp_path_factory.mktemp("reviewed"), told) as service:
        yield service


@pytest.fixture
def visitor(visit: Visit) -> Visitor:
    visitor = visit()
    visitor.page.set_viewport_size({"width": 1280, "height": 800})
    return visitor


def report(visitor: Visitor, folder: Path, seed: int, label: str) -> None:
    """Have an image named, and say that it is something else."""
    image = folder / f"scene{seed}.jpg"
    image.write_bytes(jpeg(seed=seed))
    visitor.choose(image)
    visitor.page.get_by_alt_text(f"The image you gave: scene{seed}.jpg").wait_for()
    visitor.answer()
    visitor.page.locator("#report-label").fill(label)
    visitor.report()
    visitor.reported()


def enter(visitor: Visitor, name: str = "Ann") -> None:
    visitor.sign_in(KEY, name)


def decisions(service: Service) -> list[tuple[str, str, str]]:
    assert service.state_dir is not None
    file = service.state_dir / "feedback" / "decisions.csv"
    if not file.exists():
        return []
    with file.open(newline="") as content:
        return [(row["decision"], row["label"], row["reviewer"]) for row in csv.DictReader(content)]


def current(visitor: Visitor) -> Locator:
    return visitor.page.locator('.case[aria-current="true"] .case-proposed')


def kept(visitor: Visitor, count: int) -> None:
    visitor.page.wait_for_function(
        "count => document.querySelectorAll('.case:not([data-status=open])').length === count", arg=count
    )


def test_reports_are_reviewed_by_keyboard_alone(visitor: Visitor, service: Service, tmp_path: Path) -> None:
    for seed, label in enumerate(["tiger cat", HOSTILE, "", "lynx"]):
        report(visitor, tmp_path, seed, label)
    enter(visitor)
    expect(visitor.page.locator('[data-count="open"]')).to_have_text("4")
    expect(current(visitor), "the newest first, and it has the keyboard").to_contain_text("lynx")
    visitor.page.keyboard.press("a")
    kept(visitor, 1)
    expect(current(visitor)).to_contain_text("without a label")
    visitor.page.keyboard.press("a")
    visitor.page.keyboard.press("c")
    visitor.page.keyboard.type("bar chart")
    visitor.page.keyboard.press("Enter")
    kept(visitor, 2)
    expect(current(visitor)).to_contain_text(HOSTILE)
    expect(visitor.page.locator('.case[aria-current="true"] .badge')).to_have_text("new to the model")
    visitor.page.keyboard.press("r")
    kept(visitor, 3)
    expect(current(visitor)).to_contain_text("tiger cat")
    visitor.page.keyboard.press("c")
    visitor.page.keyboard.type("rough")
    visitor.page.keyboard.press("Escape")
    visitor.page.keyboard.press("k")
    expect(current(visitor)).to_contain_text(HOSTILE)
    visitor.page.keyboard.press("j")
    assert decisions(service) == [
        ("accept", "lynx", "Ann"),
        ("correct", "bar chart", "Ann"),
        ("reject", "", "Ann"),
    ]
    for name, count in (("open", "1"), ("all", "4")):
        expect(visitor.page.locator(f'[data-count="{name}"]')).to_have_text(count)
    visitor.page.keyboard.press("m")
    visitor.page.locator('.case[aria-current="true"] .map').wait_for()
    fields, first = visitor.page.get_by_label("Reported from"), visitor.page.locator(".case").first
    visitor.page.set_viewport_size({"width": 360, "height": 740})
    visitor.open("/review?label=cat")
    expect(first).to_be_in_viewport()
    expect(fields).to_be_hidden()
    visitor.page.get_by_text("Filters and order (1 in use)").click()
    expect(fields).to_be_visible()
    visitor.page.set_viewport_size({"width": 1280, "height": 800})
    visitor.open("/review?status=corrected")
    expect(fields).to_be_visible()
    expect(visitor.page.get_by_text("bar chart").first).to_be_visible()
    with visitor.page.expect_download() as download:
        visitor.page.get_by_role("link", name="JSON lines").click()
    assert len(download.value.path().read_text().splitlines()) == 2
    visitor.page.get_by_role("button", name="Sign out").click()
    visitor.page.get_by_label("Your name").wait_for()
    visitor.open("/review")
    expect(visitor.page.locator("#cases")).to_have_count(0)


SHOWN = "number => document.querySelectorAll('.case .view img')[number].naturalWidth > 0"


def test_images_that_no_browser_shows_are_seen_in_the_inbox(visitor: Visitor, service: Service) -> None:
    client = Client(service.url)
    # The second one has the name of a format that browsers show.
    for name, content in (("a.heic", encode(scene(), "HEIF", **FAST_HEIC)), ("b.jpg", encode(scene(64, 48), "TIFF"))):
        found = client.upload("/predict?top_k=1", content, name).json()
        body = json.dumps({"prediction_id": found["prediction_id"], "label": "lighthouse"}).encode()
        assert client.send("POST", "/feedback", body, {"Content-Type": "application/json"}).status == 201
    enter(visitor)
    for number in range(2):
        visitor.page.locator(".case").nth(number).scroll_into_view_if_needed()
        visitor.page.wait_for_function(SHOWN, arg=number)


MANY = 500
# All cases have the same layout, and the check takes as long for each: several in a row, and several rows.
FEW = 6


def reported(service: Service, count: int, prefix: str, **cells: str) -> None:
    """Write reports into the file of the service, each about an image of its own."""
    assert service.state_dir is not None
    path = service.state_dir / "feedback" / REPORTS_FILE
    path.parent.mkdir(exist_ok=True)
    shown = next((service.state_dir / "uploads").glob("*.jpg"), Path("none.jpg")).name
    with path.open("a") as file:
        if not file.tell():
            file.write(f"{REPORTS.header_line}\n")
        for number in range(count):
            named = {"report_id": f"{prefix}{number}", "image_path": shown, "image_sha256": f"{prefix}{number}"}
            moment = "2026-11-30T10:00:00.000+00:00"
            file.write(f"{REPORTS.line({'reported_at': moment, 'prediction': 'tabby', **named, **cells})}\n")


def has_cards(visitor: Visitor, status: str, count: int) -> None:
    """Wait until so many cards have this status."""
    expect(visitor.page.locator(f'.case[data-status="{status}"]')).to_have_count(count)


def test_five_hundred_images_are_decided_about_at_once_and_taken_back(visitor: Visitor, service: Service) -> None:
    reported(service, MANY, "many", label="lynx")
    before = len(decisions(service))
    enter(visitor)
    visitor.open("/review?label=ynx&view=grid&size=500")
    has_cards(visitor, "open", MANY)
    visitor.page.get_by_role("button", name="Select all on this page").click()
    expect(visitor.page.locator("#selected")).to_have_text("500 selected")
    visitor.page.locator("#bulk").get_by_role("button", name="Accept").click()
    visitor.page.locator("#bulk-status", has_text="500 images: accepted.").wait_for()
    has_cards(visitor, "accepted", MANY)
    assert decisions(service)[before:] == [("accept", "lynx", "Ann")] * MANY
    visitor.page.keyboard.press("z")
    visitor.page.locator("#bulk-status", has_text="500 images: open.").wait_for()
    has_cards(visitor, "open", MANY)
    assert decisions(service)[before + MANY :] == [("reopen", "", "Ann")] * MANY
    visitor.page.locator("#bulk").get_by_label("What the selected images are").fill("puma")
    for number in range(3):
        visitor.page.locator(".case-select input").nth(number).check()
    visitor.page.locator("#bulk").get_by_role("button", name="Relabel").click()
    visitor.page.locator("#bulk-status", has_text="3 images: relabelled.").wait_for()
    has_cards(visitor, "corrected", 3)
    visitor.open("/review?label=ynx&view=grid&size=500&status=corrected")
    has_cards(visitor, "corrected", 3)


def test_of_two_people_with_the_same_list_nobody_overrules_the_other_unseen(
    visit: Visit, service: Service, visitor: Visitor
) -> None:
    reported(service, 6, "both", label="ocelot")
    path = "/review?label=ocelot"
    enter(visitor)
    visitor.open(path)
    other = visit()
    enter(other, "Bob")
    other.open(path)
    for _ in range(2):
        other.page.keyboard.press("r")
        kept(other, _ + 1)
    visitor.page.get_by_role("button", name="Select all on this page").click()
    visitor.page.locator("#bulk").get_by_role("button", name="Accept").click()
    visitor.page.locator("#bulk-status", has_text="2 images: someone else has decided meanwhile.").wait_for()
    has_cards(visitor, "accepted", 4)
    has_cards(visitor, "rejected", 2)
    told = visitor.page.get_by_text("Bob has decided meanwhile: rejected.")
    expect(told).to_have_count(2)
    told.first.scroll_into_view_if_needed()
    visitor.page.locator('.case[data-status="rejected"]').first.focus()
    visitor.page.keyboard.press("a")
    visitor.page.get_by_text("Saved: accepted as ocelot.").nth(4).wait_for()
    other.page.keyboard.press("z")
    other.page.get_by_text("Saved: open.").wait_for()
    last = decisions(service)[-8:]
    assert last == [("reject", "", "Bob")] * 2 + [("accept", "ocelot", "Ann")] * 5 + [("reopen", "", "Bob")]


def test_shortcuts_can_be_switched_off_and_stay_off(visitor: Visitor, service: Service) -> None:
    reported(service, 2, "keys", label="caracal")
    enter(visitor)
    visitor.open("/review?label=caracal")
    visitor.page.get_by_label("Shortcuts").uncheck()
    visitor.page.locator(".case").first.focus()
    visitor.page.keyboard.press("a")
    visitor.reload()
    visitor.page.locator(".case").first.focus()
    visitor.page.keyboard.press("a")
    visitor.page.wait_for_timeout(200)
    has_cards(visitor, "open", 2)
    visitor.page.get_by_label("Shortcuts").check()
    visitor.page.locator(".case").first.focus()
    visitor.page.keyboard.press("f")
    visitor.page.locator("#zoom[open]").wait_for()
    visitor.page.get_by_role("button", name="Close").click()
    visitor.page.locator(".case").first.focus()
    visitor.page.keyboard.press("a")
    kept(visitor, 1)


def test_what_is_typed_while_the_script_is_loaded_stays_in_its_field(visitor: Visitor, service: Service) -> None:
    reported(service, 2, "early", label="margay")
    enter(visitor)
    before = decisions(service)
    with visitor.before_scripts("/review?label=margay", "review"):
        visitor.page.locator(".case [name=label]").last.focus()
        visitor.page.keyboard.type("j")
    visitor.page.keyboard.type("aguarundi")
    expect(visitor.page.locator(".case [name=label]").last).to_have_value("jaguarundi")
    visitor.page.keyboard.press("Enter")
    kept(visitor, 1)
    assert decisions(service) == [*before, ("correct", "jaguarundi", "Ann")]


def look(visitor: Visitor, page: str) -> None:
    """Find no barrier and no sideways scrolling in any view; SCREENSHOTS_DIR names a folder for images of them."""
    for view in visitor.views():
        assert visitor.overflow() == 0, (page, view)
        assert visitor.barriers() == [], (page, view)
        visitor.photograph("SCREENSHOTS_DIR", f"{page}-{view}")


def test_the_inbox_has_no_barrier_and_scrolls_sideways_nowhere(
    visitor: Visitor, service: Service, tmp_path: Path
) -> None:
    report(visitor, tmp_path, 7, "a name that is so long that it can hardly be the name of anything " * 2)
    visitor.open("/review/login")
    look(visitor, "login")
    enter(visitor, "Ann-Kathrin von und zu Hohenstein")
    visitor.open(f"/review?size={FEW}")
    visitor.page.locator('.case[aria-current="true"] .case-map').click()
    visitor.page.locator(".case .map").wait_for()
    look(visitor, "review")
    reported(service, FEW, "grid", label="a name that is so long that it takes several lines in a small card")
    reported(service, 2, "rtl", label="قطة فارسية", comment="هذه قطة", prediction="كلب")
    visitor.open(f"/review?view=grid&size={2 * FEW}")
    for shown in ("several lines", "قطة"):
        visitor.page.locator(".case", has_text=shown).first.wait_for()
    visitor.page.locator(".case-select input").first.check()
    look(visitor, "review-grid")
    visitor.page.locator(".case").first.focus()
    visitor.page.keyboard.press("f")
    visitor.page.locator("#zoom[open]").wait_for()
    look(visitor, "review-zoom")
    visitor.open("/review?label=nobody-said-that")
    visitor.page.get_by_text("No reports here.").wait_for()
    look(visitor, "review-empty")


def test_images_that_nobody_reported_are_found_decided_about_and_erased(visitor: Visitor, service: Service) -> None:
    page, client, before = visitor.page, Client(service.url), len(decisions(service))
    for seed in range(40, 46):
        assert client.upload("/predict", jpeg(64, 48, seed=seed), f"{seed}.jpg").status == 200
    enter(visitor)
    with visitor.navigation():
        page.get_by_role("link", name="Suggested").click()
    page.get_by_text("No search yet.").wait_for()
    look(visitor, "suggestions-empty")
    page.get_by_role("button", name="Find images to review").press("Enter")
    page.get_by_role("heading", name="images are suggested for review").wait_for(timeout=ORDER_TIMEOUT_MS)
    with visitor.navigation():
        page.get_by_role("link", name="Look at them").click()
    page.get_by_text("Not searched: near a taught class").wait_for()
    shown = page.locator(".case")
    total = shown.count()
    assert total >= 3
    look(visitor, "suggestions")
    shown.first.focus()
    page.keyboard.press("a")
    kept(visitor, 1)
    page.keyboard.press("l")
    page.keyboard.type("bar chart")
    page.keyboard.press("Enter")
    kept(visitor, 2)
    page.keyboard.press("z")
    kept(visitor, 1)
    assert [(kind, label) for kind, label, _ in decisions(service)[before + 1 :]] == [
        ("correct", "bar chart"),
        ("reopen", ""),
    ]
    visitor.open("/review/suggestions?view=grid")
    expect(shown).to_have_count(total - 2)
    look(visitor, "suggestions-grid")
    visitor.open("/review")
    newest = page.locator(".case").first
    expect(newest.locator(".case-proposed")).to_contain_text("bar chart")
    newest.get_by_text("Erase the image").click()
    newest.get_by_role("button", name="Erase permanently").click()
    page.get_by_role("heading", name="The image is erased").wait_for(timeout=ORDER_TIMEOUT_MS)
    visitor.open("/review?label=bar+chart&status=open")
    expect(page.locator(".case")).to_have_count(0)


def test_without_scripts_the_inbox_decides_by_its_forms(
    visit: Visit, service: Service, visitor: Visitor, tmp_path: Path
) -> None:
    report(visitor, tmp_path, 9, "puma")
    before = decisions(service)
    plain = visit(java_script_enabled=False)
    enter(plain)
    case = plain.page.locator(".case").first
    expect(case.locator(".case-proposed")).to_contain_text("puma")
    with plain.navigation():
        case.get_by_role("button", name="Accept").click()
    plain.page.get_by_text("1 image: accepted.").wait_for()
    reported(service, 2, "plain", label="serval")
    plain.open("/review?label=serval&view=grid")
    for box in plain.page.locator(".case-select input").all():
        box.check()
    plain.page.get_by_label("What the selected images are").fill("bobcat")
    with plain.navigation():
        plain.page.locator("#bulk").get_by_role("button", name="Relabel").click()
    plain.page.get_by_text("2 images: relabelled.").wait_for()
    assert "view=grid" in plain.page.url
    assert decisions(service) == [*before, ("accept", "puma", "Ann"), *[("correct", "bobcat", "Ann")] * 2]
