"""What `promote` measures of a version, and prints, before it is served."""

import argparse
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import settings
from cli import command
from evaluation import batch_prediction, gate_evidence, gate_reading, promotion_gate, wrong_labels
from evaluation.batch_prediction import Models
from evaluation.comparison import Comparison, Pair
from evaluation.independent import TrainedOn, unreported
from evaluation.promotion_gate import Changes, Evidence, Limits, Paired, Verdict
from registry import versions
from storage.images.port import ImageStore
from training import cases
from training.train import SURE

MAX_TRAFFIC = 400


class Judged(NamedTuple):
    """Measurements of a candidate and of the active version, and the gate's result."""

    evidence: Evidence
    verdict: Verdict


def judge(models: Models, options: argparse.Namespace) -> Judged:
    """Compare a candidate with the active version, print the figures, and return the gate's result."""
    bundles = settings.bundles_folder()
    models, names = batch_prediction.same_names(models, bundles, options.feedback)
    records = [versions.record_of(bundles / each.bundle.name / each.bundle.version) for each in models]
    trained_on = TrainedOn.of(*records)
    stored = unreported(options.uploads, cases.reported_images(options.feedback), MAX_TRAFFIC, trained_on)
    subject = gate_reading.read(models, bundles, options.uploads, stored, command.progress)
    if subject is None:
        evidence = _of_models(models, options.uploads, stored)
    else:
        evidence = gate_evidence.measure(subject, command.progress)
    if options.labelled:
        found = batch_prediction.on_labelled(models, options.labelled, names, trained_on, command.progress)
        evidence = evidence.with_labelled(*_of_labels(found))
    command.say(*_lines(evidence))
    limits = Limits(options.max_accuracy_drop, options.min_agreement)
    return Judged(evidence, promotion_gate.decide(evidence, limits))


def _of_models(models: Models, uploads: ImageStore, stored: Sequence[str]) -> Evidence:
    """Compare versions that share no features: on stored images, or on synthetic ones where these are few."""
    if len(stored) >= promotion_gate.MIN_PHOTOGRAPHS:
        found = batch_prediction.on_traffic(models, stored, uploads, command.progress)
    else:
        found = batch_prediction.on_synthetic(models, command.progress)
        stored = ()
    return Evidence(None, changes=[_of_agreement(found)], photographs=len(stored))


def _of_agreement(found: Comparison) -> Changes:
    changed = [pair for pair in found.pairs if not pair.agrees]
    sure = sum(pair.first[0][1] >= SURE for pair in changed)
    return Changes(found.title.lower(), len(found.pairs), len(changed), sure)


def _of_labels(found: Comparison) -> tuple[Paired, dict[str, Paired]]:
    """Return all labelled images, and those of each label."""
    by_label = {label: _paired(f"labelled images of {label!r}", pairs) for label, pairs in found.by_label().items()}
    return _paired("labelled images", found.pairs), by_label


def _paired(what: str, pairs: Sequence[Pair]) -> Paired:
    rights = [pair.rights for pair in pairs]
    return Paired(what, len(pairs), rights.count((True, False)), rights.count((False, True)))


def _lines(evidence: Evidence) -> Iterator[str]:
    for each in evidence.labelled:
        yield f"{each.what}: {each.lost} right answers lost, {each.gained} gained, of {each.images}"
    for changed in evidence.changes:
        neutral = f" ({changed.neutral} more may show a reported class)" if changed.neutral else ""
        agreeing = changed.images - changed.changed
        yield f"{changed.what}: agreement on {agreeing} of {changed.images}{neutral}"
    yield from wrong_labels.lines(evidence.wrong_labels, evidence.cases or 0)
