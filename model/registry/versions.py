"""The folder of bundles: which versions there are, writing the next one, and how one was made."""

import glob
import hashlib
import json
import re
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from inference import bundle, files
from inference.bundle import DESCRIPTION_FILE, LABELS_FILE, MODEL_FILE
from inference.errors import ModelError, VersionError, shown

RECORD_FILE = "record.json"
# In bundle.toml of a version that was imported.
IMPORTED_AT = "imported_at"
MAX_MOMENT = 32
# A case takes about 200.
MAX_RECORD_BYTES = 256 * 1024**2
# What releases did before they recorded it.
FORMER_AUGMENT = ("mirror", "turn", "recolour", "skew")
# As files.beside() names them.
_DRAFT = re.compile(r"\..+\.\d+\.[0-9a-f]{8}")
NUMBERED = re.compile(r"(\d+)(.*)", re.DOTALL)


class Case(NamedTuple):
    """A report that a reviewer has accepted or corrected: a stored image and the label that it shows."""

    report_id: str
    image: str  # its name in the folder of uploads, or an absolute path
    sha256: str
    label: str
    prediction: str = ""  # what the model had answered; not in record.json


class HeldImage(NamedTuple):
    """An image that a version's answers were held to: its name in the folder of uploads, or an absolute path."""

    name: str
    sha256: str = ""  # empty before it was read, and in records of earlier releases


@dataclass(frozen=True)
class Record:
    """How a version was made: enough to fit it again and to compare it fairly. The fields are those of record.json."""

    base: str  # <model>/<version> whose last layer was fitted
    made_at: str
    cases: tuple[Case, ...]
    images: tuple[HeldImage, ...]  # unreported and ordinary ones
    synthetic: int  # synthetic images
    augment: tuple[str, ...]  # the augmentations of each case

    def encode(self) -> bytes:
        """Return the bytes of record.json."""
        cases = [dict(zip(Case._fields[:4], case, strict=False)) for case in self.cases]
        images = [image._asdict() for image in self.images]
        table = {**vars(self), "cases": cases, "images": images}
        return (json.dumps(table, ensure_ascii=False, indent=1) + "\n").encode()

    @classmethod
    def decode(cls, content: bytes) -> "Record":
        """Return the record that encode() gave, in this release or in an earlier one."""
        table = json.loads(content)
        table.pop("held_to", None)
        if "traffic" in table:
            table["images"] = [{"name": name} for name in table.pop("traffic")]
            table |= {"synthetic": table.pop("ordinary"), "augment": FORMER_AUGMENT}
        cases = tuple(Case(**case) for case in table.pop("cases"))
        images = tuple(HeldImage(**image) for image in table.pop("images"))
        return cls(**{**table, "cases": cases, "images": images, "augment": tuple(table["augment"])})


def identities(bundles: Path) -> Iterator[str]:
    """Yield every bundle as <model>/<version>, in order."""
    # Path.glob raises FileNotFoundError for what vanishes meanwhile, and finds hidden folders, which hold drafts.
    found = glob.iglob(f"*/*/{DESCRIPTION_FILE}", root_dir=bundles)  # noqa: PTH207
    yield from map(identity, sorted(((bundles / path).parent for path in found), key=_in_order))


def folders(bundles: Path) -> list[Path]:
    """Return the folder of every version in order, of broken ones, too."""
    found = [bundles / path for path in glob.iglob("*/*/", root_dir=bundles)]  # noqa: PTH207
    return sorted(found, key=_in_order)


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


def class_labels(bundles: Path, base: Path) -> tuple[str, ...]:
    """Return the labels of a base, and of every class that a version fitted from it has had, each at its number.

    Versions fitted from the same model in another precision count as well. Classes are only ever added, so the version
    with the most of them has them all; of several, the one made last knows what they are called now.
    """
    own = _labels(base)
    found = [(0, "", own)]
    for path in base.parent.glob(f"*/{RECORD_FILE}"):
        with suppress(ModelError, OSError):  # one that is broken is not served either
            record = record_of(path.parent)
            if record is not None and _labels(bundles / record.base) == own:
                labels = _labels(path.parent)
                found.append((len(labels), record.made_at, labels))
    return max(found)[2]


