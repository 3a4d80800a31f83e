"""Decisions about many images in one request: its fields, and the response to its form. No I/O."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from werkzeug.datastructures import MultiDict

from problems import Problem
from reports.schema import MAX_LABEL
from storage.reports.port import MAX_PAGE_SIZE, STATUS_OF, ImageDecision, Outcome
from wire.tables.feedback import ACCEPT, CORRECT, decided_label
from wire.tables.labels import Spelling, key, tidy

_NUMBER_DIGITS = 19
_OF_A_DECISION = frozenset({"decision", "images", "label"})
_OF_AN_IMAGE = frozenset({"image", "seen", "upto", "label"})


class Asked(NamedTuple):
    """What a request decides; each image has the texts `image`, `seen`, `upto`, and maybe `label`."""

    kind: str
    label: str
    images: Sequence[Mapping[str, str]]


def read_json(document: Any) -> Asked:
    """Read an ImagesRequest; raise Problem."""
    if not isinstance(document, Mapping) or not isinstance(document.get("images"), list):
        raise _invalid("A decision is an object: decision, images, label.")
    _check_names(document, _OF_A_DECISION)
    return _read(document.get("decision"), document.get("label", ""), document["images"])


def read_form(form: "MultiDict[str, str]") -> Asked:
    """Read the form of the inbox, whose images are JSON; raise Problem.

    Its one field for a label is for those that are corrected; who accepts takes what the reports propose, and leaves
    out images for which they propose nothing.
    """
    kind = form.get("decision", "")
    try:
        images = [json.loads(text) for text in form.getlist("image")]
    except ValueError:
        raise _invalid("An image is named by JSON: image, seen, upto.") from None
    asked = _read(kind, form.get("label", "") if kind == CORRECT else "", images)
    if kind == ACCEPT:
        return asked._replace(images=[image for image in asked.images if image.get("label")])
    return asked._replace(images=[{**image, "label": ""} for image in asked.images])


def _read(kind: Any, label: Any, images: Sequence[Any]) -> Asked:
    if not isinstance(kind, str) or kind not in STATUS_OF:
        raise _invalid(f"decision={str(kind)[:40]!r} is none of {', '.join(STATUS_OF)}.")
    if len(images) > MAX_PAGE_SIZE:
        raise _invalid(f"{len(images)} images in one request are more than {MAX_PAGE_SIZE}.")
    found: dict[str, Mapping[str, str]] = {}
    for image in images:
        if not isinstance(image, dict) or not isinstance(image.get("image"), str) or not _are_texts(image):
            raise _invalid("An image is an object of texts: image, seen, upto, label.")
        _check_names(image, _OF_AN_IMAGE)
        found[image["image"]] = image
    for each in (label, *(image.get("label", "") for image in found.values())):
        if not isinstance(each, str) or len(each) > MAX_LABEL:
            raise _invalid(f"label is no text of at most {MAX_LABEL} characters.")
    return Asked(kind, label, list(found.values()))


def _check_names(given: Mapping[str, Any], known: frozenset[str]) -> None:
    unknown = next((name for name in given if name not in known), None)
    if unknown is not None:
        raise _invalid(f"{unknown[:40]!r} is none of {', '.join(sorted(known))}.")


def _are_texts(image: Mapping[str, Any]) -> bool:
    return all(isinstance(value, str) for value in image.values())


def decisions(asked: Asked, reviewer: str, names: Spelling) -> list[ImageDecision]:
    """Return the decisions, with labels as they are spelled here; raise Problem where one lacks its label."""
    return [_decision(asked, image, reviewer, names) for image in asked.images]


def _decision(asked: Asked, image: Mapping[str, str], reviewer: str, names: Spelling) -> ImageDecision:
    label = ""
    if asked.kind in {ACCEPT, CORRECT}:
        # Lone surrogates cannot be stored as UTF-8.
        given = (image.get("label") or asked.label).encode("utf-8", "replace").decode()
        label = decided_label(asked.kind, tidy(given))
        if not key(label) or len(label) > MAX_LABEL:
            detail = (
                "No report of it names one: correct it."
                if asked.kind == ACCEPT
                else f"Give 1 to {MAX_LABEL} characters."
            )
            raise Problem(400, "label_needed", f"This decision needs a label. {detail}")
        label = names.of(label)
    return ImageDecision(image["image"], asked.kind, label, reviewer, _number(image, "seen"), _number(image, "upto"))


def _number(image: Mapping[str, str], name: str) -> int:
    text = image.get(name, "")
    if not text.isascii() or not text.isdecimal() or len(text) > _NUMBER_DIGITS:
        raise _invalid(f"{name}={text[:40]!r} is no whole number.")
    return int(text)


def messages(asked: Asked, outcomes: Sequence[Outcome]) -> list[str]:
    """Return the response to the form: the decisions kept, and those that others made meanwhile."""
    if not outcomes:
        return ["No image was selected, or none whose reports say what it is."]
    kept = [outcome for outcome in outcomes if outcome.is_kept]
    said = [f"{_images(len(kept))}: {_spoken(STATUS_OF[asked.kind])}."] if kept else []
    for outcome in outcomes:
        if not outcome.is_kept and not outcome.status:
            said.append("An image has no reports any more.")
        elif not outcome.is_kept:
            label = f" as {outcome.label}" if outcome.label else ""
            said.append(
                f"{outcome.reviewer} has decided about an image meanwhile: it is {_spoken(outcome.status)}{label}."
            )
    return said


def _spoken(status: str) -> str:
    """Return a status as the pages show it; files and addresses keep "corrected"."""
    return "relabelled" if status == "corrected" else status


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"


def _invalid(detail: str) -> Problem:
    return Problem(400, "invalid_decision", detail)
