"""How long the inbox takes for 2,000 images with 100,000 reports: its first page, and decisions about 500 images.

`python -m benchmarks.own.inbox [postgres]`: in the files of a folder, or in a PostgreSQL of its own.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.many_reports import imported
from storage.reports.folder import FolderReports, Limits
from storage.reports.port import ORDERS, Filters, ImageDecision, Order, ReportStore
from storage.reports.postgres.reports import PostgresReports
from storage.reports.postgres.transfer import open_database
from wire.tables.feedback import REPORTS, REPORTS_FILE

IMAGES, REPORTS_COUNT, AT_ONCE = 2_000, 100_000, 500
REPEATS = 5
LABELS = ("lynx", "puma", "tiger cat", "tabby")


def main(*, in_database: bool) -> None:
    """Print the seconds on the clock and of this process; of several runs the fastest."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        lines = Path(folder) / "feedback"
        write(lines.with_name(REPORTS_FILE))
        store = opened(lines, stack.enter_context(imported(Path(folder))) if in_database else "")
        timed("made", lambda: store.page(Filters()), repeats=1)
        for order in ORDERS:
            timed(f"first page, {order}", partial(store.page, Filters(), Order(order)))
        timed("first page, part of a label", lambda: store.page(Filters(part="ig")))
        cards = store.page(Filters(), Order(size=AT_ONCE)).cards
        decisions = [ImageDecision(card.image, "accept", card.proposed, "ann", card.seen, card.upto) for card in cards]
        timed(f"decisions about {AT_ONCE} images", lambda: store.decide_images(decisions), repeats=1)
        timed("the page after it", lambda: store.page(Filters()))


def write(path: Path) -> None:
    """Write the reports as the service would."""
    with path.open("w") as file:
        file.write(f"{REPORTS.header_line}\n")
        for number in range(REPORTS_COUNT):
            image = number * 7919 % IMAGES
            cells = {
                "report_id": f"00000000-0000-4000-8000-{number:012}",
                "reported_at": f"2026-11-{1 + number // 4000:02}T10:00:00.000+00:00",
                "image_path": f"uploads/{image:032x}.jpg",
                "image_sha256": f"{image:064x}",
                "prediction": LABELS[image % 4],
                "score": str(0.2 + image / 4000),
                "model": "lite0",
                "model_version": "1",
                "label": LABELS[(image + number % 3) % 4],
            }
            file.write(f"{REPORTS.line(cells)}\n")


def opened(lines: Path, url: str) -> ReportStore:
    """Return the reports: those of the folder, or of the database that holds them."""
    if not url:
        return FolderReports(lines, Limits(2**40, lambda folder: None))
    return PostgresReports(open_database(url), lines, 2**40)


def timed(what: str, work: Callable[[], object], repeats: int = REPEATS) -> None:
    """Print how long this takes."""
    times = []
    for _ in range(repeats):
        began, used = time.perf_counter(), time.process_time()
        work()
        times.append((time.perf_counter() - began, time.process_time() - used))
    clock, processor = min(times)
    sys.stdout.write(f"{what:30} {clock:6.3f} s, processor {processor:6.3f} s\n")


if __name__ == "__main__":
    main(in_database=sys.argv[1:] == ["postgres"])