def _labels(folder: Path) -> tuple[str, ...]:
    return bundle.parse_labels(files.read(folder / LABELS_FILE, bundle.MAX_LABELS_BYTES))


def put(base: Path, version: str, model: bytes, labels: tuple[str, ...], record: Record) -> Path:
    """Write a new version next to its base and return its folder; VersionError where that name is taken."""
    described = bundle.description(base) | {"version": version}
    return write(base.parents[1], described, model, labels, {RECORD_FILE: record.encode()})


def write(
    bundles: Path, described: Mapping[str, Any], model: bytes, labels: tuple[str, ...], more: Mapping[str, bytes]
) -> Path:
    """Write a bundle atomically as <name>/<version> of its description; VersionError where there is one already."""
    target = free_place(bundles, described["name"], described["version"])
    contents = {MODEL_FILE: model, LABELS_FILE: "".join(f"{label}\n" for label in labels).encode(), **more}
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    contents[DESCRIPTION_FILE] = _toml({**described, "files": sums}).encode()
    draft = files.beside(target)
    draft.mkdir(parents=True)
    try:
        for name, content in contents.items():
            files.write(draft / name, content)
        files.sync_folder(draft)
        draft.rename(target)
        files.sync_folder(target.parent)
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


def forget(folder: Path, names: Collection[str], sha256s: Collection[str]) -> bool:
    """Take images out of the record of a version, by their names or contents; return whether any was in it.

    What the version has learned of them stays in its weights.
    """
    record = record_of(folder)
    if record is None:
        return False

    def is_meant(name: str, sha256: str) -> bool:
        return name in names or (bool(sha256) and sha256 in sha256s)

    cases = tuple(case for case in record.cases if not is_meant(case.image, case.sha256))
    images = tuple(image for image in record.images if not is_meant(image.name, image.sha256))
    if (len(cases), len(images)) == (len(record.cases), len(record.images)):
        return False
    content = replace(record, cases=cases, images=images).encode()
    described = bundle.description(folder)
    sums = {**described["files"], RECORD_FILE: hashlib.sha256(content).hexdigest()}
    files.replace(folder / RECORD_FILE, content)
    files.replace(folder / DESCRIPTION_FILE, _toml({**described, "files": sums}).encode())
    return True


def imported_at(folder: Path) -> str:
    """Return when a version was imported, in ISO 8601; empty where it was not, or before that was noted."""
    return str(bundle.description(folder).get(IMPORTED_AT, ""))[:MAX_MOMENT]


def remove(folder: Path) -> None:
    """Remove a version that was made by improving another or imported, atomically; raise VersionError otherwise."""
    if not ((folder / RECORD_FILE).exists() or imported_at(folder)):
        reason = "was neither made by improve nor imported"
        raise VersionError(f"{identity(folder)} {reason}: remove its folder yourself, if it is to go")
    for other in folders(folder.parents[1]):
        with suppress(ModelError, OSError):  # a broken one needs nothing
            if (record := record_of(other)) is not None and record.base == identity(folder):
                raise VersionError(f"{identity(other)} was made from {identity(folder)}, which stays")
    draft = files.beside(folder)
    folder.rename(draft)
    shutil.rmtree(draft)


def remove_drafts(bundles: Path, older_than_s: float) -> list[Path]:
    """Remove and return drafts that killed writers have left next to versions. Drafts are never listed or served."""
    found = [Path(path) for path in glob.iglob(f"{glob.escape(str(bundles))}/*/.*.*.*/")]  # noqa: PTH207
    old = [path for path in found if _DRAFT.fullmatch(path.name) and _age_s(path) > older_than_s]
    for path in old:
        shutil.rmtree(path, ignore_errors=True)
    return old


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0


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
