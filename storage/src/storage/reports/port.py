"""The port of reports: what api and model ask of them, wherever they are kept."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeAlias

from storage.errors import DecidedMeanwhile
from wire.tables.csv_table import one_line
from wire.tables.feedback import ACCEPT, CORRECT, REJECT, REOPEN, image_name
from wire.tables.labels import key as label_key

Cells: TypeAlias = Mapping[str, str]
# A report or a case with all that is known of it, by column.
Row: TypeAlias = Mapping[str, Any]

OPEN = "open"
STATUS_OF = {ACCEPT: "accepted", CORRECT: "corrected", REJECT: "rejected", REOPEN: OPEN}
STATUSES = (OPEN, "accepted", "corrected", "rejected")
# Of the inbox: images on a page, and reports of one image that are shown.
PAGE_SIZE = 40
MAX_PAGE_SIZE = 500
ORDERS = ("newest", "oldest", "unsure", "sure", "disputed")
MAX_REPORTS_SHOWN = 5
MAX_LABELS = 500
# A report's form may name any model.
MAX_MODELS = 100
MAX_CLASSES = 1000
MAX_FAULTS_SHOWN = 20
CASES_AT_ONCE = 500
MAX_CONFUSED = 20
# More of a text than the inbox shows; all of it is in the record.
MAX_TEXT = 4000


class Report(NamedTuple):
    """A report as it is kept: its line, and its row in `feedback.csv` where the line could be parsed.

    `content` is a digest of the report's content, where it came under an Idempotency-Key, which its id is made of.
    """

    report_id: str
    line: str
    cells: Cells | None
    content: bytes = b""

    def statement(self) -> tuple[str, str, str]:
        """Return the report's content as cells, to compare with that of a row."""
        cells = self.cells or {}
        return statement({**cells, "filename": image_name(cells.get("image_path", ""))})


class Decision(NamedTuple):
    """What a reviewer decided about a report: `label` is the one to learn, empty where the report is rejected."""

    report_id: str
    kind: str
    label: str
    reviewer: str

    def cells(self) -> dict[str, str]:
        """Return the decision, made now, as a row of decisions.csv."""
        return {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "report_id": self.report_id,
            "decision": self.kind,
            "label": self.label,
            "reviewer": self.reviewer,
        }

    def is_kept_in(self, row: Row) -> bool:
        """Return whether this is what counts of a report already."""
        if self.kind == REOPEN:
            return bool(row["status"] == OPEN)
        kept = (row["status"], row["final_label"], row["reviewer"])
        return kept == (STATUS_OF[self.kind], self.label, self.reviewer)


class ImageDecision(NamedTuple):
    """What a reviewer decided about an image, and with it about all of its reports that the reviewer could see.

    `image` is that of a Card, `label` the one to learn, empty where there is none. `seen` is the number of the decision
    that the reviewer saw, 0 for none, `upto` the newest report: later ones stay as they are.
    """

    image: str
    kind: str
    label: str
    reviewer: str
    seen: int
    upto: int

    def of_report(self, row: Row) -> Decision:
        """Return the decision about one of the image's reports: who accepts a label corrects those that differ."""
        is_other = self.kind == ACCEPT and row["label_key"] != label_key(self.label)
        return Decision(row["report_id"], CORRECT if is_other else self.kind, self.label, self.reviewer)


class Outcome(NamedTuple):
    """What became of a decision about an image: the state that counts now, and whether it is the decision's."""

    image: str
    is_kept: bool
    status: str
    label: str
    reviewer: str
    seen: int


class Filters(NamedTuple):
    """Which images to show; an empty text leaves the choice open.

    A label may be predicted, proposed or decided for any of an image's reports: one of which `part`, spelled as a key,
    is a part, or one of `keys`, which mean the same class. `since` and `before` are times or days (ISO 8601, UTC) of an
    image's newest report.
    """

    status: str = OPEN
    part: str = ""
    model: str = ""
    keys: tuple[str, ...] = ()
    since: str = ""
    before: str = ""


class Place(NamedTuple):
    """A place between two images of a list: after (or before) the image with this value of the list's order."""

    value: str | float
    seq: int
    is_before: bool = False


class Order(NamedTuple):
    """The order of a list, and how many images a page of it has."""

    name: str = "newest"
    size: int = PAGE_SIZE


class Card(NamedTuple):
    """An image with its reports, the newest first and at most MAX_REPORTS_SHOWN of `report_count`.

    `status` is open where any report is, else accepted where any is, else corrected where any is. `label` and
    `reviewer` are those of the last decision, `seen` its number, `upto` the newest report. `proposed` is the label that
    most reports name, empty where none does; `is_disputed` where they name several, `is_contradictory` where one names
    what was predicted.
    """

    image: str
    status: str
    label: str
    reviewer: str
    seen: int
    upto: int
    report_count: int
    proposed: str
    is_disputed: bool
    is_contradictory: bool
    reports: list[dict[str, Any]]


class Page(NamedTuple):
    """A page of the inbox; `earlier` and `later` lead to the neighbouring pages, where there are any.

    `counts` are the images in each status that fit the other filters.
    """

    cards: list[Card]
    counts: Mapping[str, int]
    models: list[str]
    labels: list[str]
    earlier: Place | None
    later: Place | None
    fault_count: int
    faults: list[str]


class Erased(NamedTuple):
    """How many reports were removed, and the names of the images that they were about."""

    reports: int
    names: frozenset[str]


