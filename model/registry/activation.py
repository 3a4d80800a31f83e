"""Which version is served, which one is tried beside it, what was served before: three files in the bundles' folder.

Workers look at them several times a second; each is replaced as a whole.
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
    """A version that sees this share of the jobs beside the active one."""

    version: str
    share: float


def activate(bundles: Path, version: str, before: str, action: str, note: str = "") -> None:
    """Have this version served from now on, and write down that it was done."""
    path = bundles / HISTORY_FILE
    is_new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        row = (datetime.now(UTC).isoformat(timespec="seconds"), action, version, before, note)
        csv.writer(file).writerows([COLUMNS, row] if is_new else [row])
    _replace(bundles / ACTIVE_FILE, f"{version}\n")


def served_before(bundles: Path) -> str:
    """What a rollback leads to: each one goes a promotion further back."""
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
    """Have a version see live jobs beside the active one, or none any more."""
    if trial is None:
        (bundles / SHADOW_FILE).unlink(missing_ok=True)
    else:
        _replace(bundles / SHADOW_FILE, f"{trial.version} {trial.share}\n")


def tried_beside(bundles: Path) -> Trial | None:
    """The version that sees live jobs beside the active one; VersionError where the file says no such thing."""
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
