"""Which versions there are, as values that JSON holds: for pages of processes that have no folder of bundles."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import settings
from inference import bundle, files
from inference.bundle import LABELS_FILE, MODEL_FILE
from inference.errors import ModelError
from registry import activation, versions

MAX_VERSIONS, MAX_TAUGHT = 50, 12


def versions_of(bundles: Path) -> list[dict[str, Any]]:
    """Return what is shown of each version, in the order of their names; of many, of the last ones."""
    states = _states(bundles)
    found = versions.folders(bundles)[-MAX_VERSIONS:]
    named = [(versions.identity(path), path) for path in found]
    return [{"version": name, "state": states.get(name, ""), **_facts(path)} for name, path in named]


def _states(bundles: Path) -> dict[str, str]:
    """Return which version is active, which one the shadow, and which one a rollback leads to."""
    states = {activation.rollback_target(bundles): "before"}
    with suppress(ModelError, OSError):  # a file that cannot be read hides no version
        if (trial := activation.tried_beside(bundles)) is not None:
            states[trial.version] = "shadow"
    with suppress(ModelError, OSError):
        states[versions.identity(bundle.choose(bundles, settings.MODEL_BUNDLE, settings.PRECISION))] = "active"
    return states


def _facts(folder: Path) -> dict[str, Any]:
    """Return what a version is made of; `fault` is why it cannot be read."""
    try:
        bundle.description(folder)
        labels = bundle.parse_labels(files.read(folder / LABELS_FILE, bundle.MAX_LABELS_BYTES))
        facts = {"labels": len(labels), "bytes": (folder / MODEL_FILE).stat().st_size}
        record = versions.record_of(folder)
        if record is None:
            return {**facts, "imported_at": imported_at} if (imported_at := versions.imported_at(folder)) else facts
        shown = sorted({case.label for case in record.cases})
        origin = {"base": record.base, "made_at": record.made_at, "cases": len(record.cases)}
        return {**facts, **origin, "taught": shown[:MAX_TAUGHT], "taught_count": len(shown)}
    except (ModelError, OSError) as fault:
        return {"fault": str(fault)}
