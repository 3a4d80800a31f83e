"""The folder of bundles: which versions there are, writing the next one, and how one was made."""

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from inference import bundle, files
from inference.bundle import DESCRIPTION_FILE, LABELS_FILE, MODEL_FILE
from inference.errors import VersionError, shown

RECORD_FILE = "record.json"
# A case takes about 200.
MAX_RECORD_BYTES = 256 * 1024**2
NUMBERED = re.compile(r"(\d+)(.*)", re.DOTALL)


class Case(NamedTuple):
    """A report that a reviewer has accepted or corrected: a stored image and the label that it shows."""

    report_id: str
    image: str  # its name in the folder of uploads
    sha256: str
    label: str
    prediction: str = ""  # what the model had answered; not in record.json


@dataclass(frozen=True)
class Record:
    """How a version was made: enough to fit it again and to compare it fairly. The fields are those of record.json."""

    base: str  # <model>/<version> whose last layer was fitted
    made_at: str
    cases: tuple[Case, ...]
    traffic: tuple[str, ...]  # names of the unreported images that were read
    held_to: int  # how many of these are in its rehearsal set
    ordinary: int  # synthetic images

    def encode(self) -> bytes:
        """Return the bytes of record.json."""
        cases = [dict(zip(Case._fields[:4], case, strict=False)) for case in self.cases]
        return (json.dumps({**vars(self), "cases": cases}, ensure_ascii=False, indent=1) + "\n").encode()

    @classmethod
    def decode(cls, content: bytes) -> "Record":
        """Return the record that encode() gave."""
        table = json.loads(content)
        cases = tuple(Case(**case) for case in table.pop("cases"))
        return cls(**{**table, "cases": cases, "traffic": tuple(table["traffic"])})


def identities(bundles: Path) -> Iterator[str]:
    """Yield every bundle as <model>/<version>, in order."""
    for path in sorted(bundles.glob(f"*/*/{DESCRIPTION_FILE}"), key=lambda path: _in_order(path.parent)):
        if not path.parent.name.startswith("."):
            yield identity(path.parent)


def identity(folder: Path) -> str:
    """Return <model>/<version> of a bundle's folder."""
    return f"{folder.parent.name}/{folder.name}"


def find(bundles: Path, named: str) -> Path:
    """Return the folder of <model>/<version>, or of <version> where one model alone has it.

    Raise VersionError, which lists the versions that there are, where that is none or more than one.
    """
    matching = [each for each in identities(bundles) if named in (each, each.partition("/")[2])]
    if len(matching) != 1:
        there = ", ".join(identities(bundles)) or "none"
        raise VersionError(f"{named!r} is {'more than one' if matching else 'no'} version in {bundles}; there: {there}")
    return bundles / matching[0]


def next_version(model_folder: Path, version: str) -> str:
    """Return the first free version after this one: 1-int8, 2-int8, 3-int8."""
    match = NUMBERED.fullmatch(version)
    number, rest = (int(match[1]), match[2]) if match else (1, f"-{version}")
    while (model_folder / (free := f"{number + 1}{rest}")).exists():
        number += 1
    return free


def record_of(folder: Path) -> Record | None:
    """Return how this version was made; None for one that was not made by improving another."""
    path = folder / RECORD_FILE
    if not path.exists():
        return None
    content = files.read(path, MAX_RECORD_BYTES)
    sums = bundle.description(folder).get("files")
    expected = sums.get(RECORD_FILE) if isinstance(sums, dict) else None
    if hashlib.sha256(content).hexdigest() != expected:
        raise VersionError(f"{path} does not have the SHA-256 in {DESCRIPTION_FILE}: make the version again")
    try:
        return Record.decode(content)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as fault:
        raise VersionError(f"{path} cannot be read: {fault}") from None


def base_of(bundles: Path, folder: Path) -> Path:
    """Return the version whose last layer this one's was fitted from; itself where it was not fitted."""
    record = record_of(folder)
    return folder if record is None else find(bundles, record.base)


def put(base: Path, version: str, model: bytes, labels: tuple[str, ...], record: Record) -> Path:
    """Write a new version beside its base and return its folder; VersionError where that name is taken."""
    described = bundle.description(base) | {"version": version}
    return write(base.parents[1], described, model, labels, {RECORD_FILE: record.encode()})


def write(
    bundles: Path, described: Mapping[str, Any], model: bytes, labels: tuple[str, ...], more: Mapping[str, bytes]
) -> Path:
    """Write a bundle all at once as <name>/<version> of its description; VersionError where there is one already."""
    target = free_place(bundles, described["name"], described["version"])
    contents = {MODEL_FILE: model, LABELS_FILE: "".join(f"{label}\n" for label in labels).encode(), **more}
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    contents[DESCRIPTION_FILE] = _toml({**described, "files": sums}).encode()
    draft = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}")
    draft.mkdir(parents=True)
    try:
        for name, content in contents.items():
            (draft / name).write_bytes(content)
        draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target


def free_place(bundles: Path, model: str, version: str) -> Path:
    """Return the folder of a new bundle; raise VersionError where a name cannot be one, or the version exists."""
    for what, name in (("name", model), ("version", version)):
        if not bundle.is_name(name):
            raise VersionError(f"{what} {shown(name)} is no name; expected {bundle.NAMES}")
    target = bundles / model / version
    if target.exists():
        raise VersionError(f"version {version!r} is taken in {target.parent}; leave it out to have the next free one")
    return target


def _toml(table: Mapping[str, Any]) -> str:
    """Return text, numbers, lists of them and tables of these as TOML, which writes such values as JSON does."""
    tables = {name: inner for name, inner in table.items() if isinstance(inner, dict)}
    text = _toml_lines({key: value for key, value in table.items() if key not in tables})
    return text + "".join(f"\n[{_key(name)}]\n{_toml_lines(inner)}" for name, inner in tables.items())


def _toml_lines(table: Mapping[str, Any]) -> str:
    return "".join(f"{_key(key)} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in table.items())


def _key(name: str) -> str:
    return name if re.fullmatch("[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)


def _in_order(folder: Path) -> tuple[str, int, str]:
    match = NUMBERED.fullmatch(folder.name)
    return folder.parent.name, int(match[1]) if match else 0, folder.name
