"""Which version is served, which is tried as shadow, what was served before, and whether another may be promoted.

The first three are files in the folder of bundles. Workers read them several times a second; each is replaced at once.
"""

import csv
import io
import os
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from inference import bundle, files
from inference.bundle import ACTIVE_FILE
from inference.errors import VersionError, shown

SHADOW_FILE, HISTORY_FILE = "shadow", "promotions.csv"
COLUMNS = ("time", "action", "version", "before", "note")
MAX_SHADOW_BYTES, MAX_HISTORY_BYTES = 1_024, 64 * 1024**2
PROMOTED, ROLLED_BACK = "promote", "rollback"


class Trial(NamedTuple):
    """A version that gets this share of the jobs beside the active one, as its shadow."""

    version: str
    share: float


class Limits(NamedTuple):
    """How much of its top-1 accuracy a version may lose, and how often it must agree with the active one, as shares."""

    max_accuracy_drop: float
    min_agreement: float


class Evidence(NamedTuple):
    """What was measured of a candidate beside the active version, as numbers of images."""

    labelled: int
    active_right: int  # top-1, of the labelled ones
    candidate_right: int
    compared: int
    agreeing: int
    compared_on: str  # which images, such as "unreported images"


def objections(evidence: Evidence, limits: Limits) -> list[str]:
    """Return what the promotion gate has against a candidate, in words; an empty list lets it pass."""
    found, count = [], evidence.labelled
    if evidence.candidate_right < evidence.active_right - limits.max_accuracy_drop * count:
        found.append(
            f"its top-1 is {evidence.candidate_right} of {count} labelled images, where {evidence.active_right} were "
            f"right; a drop of {limits.max_accuracy_drop:.0%} is allowed"
        )
    if evidence.agreeing < limits.min_agreement * evidence.compared:
        found.append(
            f"it agrees with the active version on {evidence.agreeing} of {evidence.compared} {evidence.compared_on}; "
            f"{limits.min_agreement:.0%} are required"
        )
    return found


def activate(bundles: Path, version: str, before: str, action: str, note: str = "") -> None:
    """Have this version served from now on, and add a row to promotions.csv."""
    path = bundles / HISTORY_FILE
    is_new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        row = (datetime.now(UTC).isoformat(timespec="seconds"), action, version, before, note)
        csv.writer(file).writerows([COLUMNS, row] if is_new else [row])
    _replace(bundles / ACTIVE_FILE, f"{version}\n")


def served_before(bundles: Path) -> str:
    """Return the version that a rollback leads to; each rollback goes a promotion further back."""
    before: list[str] = []
    for row in _history(bundles):
        if row["action"] == PROMOTED:
            before.append(row["before"])
        elif before:
            before.pop()
    if not before:
        raise VersionError(f"nothing was promoted in {bundles} that could be rolled back; promote another version")
    return before[-1]


def try_beside(bundles: Path, trial: Trial | None) -> None:
    """Start the trial of a version beside the active one, or end it."""
    if trial is None:
        (bundles / SHADOW_FILE).unlink(missing_ok=True)
    else:
        _replace(bundles / SHADOW_FILE, f"{trial.version} {trial.share}\n")


def tried_beside(bundles: Path) -> Trial | None:
    """Return the trial beside the active version, if there is one; VersionError where its file cannot be read."""
    try:
        content = files.read(bundles / SHADOW_FILE, MAX_SHADOW_BYTES)
    except FileNotFoundError:
        return None
    try:
        version, share = content.decode("utf-8-sig").split()
        trial = Trial(version, float(share))
    except ValueError:
        version = ""
    if not bundle.is_identity(version):
        raise VersionError(f"{bundles / SHADOW_FILE} holds {shown(content)}; expected <model>/<version> <share>")
    if 0 < trial.share <= 1:
        return trial
    raise VersionError(f"{bundles / SHADOW_FILE} has the share {share}; expected more than 0, at most 1")


def _history(bundles: Path) -> Iterator[dict[str, str]]:
    path = bundles / HISTORY_FILE
    try:
        text = files.read(path, MAX_HISTORY_BYTES).decode("utf-8-sig")
        for row in csv.DictReader(io.StringIO(text, newline="")):
            yield {name: row.get(name) or "" for name in COLUMNS}
    except FileNotFoundError:
        return
    except (UnicodeDecodeError, csv.Error) as fault:
        raise VersionError(f"{path} cannot be read: {fault}; promote the version that is to be served") from None


def _replace(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
