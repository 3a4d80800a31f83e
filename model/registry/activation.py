"""Which version is served, which is tried as shadow, and what was served before.

All three are files in the folder of bundles. Workers read them several times a second; each is replaced atomically,
by one process at a time.
"""

import csv
import io
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from inference import bundle, files
from inference.bundle import ACTIVE_FILE, DESCRIPTION_FILE
from inference.errors import BundleError, VersionError, shown

SHADOW_FILE, HISTORY_FILE = "shadow", "promotions.csv"
COLUMNS = ("time", "action", "version", "before", "note")
MAX_SHADOW_BYTES, MAX_HISTORY_BYTES = 1_024, 64 * 1024**2
PROMOTED, ROLLED_BACK = "promote", "rollback"


class Trial(NamedTuple):
    """A version that gets this share of the jobs along with the active one, as its shadow."""

    version: str
    share: float


def active(bundles: Path) -> str:
    """Return the version that the file `active` names, or the default one; "" where the file cannot be read."""
    try:
        return "/".join(bundle.choose(bundles).parts[-2:])
    except BundleError:
        return ""


Publish = Callable[[bytes], None]


def activate(  # noqa: PLR0913  a row of the history and where it goes
    bundles: Path, version: str, before: str, action: str, note: str = "", *, publish: Publish = lambda _: None
) -> None:
    """Have this version served from now on in place of `before`, what active() returned when it was chosen.

    Add a row to promotions.csv, and end the trial of the version if it was the shadow. `publish` is called with what
    that file is to be, before anything is changed, and may refuse it. Raise VersionError where another version was
    activated meanwhile.
    """
    with files.alone_in(bundles):
        if (now := active(bundles)) != before:
            raise VersionError(f"{now} was activated meanwhile, where {before} was; decide on that, and try again")
        row = (datetime.now(UTC).isoformat(timespec="seconds"), action, version, before, note)
        history = _with_row(bundles / HISTORY_FILE, row)
        publish(history)
        files.replace(bundles / HISTORY_FILE, history)
        with suppress(VersionError, BundleError):  # a file that cannot be read names no trial
            if (trial := tried_beside(bundles)) is not None and trial.version == version:
                (bundles / SHADOW_FILE).unlink()
        files.replace(bundles / ACTIVE_FILE, f"{version}\n".encode())


def _with_row(path: Path, row: tuple[str, ...]) -> bytes:
    try:
        content = files.read(path, MAX_HISTORY_BYTES).rstrip()
    except FileNotFoundError:
        content = ",".join(COLUMNS).encode()
    text = io.StringIO()
    csv.writer(text).writerow(row)
    return content + b"\r\n" + text.getvalue().encode()


def served_before(bundles: Path) -> str:
    """Return the version that a rollback leads to; each rollback goes a promotion further back."""
    before: list[str] = []
    for row in _history(bundles):
        if row["action"] == PROMOTED and row["before"]:  # unknown where `active` could not be read
            before.append(row["before"])
        elif before:
            before.pop()
    if not before:
        raise VersionError(f"nothing was promoted in {bundles} that could be rolled back; promote another version")
    return before[-1]


def rollback_target(bundles: Path) -> str:
    """Return the version that a rollback leads to, "" where there is none or the history cannot be read."""
    try:
        return served_before(bundles)
    except VersionError:
        return ""


def switch(bundles: Path, first: str) -> str:
    """Have the model of the version `first` served; return the version: the one last served of it, else `first`."""
    before, model = active(bundles), first.partition("/")[0]
    if before.partition("/")[0] == model:
        return before
    served = [version for row in _history(bundles) for version in (row["before"], row["version"])]
    candidates = (version for version in reversed(served) if version.partition("/")[0] == model)
    version = next((each for each in candidates if (bundles / each / DESCRIPTION_FILE).is_file()), first)
    activate(bundles, version, before, PROMOTED, "another model was chosen")
    return version


def try_beside(bundles: Path, trial: Trial | None) -> None:
    """Start the trial of a version along with the active one, or end it."""
    with files.alone_in(bundles):
        if trial is None:
            (bundles / SHADOW_FILE).unlink(missing_ok=True)
        else:
            files.replace(bundles / SHADOW_FILE, f"{trial.version} {trial.share}\n".encode())


def tried_beside(bundles: Path) -> Trial | None:
    """Return the trial of a second version, if there is one; VersionError where its file cannot be read."""
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
