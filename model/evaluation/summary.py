"""What was measured of a version, as values that JSON holds: figures, and images by their names."""

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.comparison import Comparison, Pair
from evaluation.promotion_gate import Evidence, Verdict

MAX_IMAGES, MAX_CLASSES, MAX_NOTES = 12, 20, 12
DIGITS = 4

Summary = dict[str, Any]


def of_comparison(found: Comparison) -> Summary:
    """Return the figures of images of one kind, the classes that changed, and the images that did."""
    summary: Summary = {
        "title": found.title,
        "images": len(found.pairs),
        "agreeing": found.agreeing,
        "notes": list(found.notes)[:MAX_NOTES],
    }
    if not found.labelled:
        return summary | {"changed": _images(found.changed())}
    first, second = found.figures()
    return summary | {
        "top1": [list(map(_rounded, first.top1)), list(map(_rounded, second.top1))],
        "difference": list(map(_rounded, found.difference())),
        "classes": [each._asdict() for each in found.classes() if each.first != each.second][:MAX_CLASSES],
        "worse": _images(found.worse()),
        "better": _images(found.better()),
        "confusions": [
            {"label": label, "answer": answer, "images": len(pairs)}
            for label, answer, pairs in found.confusions()[:MAX_CLASSES]
        ],
    }


def of_classes(found: Sequence[Comparison], before: Sequence[str], after: Sequence[str]) -> Summary:
    """Return how new classes do: how many of their cases are found, and what becomes of the classes they resemble.

    A class resembles a new one where the version of before takes an image of the new one for it. Of the images without
    a label that it takes for such a class, those are counted that the new version predicts the same for.
    """
    old, new = set(before), [label for label in after if label not in set(before)]
    pairs = [pair for each in found for pair in each.pairs]
    taught = [(label, [pair for pair in pairs if pair.label == label]) for label in new]
    resembled: dict[str, int] = {}
    for label, of_it in taught:
        for pair in of_it:
            if (answer := pair.first[0][0]) in old and answer != label:
                resembled[answer] = resembled.get(answer, 0) + 1
    others = [pair for pair in pairs if not pair.label]
    shown = sorted(resembled, key=lambda label: (-resembled[label], label))[:MAX_CLASSES]
    return {
        "new": [
            {"label": label, "images": len(of_it), "right": sum(pair.rights[1] for pair in of_it)}
            for label, of_it in taught
            if of_it
        ][:MAX_CLASSES],
        "look_alikes": [{"label": label, "examples": resembled[label], **_kept(others, label)} for label in shown],
        "others": _kept([pair for pair in others if pair.first[0][0] not in resembled]),
    }


def of_verdict(evidence: Evidence, verdict: Verdict) -> Summary:
    """Return the measurements and the result of the promotion gate."""
    return {
        "outcome": verdict.outcome.value,
        "reasons": verdict.reasons,
        "labelled": [each._asdict() for each in evidence.labelled],
        "changes": [each._asdict() for each in evidence.changes],
    }


def _kept(pairs: Sequence[Pair], label: str = "") -> Mapping[str, int]:
    chosen = [pair for pair in pairs if not label or pair.first[0][0] == label]
    return {"images": len(chosen), "kept": sum(pair.agrees for pair in chosen)}


def _images(pairs: Sequence[Pair]) -> Summary:
    shown = [
        {
            "name": pair.path.name,
            "is_stored": not pair.path.is_absolute(),
            "label": pair.label,
            "first": pair.first[0][0],
            "second": pair.second[0][0],
        }
        for pair in pairs[:MAX_IMAGES]
    ]
    return {"count": len(pairs), "shown": shown}


def _rounded(number: float) -> float:
    return round(float(number), DIGITS)
