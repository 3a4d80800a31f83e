"""The files that reports and reviews leave behind, written as the api writes them."""

import csv
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

REPORT_HEADER = (
    "report_id", "reported_at", "image_path", "image_sha256", "prediction", "score", "model", "model_version", "label",
    "comment",
)  # fmt: skip
DECISION_HEADER = ("time", "report_id", "decision", "label", "reviewer")
MOMENT = "2026-01-01T00:00:00+00:00"


@dataclass(frozen=True)
class FeedbackFiles:
    """An upload folder and a feedback folder of a test's own."""

    uploads: Path
    feedback: Path

    def upload(self, content: bytes) -> str:
        """Store an image; return its name."""
        self.uploads.mkdir(parents=True, exist_ok=True)
        name = f"{hashlib.md5(content, usedforsecurity=False).hexdigest()}.jpg"
        (self.uploads / name).write_bytes(content)
        return name

    def report(self, content: bytes, label: str, prediction: str = "web_site") -> str:
        """Store an image and report it; return the report's id."""
        name = self.upload(content)
        report_id = f"r-{name.partition('.')[0]}"
        path, sha256 = f"/elsewhere/uploads/{name}", hashlib.sha256(content).hexdigest()
        row = (report_id, MOMENT, path, sha256, prediction, "0.5", "efficientnet-lite0", "1-int8", label, "")
        self._append("feedback.csv", REPORT_HEADER, [row])
        return report_id

    def decide(self, report_id: str, decision: str, label: str = "") -> None:
        """Write down what a reviewer found."""
        self._append("decisions.csv", DECISION_HEADER, [(MOMENT, report_id, decision, label, "tester")])

    def accept(self, images: Iterable[tuple[bytes, str]]) -> None:
        """Report each image with its label, and have a reviewer accept it."""
        for content, label in images:
            self.decide(self.report(content, label), "accept", label)

    def accept_copies(self, images: Sequence[tuple[bytes, str]], count: int) -> None:
        """A number of accepted reports, each of a stored file of its own, which share their content.

        No row has a SHA-256, so each counts as an image of its own.
        """
        reports, decisions = [], []
        originals = [self.uploads / self.upload(content) for content, _ in images]
        for number in range(count):
            label = images[number % len(images)][1]
            copy = f"{number:032x}.jpg"
            (self.uploads / copy).hardlink_to(originals[number % len(images)])
            row = (
                f"r-{number}",
                MOMENT,
                copy,
                "",
                "tench",
                "0.5",
                "m",
                "1",
                label,
                "",
            )
            reports.append(row)
            decisions.append((MOMENT, f"r-{number}", "accept", label, "tester"))
        self._append("feedback.csv", REPORT_HEADER, reports)
        self._append("decisions.csv", DECISION_HEADER, decisions)

    def _append(self, name: str, header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
        self.feedback.mkdir(parents=True, exist_ok=True)
        path = self.feedback / name
        is_new = not path.exists()
        with path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
            writer.writerows([header, *rows] if is_new else rows)
