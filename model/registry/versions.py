"""The folder of bundles: which versions there are, the next one written whole, and how one came about."""

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference import bundle, files
from inference.bundle import DESCRIPTION_FILE, LABELS_FILE, MODEL_FILE
from inference.errors import VersionError, shown

RECORD_FILE = "record.json"
# A case takes about 200.
MAX_RECORD_BYTES = 256 * 1024**2
NUMBERED = re.compile(r"(\d+)(.*)", re.DOTALL)


@dataclass(frozen=True)
class Case:
    """A picture that a version was fitted on."""

    report_id: str
    image: str
    sha256: str
    label: str


@dataclass(frozen=True)
class Record:
    """How a version came about: enough to fit it again and to compare it fairly."""

    base: str  # <model>/<version> whose last layer was fitted
    made_at: str
    cases: tuple[Case, ...]
    traffic: tuple[str, ...]  # names of the unreported pictures that were looked at
    held_to: int  # how many of them it was held to
    ordinary: int  # pictures made by code

    def encode(self) -> bytes:
        """The bytes of record.json."""
        table = {**vars(self), "cases": [vars(case) for case in self.cases]}
        return (json.dumps(table, ensure_ascii=False, indent=1) + "\n").encode()

    @classmethod
    def decode(cls, content: bytes) -> "Record":
        """What encode() gave."""
        table = json.loads(content)
        cases = tuple(Case(**case) for case in table.pop("cases"))
        return cls(**{**table, "cases": cases, "traffic": tuple(table["traffic"])})


def identities(bundles: Path) -> Iterator[str]:
    """Every bundle as <model>/<version>, in order."""
    for path in sorted(bundles.glob(f"*/*/{DESCRIPTION_FILE}"), key=lambda path: _in_order(path.parent)):
        if not path.parent.name.startswith("."):
            yield identity(path.parent)


def identity(folder: Path) -> str:
    """A bundle's folder as <model>/<version>."""
    return f"{folder.parent.name}/{folder.name}"


def found(bundles: Path, named: str) -> Path:
    """The folder of <model>/<version>, or of <version> where one model alone has it; VersionError lists those there."""
    matching = [each for each in identities(bundles) if named in (each, each.partition("/")[2])]
    if len(matching) != 1:
        there = ", ".join(identities(bundles)) or "none"
        raise VersionError(f"{named!r} is {'more than one' if matching else 'no'} version in {bundles}; there: {there}")
    return bundles / matching[0]


def next_version(model_folder: Path, version: str) -> str:
    """The first version after this one that is free: 1-int8, 2-int8, 3-int8."""
    match = NUMBERED.fullmatch(version)
    number, rest = (int(match[1]), match[2]) if match else (1, f"-{version}")
    while (model_folder / (free := f"{number + 1}{rest}")).exists():
        number += 1
    return free


def record_of(folder: Path) -> Record | None:
    """How this version came about; None for one that was not made by improving another."""
    path = folder / RECORD_FILE
    if not path.exists():
        return None
    content = files.read(path, MAX_RECORD_BYTES)
    sums = bundle.description(folder).get("files")
    expected = sums.get(RECORD_FILE) if isinstance(sums, dict) else None
    if hashlib.sha256(content).hexdigest() != expected:
        raise VersionError(f"{path} is not as {DESCRIPTION_FILE} says by SHA-256: make the version again")
    try:
        return Record.decode(content)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as fault:
        raise VersionError(f"{path} cannot be read: {fault}") from None


def base_of(bundles: Path, folder: Path) -> Path:
    """The version whose last layer this one's was fitted from; itself where it was not."""
    record = record_of(folder)
    return folder if record is None else found(bundles, record.base)


def put(base: Path, version: str, model: bytes, labels: tuple[str, ...], record: Record) -> Path:
    """Write a new version beside its base, all at once; VersionError where there is one of that name."""
    described = bundle.description(base) | {"version": version}
    return write(base.parents[1], described, model, labels, {RECORD_FILE: record.encode()})


def write(
    bundles: Path, described: Mapping[str, Any], model: bytes, labels: tuple[str, ...], more: Mapping[str, bytes]
) -> Path:
    """Write a bundle all at once as <name>/<version> of its description; VersionError where there is one already."""
    target = free_place(bundles, described["name"], described["version"])
    contents = {MODEL_FILE: model, LABELS_FILE: "".join(f"{label}\n" for label in labels).encode(), **more}
    described = {**described, "files": {name: sum_of(content) for name, content in contents.items()}}
    draft = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}")
    draft.mkdir(parents=True)
    try:
        for name, content in (contents | {DESCRIPTION_FILE: _toml(described).encode()}).items():
            (draft / name).write_bytes(content)
        draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target


def free_place(bundles: Path, model: str, version: str) -> Path:
    """Where a new bundle of these names goes; VersionError where they are none, or the place is taken."""
    for what, name in (("name", model), ("version", version)):
        if not bundle.is_name(name):
            raise VersionError(f"{what} {shown(name)} is no name; expected {bundle.NAMES}")
    target = bundles / model / version
    if target.exists():
        raise VersionError(f"version {version!r} is taken in {target.parent}; leave it out to have the next free one")
    return target


def _toml(table: Mapping[str, Any]) -> str:
    """Text, numbers, lists of them and tables: what bundle.toml holds, JSON writes as TOML does."""
    plain = {key: value for key, value in table.items() if not isinstance(value, dict)}
    lines = [f"{_key(key)} = {json.dumps(value, ensure_ascii=False)}" for key, value in plain.items()]
    for name, inner in table.items():
        if isinstance(inner, dict):
            lines += ["", f"[{_key(name)}]"]
            lines += [f"{_key(key)} = {json.dumps(value, ensure_ascii=False)}" for key, value in inner.items()]
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    return name if re.fullmatch("[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)


def sum_of(content: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()


def _in_order(folder: Path) -> tuple[str, int, str]:
    match = NUMBERED.fullmatch(folder.name)
    return folder.parent.name, int(match[1]) if match else 0, folder.name
