"""`/operate`: what the service does and how well, for the operator alone."""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, TypeVar

from flask import Blueprint, current_app, render_template, request

import error_handlers
import offload
import settings
from auth import access
from images import uploads
from openapi.operation import HTML, Answer, Operation, Text
from operate import charts, figures
from operate.figures import DRIFT, TRAFFIC, WINDOWS
from operate.recorder import history
from predict import job_queue
from problems import Problem
from reports import labels as reports_labels
from reports.audit import audit_log
from reports.record import folder, report_store
from storage.errors import StorageError
from storage.history.port import DAY, KEPT_S, Sum
from storage.images.folder import ImageFolder
from storage.reports.port import CaseClass, Quality
from wire import QueueSnapshot
from wire.errors import WireError
from wire.orders.order_book import OrderBook
from wire.redis.address import address_of

Result = TypeVar("Result")
router = Blueprint("operate", __name__)
router.before_request(access.require_operator)

WINDOW = Text("window", "query", "length of the traffic history", "1h", f"({'|'.join(WINDOWS)})")
CLASS = Text("class", "query", "only classes whose name contains this text", "cat", r"[^\x00]{0,200}")
MAX_CLASSES, MAX_ACTIONS = 60, 30
# Above this part of its bound, the queue is nearly full.
NEARLY_FULL = 0.8
EMPTY = Quality((), (), (), ())


class Disk(NamedTuple):
    """The room on the disk of a folder, in bytes."""

    name: str
    free: int
    total: int


class Class(NamedTuple):
    """A class, how often it was answered within the last year, and the images that are cases of it, and one of them."""

    label: str
    answers: int
    cases: int = 0
    image: str = ""


@router.route("/operate", methods=["GET"])
@access.open_to_all  # in place of the key that others bring, the operator's
@Operation(
    "GET",
    "Show state and statistics of the service",
    {200: Answer("a page", media_types=[HTML]), 302: Answer("redirect to the sign-in page", media_types=[HTML])},
    parameters=(WINDOW, CLASS),
    problems=(401,),
)
def operate() -> str:
    """Show the figures; a part of them that cannot be had is left out, with the reason among the findings."""
    now, findings = time.time(), Findings()
    window = WINDOWS[WINDOW.read(request) or "1h"]
    snapshot = job_queue.queue_state()
    past = history()

    def sums(period: int, seconds: float, names: Sequence[str]) -> list[Sum]:
        found: list[Sum] = findings.attempt(lambda: past.read(period, now - seconds, now + DAY, names), [])
        return found

    year = sums(DAY, KEPT_S[DAY], ("version", "label"))
    quality = findings.attempt(report_store().quality, EMPTY)
    traffic = figures.traffic(window, now, sums(window.period, window.seconds + window.step, TRAFFIC))
    book = findings.attempt(OrderBook(address_of(settings), settings.REDIS_QUEUE).read, None)
    waiting = 0 if book is None or book.has_trainer else sum(each.outcome is None for each in book.orders)
    if waiting:
        findings.add(f"No trainer is running: {waiting} {'order waits' if waiting == 1 else 'orders wait'} for one.")
    findings.look_at(snapshot)
    answers = {name: _sum(year, "version", name) for name in {each.key for each in year if each.name == "version"}}
    versions_quality = figures.by_version(quality, answers)
    return render_template(
        "operate.html",
        now=figures.moment(now),
        findings=findings.found,
        snapshot=snapshot,
        disks=_disks(),
        memory=findings.attempt(job_queue.redis_memory, None),
        windows=WINDOWS,
        window=window,
        traffic=traffic,
        requests_chart=charts.requests(traffic),
        latency_chart=charts.latencies(traffic),
        chart_size=(charts.WIDTH, charts.HEIGHT, charts.SIDE),
        counts=figures.counts_by_status(quality),
        versions_quality=versions_quality,
        accuracies=figures.accuracies(() if book is None else book.orders, versions_quality),
        reliability=charts.reliability(quality.reliability),
        confusion=quality.confusion,
        drift=figures.drift(now, sums(DAY, 14 * DAY, DRIFT)),
        distance=figures.feature_distance(() if book is None else book.orders),
        book=book,
        classes=_classes(year, findings.attempt(reports_labels.reviewed, ()), CLASS.read(request) or ""),
        wanted_class=CLASS.read(request) or "",
        actions=findings.attempt(lambda: audit_log().newest(MAX_ACTIONS), ()),
        teach_is_there="teach.teach" in current_app.view_functions,
    )


class Findings:
    """The problems, each once, as text."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def add(self, words: str) -> None:
        """Add one, unless it is there."""
        if words not in self.found:
            self.found.append(words)

    def attempt(self, work: Callable[[], Result], otherwise: Any) -> Any:
        """Return what `work` returns; where it cannot, add the reason and return something else."""
        try:
            return work()
        except (OSError, Problem, StorageError, WireError) as error:
            problem = error_handlers.problem_of(error)
            self.add(str(error) if problem is None else problem.detail)
            return otherwise

    def look_at(self, snapshot: QueueSnapshot | None) -> None:
        """Add what is wrong with the queue, the workers, the disks and the files of reports."""
        self.attempt(current_app.extensions["sightline.readiness"].state, None)
        if snapshot is not None:
            if snapshot.startup_error:
                self.add(f"A worker cannot start: {snapshot.startup_error}")
            if len({worker.version for worker in snapshot.workers}) > 1:
                self.add(
                    "The workers serve different versions: a promotion is in progress, or one of them cannot load it."
                )
            if snapshot.bound and snapshot.depth >= NEARLY_FULL * snapshot.bound:
                self.add(f"The queue is nearly full: {snapshot.depth} of {snapshot.bound}. Add workers, or expect 503.")
        for disk in _disks():
            if disk.free < 2 * settings.MIN_FREE_BYTES:
                self.add(
                    f"The disk of the {disk.name} has {disk.free // 10**6} MB left; at MIN_FREE_BYTES it is refused."
                )


def _disks() -> Sequence[Disk]:
    return tuple(_found_disks())


def _found_disks() -> Iterator[Disk]:
    images = uploads.image_store()
    places = {"images": images.folder} if isinstance(images, ImageFolder) else {}
    for name, place in (places | {"reports": folder()}).items():
        with suppress(OSError, StorageError):
            usage = offload.run(partial(shutil.disk_usage, place))
            yield Disk(name, usage.free, usage.total)


def _sum(sums: Sequence[Sum], name: str, key: str) -> int:
    return sum(int(each.amount) for each in sums if (each.name, each.key) == (name, key))


def _classes(sums: Sequence[Sum], reviewed: Sequence[CaseClass], wanted: str) -> list[Class]:
    """Return the classes that have this in their name, those answered most often first, then those with most cases."""
    found = {label: Class(label, 0) for label in reports_labels.current()}
    for known_by in reviewed:
        found[known_by.label] = Class(known_by.label, 0, known_by.images, known_by.filename)
    for each in sums:
        if each.name == "label":
            known = found.get(each.detail, Class(each.detail, 0))
            found[each.detail] = known._replace(answers=known.answers + int(each.amount))
    words = wanted.replace("_", " ").casefold()
    fitting = [each for each in found.values() if words in each.label.replace("_", " ").casefold()]
    return sorted(fitting, key=lambda each: (-each.answers, -each.cases, each.label))[:MAX_CLASSES]
