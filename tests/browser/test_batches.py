"""Several images together: each has its tile and its result, failures are named, and Stop stops them all."""

import csv
import io
import json
import threading
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

import pytest
from playwright.sync_api import Route, expect

from sightline_testing.browser import Visitor
from sightline_testing.sample_images import bad, jpeg

MANY, BAD = 300, 5
AT_FIRST = 2  # open requests
TILES = "#tiles .tile"
BUSY = {"status": 503, "code": "queue_full", "detail": "Too many images are waiting.", "success": False}


def written(folder: Path, name: str, content: bytes) -> Path:
    file = folder / name
    file.write_bytes(content)
    return file


def scenes(folder: Path, count: int) -> list[Path]:
    return [written(folder, f"scene{seed}.jpg", jpeg(120, 90, seed=seed)) for seed in range(count)]


def finished(visitor: Visitor, count: int) -> None:
    """Wait until every image has its answer or its reason."""
    visitor.page.locator("#history-count", has_text=f"{count} of {count}").wait_for()


def downloaded(visitor: Visitor, button: str) -> str:
    with visitor.page.expect_download() as download:
        visitor.page.get_by_role("button", name=button).click()
    return download.value.path().read_text()


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_the_images_of_a_batch_that_failed_are_named_with_the_reason(
    visitor: Visitor, tmp_path: Path, order: slice
) -> None:
    files = [
        *scenes(tmp_path, 2),
        written(tmp_path, "damaged.jpg", bad("truncated.jpg").content),
        written(tmp_path, "words.png", bad("text.jpg").content),
        written(tmp_path, "nothing.gif", b""),
    ]
    visitor.choose(*files[order])
    notice = visitor.page.locator("#notice", has_text="3 of 5 images have no answer.")
    notice.wait_for()
    said = notice.inner_text()
    assert "damaged.jpg: JPEG cannot be decoded" in said
    assert "words.png is not an image that can be read here." in said
    assert "nothing.gif is empty." in said
    assert visitor.spoken().startswith("3 of 5 images have no answer."), "a screen reader gets it too"
    tiles = visitor.page.locator(TILES)
    expect(tiles).to_have_count(len(files))
    expect(tiles.filter(has_text="damaged.jpg: JPEG cannot be decoded")).to_have_count(1)
    visitor.page.locator(TILES, has_text="nothing.gif").click()
    assert visitor.error() == "nothing.gif is empty."
    assert visitor.page.locator("#view img").count() == 0, "no image of another file"


def test_a_batch_without_failures_says_nothing_of_any(visitor: Visitor, tmp_path: Path) -> None:
    visitor.choose(*scenes(tmp_path, 3))
    expect(visitor.page.locator(TILES).first).to_be_in_viewport(ratio=1)
    finished(visitor, 3)
    visitor.answer()
    assert not visitor.page.locator("#notice").is_visible()


def test_stop_stops_all_that_wait_and_they_can_be_taken_up_again(visitor: Visitor, tmp_path: Path) -> None:
    asked = visitor.hold("**/predict*", most=None)
    visitor.choose(*scenes(tmp_path, 4))
    asked.wait()
    visitor.page.get_by_role("button", name="Stop", exact=True).click()
    visitor.page.locator("#notice", has_text="4 images were stopped.").wait_for()
    visitor.page.wait_for_timeout(300)
    assert len(asked.routes) <= AT_FIRST, "images that had not started were not sent"
    expect(visitor.page.locator(TILES)).to_have_count(4)
    visitor.page.unroute_all(behavior="ignoreErrors")
    visitor.page.locator(TILES, has_text="scene3.jpg").click()
    expect(visitor.page.locator("#error-title")).to_have_text("Stopped")
    visitor.page.locator("#try-again").click()
    visitor.answer()
    assert visitor.page.get_by_alt_text("The image you gave: scene3.jpg").count() == 1
    visitor.page.get_by_role("button", name="Try 3 images again").click()
    visitor.page.wait_for_function("() => document.querySelectorAll('.tile[data-state=answered]').length === 4")


def test_images_of_a_visit_stay_at_hand_in_their_order_the_newest_first(
    visitor: Visitor, image: Path, tmp_path: Path
) -> None:
    visitor.choose(*scenes(tmp_path, 3))
    finished(visitor, 3)
    visitor.choose(image)
    visitor.page.get_by_alt_text("The image you gave: scene.jpg").wait_for()
    visitor.answer()
    names = visitor.page.locator(f"{TILES} .tile-note")
    expect(names).to_have_text(["scene.jpg", "scene0.jpg", "scene1.jpg", "scene2.jpg"])
    tile = visitor.page.locator(TILES).nth(2)
    tile.click()
    visitor.page.get_by_alt_text("The image you gave: scene1.jpg").wait_for()
    expect(tile).to_have_attribute("aria-current", "true")
    assert visitor.answer_name().lower() == tile.locator(".tile-name").inner_text().lower()


