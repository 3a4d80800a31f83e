"""The classes that reviewers have named, by the names that they have now."""

from reports import labels
from reports.record import report_store
from storage.reports.port import CaseClass


def reviewed() -> list[CaseClass]:
    """Return them, those with most images first; what was merged is one class."""
    found: dict[str, CaseClass] = {}
    known = report_store().classes()
    spelling = labels.spelling().extended(each.label for each in known)
    for each in known:
        label = spelling.of(each.label)
        images = each.images + (found[label].images if label in found else 0)
        found[label] = CaseClass(label, images, found[label].filename if label in found else each.filename)
    return sorted(found.values(), key=lambda each: (-each.images, each.label))
