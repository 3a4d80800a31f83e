"""Whether the start page stays responsive while it classifies thousands of images.

python -m benchmarks.own.batch_page [IMAGES]

Chromium chooses many small files in one step on the page of a real service. The contents are few, so that the result
cache answers most requests: what is measured is the page. It prints how long the longest task of the page's thread was,
and how many there were above 50 ms (`longtask` of the browser), the longest gap between two frames, how long a filter
takes, and the nodes and the JavaScript heap after a garbage collection. What `choosing` takes is the browser's own: an
empty page with a file field takes as long.
"""

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from sightline_testing.browser import Visitor, needed_chromium, running_chromium
from sightline_testing.sample_images import bad, jpeg
from sightline_testing.service import running_service

IMAGES, CONTENTS, BAD = 10_000, 50, 5
LONGEST_WAIT_MS = 1_800_000
OBSERVE = """() => {
  window.tasks = [];
  new PerformanceObserver((list) => {
    tasks.push(...list.getEntries().map((one) => one.duration));
  }).observe({ type: "longtask" });
  window.longestFrame = 0;
  let last = performance.now();
  const tick = (now) => { longestFrame = Math.max(longestFrame, now - last); last = now; requestAnimationFrame(tick); };
  requestAnimationFrame(tick);
}"""
# From a key to the list that it leaves, drawn.
FILTER = """async (text) => {
  const field = document.getElementById("filter-label");
  const started = performance.now();
  field.value = text;
  field.dispatchEvent(new Event("input", { bubbles: true }));
  await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
  return performance.now() - started;
}"""


def main() -> int:
    """Run and print the figures; return the exit status."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else IMAGES
    with (
        tempfile.TemporaryDirectory() as folder,
        running_service(Path(folder) / "service", {"MODEL_WORKERS": "1", "REQUEST_TIMEOUT_S": "5"}) as service,
        running_chromium(needed_chromium()) as browser,
    ):
        visitor = Visitor(browser.new_page(viewport={"width": 1280, "height": 800}), service.url)
        measure(visitor, files(Path(folder) / "images", count))
        return 1 if visitor.complaints else 0


def files(folder: Path, count: int) -> list[Path]:
    """Return so many files, the last BAD of which are damaged."""
    folder.mkdir()
    contents = [jpeg(32, 24, seed=seed) for seed in range(CONTENTS)]
    found = [folder / f"{number:06}.jpg" for number in range(count)]
    for number, file in enumerate(found):
        damaged = number >= count - BAD
        file.write_bytes(bad("truncated.jpg").content if damaged else contents[number % CONTENTS])
    return found


def measure(visitor: Visitor, images: list[Path]) -> None:
    """Choose the images, use the page meanwhile, and print what it was like."""
    page, count = visitor.page, len(images)
    visitor.open()
    page.evaluate(OBSERVE)
    before = metrics(visitor)
    started = time.monotonic()
    visitor.choose(*images)
    print(f"{count} files chosen after {time.monotonic() - started:.1f} s")
    report(visitor, "choosing")
    page.locator("#history-count", has_text=f" of {count}").wait_for()
    for step in range(20):
        page.wait_for_timeout(500)
        page.mouse.wheel(0, 3000 if step < 10 else -3000)
    print(f"filter while it works: {page.evaluate(FILTER, 'clock'):.0f} ms")
    page.evaluate(FILTER, "")
    report(visitor, "scrolling and filtering")
    page.locator("#history-count", has_text=f"{count} of {count}").wait_for(timeout=LONGEST_WAIT_MS)
    took = time.monotonic() - started
    print(f"{count} answered after {took:.0f} s: {count / took:.0f} a second")
    report(visitor, "the rest")
    print(f"filter at the end: {page.evaluate(FILTER, 'clock'):.0f} ms")
    page.evaluate(FILTER, "")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    print(f"CSV: {len(download.value.path().read_text().splitlines())} lines")
    report(visitor, "the download")
    after = metrics(visitor)
    print(f"tiles in the page: {page.locator('#tiles .tile').count()}")
    for name in ("Nodes", "JSEventListeners", "JSHeapUsedSize"):
        print(f"{name}: {before[name]:.0f} before, {after[name]:.0f} after")


def metrics(visitor: Visitor) -> dict[str, float]:
    """Return Chromium's figures of the page after a garbage collection."""
    session = visitor.page.context.new_cdp_session(visitor.page)
    session.send("HeapProfiler.collectGarbage")
    session.send("Performance.enable")
    found: list[dict[str, Any]] = session.send("Performance.getMetrics")["metrics"]
    session.detach()
    return {each["name"]: each["value"] for each in found}


def report(visitor: Visitor, what: str) -> None:
    """Print the long tasks and the longest gap between two frames since the last time."""
    tasks, frame = visitor.page.evaluate(
        "() => { const found = [tasks, longestFrame]; tasks = []; longestFrame = 0; return found; }"
    )
    longest = max(tasks, default=0)
    print(f"{what}: {len(tasks)} tasks above 50 ms, longest {longest:.0f} ms, longest gap of frames {frame:.0f} ms")


if __name__ == "__main__":
    sys.exit(main())