def test_a_batch_of_300_keeps_every_result_and_only_the_tiles_in_view(visitor: Visitor, tmp_path: Path) -> None:
    """The images are few and the answers cached: what is tested is the page."""
    contents = [jpeg(32, 24, seed=seed) for seed in range(10)]
    files = [written(tmp_path, f"{number:03}.jpg", contents[number % 10]) for number in range(MANY - BAD)]
    files += [written(tmp_path, f"bad{number}.jpg", bad("truncated.jpg").content) for number in range(BAD)]
    visitor.page.evaluate(f"performance.setResourceTimingBufferSize({10 * MANY})")
    busy_line = visitor.texts("#busy-line")
    visitor.choose(*files)
    finished(visitor, MANY)
    busy_line.wait_for(f" of {MANY}")
    assert 1 < most_at_once(visitor) <= 6
    assert f"{BAD} without an answer" in visitor.page.locator("#history-count").inner_text()
    assert visitor.page.locator(TILES).count() < MANY / 2
    rows = list(csv.DictReader(io.StringIO(downloaded(visitor, "Download CSV"))))
    assert [row["file"] for row in rows] == [file.name for file in files]
    assert [row["file"] for row in rows if row["error"]] == [file.name for file in files[-BAD:]]
    assert all(row["prediction"] and row["prediction_id"] for row in rows[:-BAD])
    visitor.page.get_by_label("State").select_option("no answer")
    visitor.page.wait_for_function(f"() => document.querySelectorAll('{TILES}').length === {BAD}")
    listed = json.loads(downloaded(visitor, "Download JSON"))
    assert [each["file"] for each in listed] == [file.name for file in files[-BAD:]]
    visitor.page.get_by_label("State").select_option("any")
    visitor.page.locator("#history-count:not(:has-text('shown'))").wait_for()
    visitor.page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    visitor.page.locator(TILES, has_text=files[-1].name).wait_for()
    expect(visitor.page.locator(TILES, has_text=files[0].name)).to_have_count(0)


def most_at_once(visitor: Visitor) -> int:
    """Return how many requests for a prediction were open at the same time, by the clock of the page."""
    spans: list[tuple[float, float]] = visitor.page.evaluate(
        """() => performance.getEntriesByType("resource").filter(({ name }) => name.includes("/predict?"))
             .map(({ startTime, responseEnd }) => [startTime, responseEnd])"""
    )
    assert len(spans) >= MANY
    # What ends at the moment at which the next one starts is not open at the same time.
    changes = sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans])
    return max(accumulate(by for _, by in changes))


def test_tiles_are_filtered_by_label_and_by_low_score(visitor: Visitor, photograph: Path, tmp_path: Path) -> None:
    visitor.choose(photograph, *scenes(tmp_path, 3))
    finished(visitor, 4)
    best = visitor.page.locator(TILES).first.locator(".tile-name").inner_text()
    visitor.page.get_by_label("Label").fill(best[1:4].upper())
    visitor.page.locator("#history-count", has_text="shown").wait_for()
    shown = visitor.page.locator(f"{TILES} .tile-name").all_inner_texts()
    assert shown
    assert all(best[1:4].lower() in name.lower() for name in shown)
    visitor.page.get_by_label("Label").fill("nothing is called that")
    visitor.page.get_by_text("No image of this visit is like that.").wait_for()
    visitor.page.get_by_label("Label").fill("")
    visitor.page.locator("#filter-score").select_option("below 25%")
    visitor.page.wait_for_function(
        """() => [...document.querySelectorAll('.tile-percent')]
             .every((one) => Number.parseFloat(one.textContent.replace('<', '')) <= 25)"""
    )


def test_tiles_below_the_window_are_there_for_the_keyboard(visit: Callable[..., Visitor], tmp_path: Path) -> None:
    visitor = visit(viewport={"width": 360, "height": 500})
    visitor.choose(*scenes(tmp_path, 12))
    finished(visitor, 12)
    visitor.page.evaluate("scrollTo(0, 0)")
    expect(visitor.page.locator("#tiles")).not_to_be_in_viewport()
    visitor.page.locator("#download-json").focus()
    for number in range(12):
        visitor.page.keyboard.press("Tab")
        expect(visitor.page.locator(TILES, has_text=f"scene{number}.jpg")).to_be_focused()
        # The tiles after it are drawn in the next frame.
        visitor.page.locator(TILES, has_text=f"scene{min(number + 1, 11)}.jpg").wait_for()


def test_a_busy_service_gets_fewer_images_at_a_time_and_none_is_lost(visitor: Visitor, tmp_path: Path) -> None:
    refused = threading.Semaphore(3)

    def answer(route: Route) -> None:
        if refused.acquire(blocking=False):
            route.fulfill(status=503, json=BUSY, headers={"Retry-After": "1"})
        else:
            route.continue_()

    visitor.page.route("**/predict*", answer)
    busy_line = visitor.texts("#busy-line")
    visitor.choose(*scenes(tmp_path, 8))
    finished(visitor, 8)
    busy_line.wait_for("Too many images are waiting. Trying again in 1 second.")
    assert "without" not in visitor.page.locator("#history-count").inner_text()
    expect(visitor.page.locator(".tile[data-state=answered]")).to_have_count(8)