class Quality(NamedTuple):
    """What reports and decisions say of the answers, as rows.

    `reports`: `model`, `model_version`, `status`, `count`. `cases`: of the reports whose label a reviewer has decided,
    `model`, `model_version`, `count`, and how many are `correct`: what was predicted; `reliability`: the same by the
    tenth of the score (`tenth`, 0 to 9), with their mean `score`. `confusion`: the MAX_CONFUSED most frequent pairs of
    `predicted` and another `actual` label, with their `count`.
    """

    reports: Sequence[Row]
    cases: Sequence[Row]
    reliability: Sequence[Row]
    confusion: Sequence[Row]


class CaseClass(NamedTuple):
    """A class that reviewers have named: its label as it is written, the number of its images, and one of them."""

    label: str
    images: int
    filename: str


class ReportStore(ABC):
    """Reports and the decisions about them.

    Whichever process is killed at any moment, a report or decision that a method has returned for is kept, whole
    and once. Every method raises OSError or StorageError where the place does not serve.
    """

    @abstractmethod
    def add(self, report: Report, when_kept: Callable[[], None] = lambda: None) -> None:
        """Keep a report; do nothing where it came under its key before. Raise KeyReused where another one did.

        `when_kept` is called once the report is kept, even if the caller has given up waiting.
        """

    @abstractmethod
    def add_all(self, reports: Sequence[Report], when_kept: Callable[[], None] = lambda: None) -> None:
        """Keep new reports, none of which came under a key: all of them or none. `when_kept` is called once, as above.

        Raise OSError or StorageError where they cannot be kept, StorageFull where there is no room.
        """

    @abstractmethod
    def find(self, report_id: str) -> Row | None:
        """Return a report by its id."""

    @abstractmethod
    def page(self, filters: Filters, order: Order = Order(), place: Place | None = None) -> Page:  # noqa: B008  a tuple
        """Return a page of the images that were reported: the first one, or the one at a place."""

    @abstractmethod
    def decide(self, decision: Decision, seen: int | None = None) -> int:
        """Keep a decision and return its number; of one report the last decision counts.

        `seen` is the number of the decision that the reviewer saw, 0 for none. Raise DecidedMeanwhile where another one
        counts now, unless it is the same.
        """

    @abstractmethod
    def decide_images(self, decisions: Sequence[ImageDecision]) -> list[Outcome]:
        """Keep decisions about different images, all or none of those that are due, and return what became of each.

        Not due is one about an image for which another decision counts than the one that the reviewer saw.
        """

    @abstractmethod
    def reported(self, images: Sequence[str]) -> set[str]:
        """Return those of these images, as a Card names them, that any report is about."""

    @abstractmethod
    def cases(self, after: int) -> list[Row]:
        """Return the next CASES_AT_ONCE reviewed cases whose `seq` is larger.

        Of all decisions about one image, be it stored under several names, the last one counts.
        """

    @abstractmethod
    def reports(self, after: int) -> list[Row]:
        """Return the next CASES_AT_ONCE reports, reviewed or not, whose `seq` is larger."""

    @abstractmethod
    def quality(self) -> Quality:
        """Return what reports and decisions say of the answers."""

    @abstractmethod
    def labels(self) -> list[str]:
        """Return the label of each class that reviewers have named, as it was written first."""

    @abstractmethod
    def classes(self) -> list[CaseClass]:
        """Return the classes that reviewers have named, at most MAX_CLASSES, those with most images first."""

    @abstractmethod
    def renames(self) -> Sequence[tuple[str, str]]:
        """Return the labels that were given other names, and these, in the order in which that was done."""

    @abstractmethod
    def image_names(self) -> Iterator[str]:
        """Yield the name of each image that a report is about, maybe several times."""

    @abstractmethod
    def erase(self, names: Collection[str], sha256s: Collection[str]) -> Erased:
        """Remove each report about images of these names or contents, and the decisions about it, as if none had come.

        Of other hosts that share the reports, only their files keep them.
        """

    @abstractmethod
    def check(self) -> None:
        """Raise SchemaMismatch where what is kept belongs to another version of the service."""

    @abstractmethod
    def heal(self) -> None:
        """Bring to an end what a process was writing when it was killed."""


def statement(row: Row) -> tuple[str, str, str]:
    """Return a report's content, independent of the labels known when it was written."""
    return row["filename"], label_key(row.get("label", "")), one_line(row.get("comment", ""))


def is_due(decision: Decision, seen: int, row: Row) -> bool:
    """Return whether a decision is to be kept; raise DecidedMeanwhile where the reviewer saw another state."""
    if row["decision"] == seen:
        return True
    if decision.is_kept_in(row):
        return False
    raise DecidedMeanwhile(row["status"], row["final_label"], row["reviewer"])


def due(decision: ImageDecision, rows: Sequence[Row]) -> list[Decision] | None:
    """Return the decisions that one about an image, whose reports these are, comes to; None where it is not due."""
    wanted = [(row, decision.of_report(row)) for row in rows if row["seq"] <= decision.upto]
    if not wanted:
        return None
    open_to = [each for row, each in wanted if not each.is_kept_in(row)]
    if last(rows)["decision"] != decision.seen and open_to:
        return None
    return open_to


def last(rows: Sequence[Row]) -> Row:
    """Return the report of an image that was decided about last."""
    return max(rows, key=lambda row: row["decision"])


def outcome(decision: ImageDecision, rows: Sequence[Row], *, is_kept: bool) -> Outcome:
    """Return what counts about an image, whose reports these are."""
    if not rows:
        return Outcome(decision.image, False, "", "", "", 0)
    row = last(rows)
    statuses = {each["status"] for each in rows}
    status = next(each for each in STATUSES if each in statuses)
    return Outcome(decision.image, is_kept, status, row["final_label"], row["reviewer"], row["decision"])


def too_many(max_bytes: int) -> str:
    """Return the reason for which no more reports are kept."""
    return f"The reports have reached MAX_REPORTS_BYTES={max_bytes}; the operator can move them away."
