"""Examples of a class: images that the operator vouches for, kept as reports that are already accepted.

So they are cases like any other: `improve` learns from them, the review shows them, and exports hold them.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from flask import Request
from werkzeug.datastructures import FileStorage

import views
from images import uploads
from predict import job_queue
from predict.prediction import Prediction, PredictOptions
from problems import Problem
from reports import labels, submission
from reports.record import report_store
from reports.schema import MAX_LABEL, Report
from reports.submission import Submission
from storage.images.port import ImageStore
from storage.reports.port import STATUS_OF, Decision, Filters, Row
from wire.tables.feedback import ACCEPT, CORRECT
from wire.tables.labels import key, tidy

# As many as are shown of a class; training takes up to `--max-cases` of all.
MAX_SHOWN = 60
# From so many on a class can be learned, and up to so many more of them help most.
FEWEST, ENOUGH = 5, 50


class Example(NamedTuple):
    """An image of a class, with the model's current prediction."""

    report_id: str
    filename: str
    prediction: str
    score: float


def label_of(text: str) -> str:
    """Return the class that a text names, as it is spelled; raise Problem where it names none."""
    label = tidy(text)
    if not key(label) or len(label) > MAX_LABEL:
        raise Problem(400, "label_needed", f"A class needs a name of 1 to {MAX_LABEL} characters.")
    return labels.spelling().extended(report_store().labels()).of(label)


def add(request: Request, file: FileStorage, label: str, by: str) -> Example:
    """Store an image, ask the model what it is, and keep it as a case of a class; raise Problem.

    The same image of the same class again is the same example.
    """
    images = uploads.image_store()
    if images.is_remote:
        images.check_writable()  # else a known image would be waited for twice where the bucket is away
    image = uploads.store_file(file, images, job_queue.check_expensive)
    prediction = views.classify(image, PredictOptions.of(request, reads_choices=False))
    report_id = _report(prediction, label, images)
    row = report_store().find(report_id)
    if row is None or (row["status"], row["final_label"]) != (STATUS_OF[ACCEPT], label):
        report_store().decide(Decision(report_id, ACCEPT, label, by))
    return Example(report_id, prediction.filename, prediction.label, prediction.score)


def _report(prediction: Prediction, label: str, images: ImageStore) -> str:
    report = Report(prediction.filename, prediction.label, prediction.score)
    model, _, version = prediction.model_version.partition("/")
    details = {"label": label, "comment": "", "model": model, "model_version": version}
    known_by = f"teach\0{key(label)}\0{prediction.filename}"
    return submission.save(Submission(report.text(), report, details, known_by), images)


def of_class(label: str) -> list[Row]:
    """Return the newest report of each image that is a case of a class, MAX_SHOWN at most."""
    keys = labels.spelling().keys(label)
    found: list[Row] = []
    for status in (STATUS_OF[ACCEPT], STATUS_OF[CORRECT]):
        place = None
        while len(found) < MAX_SHOWN:
            page = report_store().page(Filters(status, keys=keys), place=place)
            found += [card.reports[0] for card in page.cards if key(card.label) in keys]
            place = page.later
            if place is None:
                break
    return found[:MAX_SHOWN]


def confusions(cases: Sequence[Row], label: str) -> list[tuple[str, int]]:
    """Return which other classes the model took these cases for, the most frequent first."""
    counts = Counter(row["prediction"] for row in cases if key(row["prediction"]) != key(label))
    return counts.most_common()
