"""Teaching in the browser: ten examples dropped, trained, judged, served, and taken back again."""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest
from playwright.sync_api import Browser, FilePayload, expect

from sightline_testing import stripes
from sightline_testing.browser import Visitor
from sightline_testing.drawings import drawing_jpeg
from sightline_testing.feedback_loop import BASE, MODEL, FeedbackLoop, running_loop
from storage.audit.log import AuditFile

KEY = "the-key-of-these-tests"
KIND, LABEL = "bar_chart", "bar chart"  # nothing that the model has a class for
EXAMPLES, UNSEEN = range(10), 1005
NEW = f"{MODEL}/2-int8"
# Generous, as are all waits: other work may share the machine.
TRAIN_TIMEOUT_MS = 300_000


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[FeedbackLoop]:
    told = {"OPERATOR_KEY": KEY, "MODEL_WORKERS": "1", "REQUEST_TIMEOUT_S": "60", "TRAINER": "1"}
    with running_loop(tmp_path / "loop", told) as loop:
        yield loop


@pytest.fixture
def visitor(browser: Browser, loop: FeedbackLoop) -> Iterator[Visitor]:
    context = browser.new_context(reduced_motion="reduce")
    visitor = Visitor(context.new_page(), loop.service.url)
    yield visitor
    context.close()
    assert visitor.complaints == []


def test_a_class_is_taught_served_and_taken_back_in_the_browser(
    visitor: Visitor, loop: FeedbackLoop, tmp_path: Path
) -> None:
    page = visitor.page
    unseen = drawing_jpeg(KIND, UNSEEN)
    assert loop.ask(unseen)[0] != LABEL
    visitor.sign_in(KEY)
    visitor.open("/teach")
    page.get_by_text("as delivered").wait_for()
    look_at(visitor, "1-empty")
    page.get_by_label("Name of the class").fill(LABEL)
    began = time.monotonic()
    page.get_by_label("Images", exact=True).set_input_files(drawn(tmp_path))
    page.get_by_role("button", name="Add examples").click()
    page.get_by_text("Today the model takes").wait_for(timeout=TRAIN_TIMEOUT_MS)
    expect(page.locator(".example:has(img[src])")).to_have_count(len(EXAMPLES))
    look_at(visitor, "2-examples")
    with visitor.navigation():
        page.get_by_role("button", name="Train").click()
    look_at(visitor, "3-training", is_moving=True)
    page.get_by_role("heading", name=f"{NEW} is made").wait_for(timeout=TRAIN_TIMEOUT_MS)
    found = page.get_by_role("row", name=f"New: {LABEL}").inner_text()
    assert re.search(rf"\d+ of {len(EXAMPLES)}\s+found", found), found
    print(page.get_by_text("on the processor").inner_text())  # noqa: T201  what is asked for
    look_at(visitor, "4-evaluation")
    page.get_by_label("Serve it all the same, provisionally").check()
    page.get_by_role("button", name="Promote").click()
    page.get_by_role("heading", name=f"{NEW} is served").wait_for(timeout=TRAIN_TIMEOUT_MS)
    took_s = time.monotonic() - began
    print(f"from ten examples to the new class in service: {took_s:.1f} s")  # noqa: T201  what is asked for
    assert loop.ask(unseen) == (LABEL, NEW)
    visitor.open("/teach")
    look_at(visitor, "5-versions")
    page.get_by_role("button", name="Roll back to it").click()
    page.get_by_role("heading", name=f"{BASE} is served").wait_for(timeout=TRAIN_TIMEOUT_MS)
    assert loop.ask(unseen)[1] == BASE
    rows = reversed(AuditFile(loop.files.feedback).newest(100))
    assert [(row.action, row.outcome) for row in rows if row.order] == [
        (kind, outcome) for kind in ("train", "promote", "rollback") for outcome in ("ordered", "done")
    ]
    export(visitor)
    bring(visitor)
    assert loop.ask(stripes.image("across", 5)) == ("across", "stripes/1-fp32")


def export(visitor: Visitor) -> None:
    """Export the cases and look into the archive."""
    visitor.open("/teach")
    visitor.page.get_by_role("button", name="Export").click()
    visitor.page.get_by_role("heading", name="The archive is ready").wait_for(timeout=TRAIN_TIMEOUT_MS)
    look_at(visitor, "6-export")
    with visitor.page.expect_download() as sent:
        visitor.page.get_by_role("link", name="Download").click()
    with ZipFile(sent.value.path()) as archive:
        names = [name for name in archive.namelist() if name.startswith(f"{LABEL}/")]
    assert len(names) == len(EXAMPLES)


def bring(visitor: Visitor) -> None:
    """Import a network of one's own, compare it, and serve it in place of the other."""
    page = visitor.page
    visitor.open("/teach")
    files = {"ONNX file": ("stripes.onnx", stripes.network()), "Labels": ("labels.txt", b"across\ndown\n")}
    for label, (name, content) in files.items():
        sent: FilePayload = {"name": name, "mimeType": "application/octet-stream", "buffer": content}
        page.get_by_label(label).first.set_input_files(sent)
    page.get_by_label("How images are prepared").select_option("torchvision")
    look_at(visitor, "7-import")
    page.get_by_role("button", name="Import").click()
    page.get_by_role("heading", name="stripes/1-fp32 is imported").wait_for(timeout=TRAIN_TIMEOUT_MS)
    look_at(visitor, "8-imported")
    page.get_by_role("button", name="Evaluate").click()
    page.get_by_role("heading", name=f"stripes/1-fp32 compared with {BASE}").wait_for(timeout=TRAIN_TIMEOUT_MS)
    look_at(visitor, "9-other-network")
    page.get_by_label("Serve it in place of the other network").check()
    page.get_by_role("button", name="Promote").click()
    page.get_by_role("heading", name="stripes/1-fp32 is served").wait_for(timeout=TRAIN_TIMEOUT_MS)


def drawn(folder: Path) -> list[Path]:
    """Draw the examples."""
    paths = [folder / f"chart{seed}.jpg" for seed in EXAMPLES]
    for seed, path in zip(EXAMPLES, paths, strict=True):
        path.write_bytes(drawing_jpeg(KIND, seed))
    return paths


def look_at(visitor: Visitor, name: str, *, is_moving: bool = False) -> None:
    """Check each view for accessibility faults and overflow; TEACH_IMAGES names a folder for screenshots."""
    for view in visitor.views():
        if not is_moving:  # it may be another page by then
            assert visitor.barriers() == []
            assert visitor.overflow() == 0
        visitor.photograph("TEACH_IMAGES", f"{name}-{view}", full_page=True)
