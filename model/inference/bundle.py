"""A model bundle: graph, labels and their description, read once and checked against its own SHA-256s."""

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from inference import files, onnx_file, preprocessing
from inference.errors import SHOWN, BundleError, shown
from inference.onnx_file import MAX_BYTES
from inference.preprocessing import Preprocessing

SCHEMA = 1
DESCRIPTION_FILE, MODEL_FILE, LABELS_FILE, ACTIVE_FILE = "bundle.toml", "model.onnx", "labels.txt", "active"
OUTPUTS = ("logits", "probabilities")
# What set-up makes, each in both precisions; the first is the default.
MODELS_OF_SETUP = ("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2")
PRECISIONS = ("int8", "fp32")
# A name is published in Redis, headers, metrics and paths: each takes these characters, none an unbounded length.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
NAMES = "1 to 64 letters, digits and . _ + -, of which the first is a letter or digit"
MAX_ACTIVE_BYTES, MAX_DESCRIPTION_BYTES = 1_024, 65_536
# The largest list in use, that of ImageNet-21k, has 21,843 labels of at most 200 characters.
MAX_LABELS_BYTES, MAX_LABELS, MAX_CHARACTERS = 4 * 1024**2, 65_536, 500
FILE_LIMITS = {MODEL_FILE: MAX_BYTES, LABELS_FILE: MAX_LABELS_BYTES}
VERSIONS_OF_SETUP = [f"{model}/1-{precision}" for model in MODELS_OF_SETUP for precision in PRECISIONS]


@dataclass(frozen=True, slots=True)
class Bundle:
    """A model and its description; `model` is the verified graph itself, not a path to read again.

    `digest` is the SHA-256 of all of the others in hex: workers that serve bundles of one digest return the same
    answers.
    """

    name: str
    version: str
    precision: str
    preprocessing: Preprocessing
    output: str
    labels: tuple[str, ...]
    model: bytes
    folder: Path | None = None  # None for a draft that is nowhere yet
    digest: str = ""  # likewise


def choose(folder: Path, named: str = "", precision: str = "") -> Path:
    """Return the folder of the bundle to serve: the one named, else the active one.

    A precision chooses between the versions that set-up made of a model. Raise BundleError for what is no identity.
    """
    chosen = named or _active(folder) or VERSIONS_OF_SETUP[0]
    if not named and precision and chosen in VERSIONS_OF_SETUP:
        chosen = f"{chosen.partition('/')[0]}/1-{precision}"
    if not is_identity(chosen):
        source = "MODEL_BUNDLE" if named else folder / ACTIVE_FILE
        raise BundleError(f"{source} names the bundle {chosen[:SHOWN]!r}; expected <model>/<version>, each {NAMES}")
    return folder / chosen


def is_name(text: object) -> bool:
    """Return whether this may name a model or a version."""
    return isinstance(text, str) and NAME.fullmatch(text) is not None


def is_identity(text: str) -> bool:
    """Return whether this is <model>/<version>, and so names a folder below that of the bundles and nothing else."""
    return text.count("/") == 1 and all(map(is_name, text.split("/")))


def load(folder: Path) -> Bundle:
    """Read and verify the bundle in this folder; raise BundleError."""
    table = description(folder)
    sums = _value(table, "files", dict)
    content = {name: _verified(folder / name, sums.get(name), most) for name, most in FILE_LIMITS.items()}
    try:
        onnx_file.check(content[MODEL_FILE])
    except ValueError as fault:
        raise BundleError(f"{folder / MODEL_FILE} is no plain ONNX file: {fault}") from None
    output = _value(_value(table, "output", dict), "kind", str)
    if output not in OUTPUTS:
        raise BundleError(f"[output] kind = {shown(output)}; expected one of {list(OUTPUTS)}")
    loaded = Bundle(
        name=_name(table, "name"),
        version=_name(table, "version"),
        precision=_name(table, "precision"),
        preprocessing=preprocessing.from_table(_value(table, "preprocessing", dict)),
        output=output,
        labels=parse_labels(content[LABELS_FILE]),
        model=content[MODEL_FILE],
        folder=folder,
    )
    return replace(loaded, digest=_digest_of(loaded))


def additional_file(folder: Path, name: str, max_bytes: int) -> bytes | None:
    """Return a further file of the bundle, verified as the others; None where its description lists none of this name.

    Raise BundleError where it is missing or altered.
    """
    expected = _value(description(folder), "files", dict).get(name)
    return None if expected is None else _verified(folder / name, expected, max_bytes)


def parse_labels(content: bytes) -> tuple[str, ...]:
    """Return the labels of a file of UTF-8, one on each line, each once; raise BundleError."""
    try:
        labels = tuple(content.decode("utf-8").splitlines())
    except UnicodeDecodeError as fault:
        raise BundleError(f"labels.txt is no UTF-8: {fault}") from None
    if not labels:
        raise BundleError("labels.txt is empty; one label on each line is expected")
    if len(labels) > MAX_LABELS:
        raise BundleError(f"labels.txt has {len(labels)} labels; at most {MAX_LABELS} are read")
    seen: set[str] = set()
    for number, label in enumerate(labels, 1):
        if not label.strip() or label in seen:
            raise BundleError(f"labels.txt line {number} is {label!r}; labels are neither empty nor repeated")
        if len(label) > MAX_CHARACTERS:
            raise BundleError(
                f"labels.txt line {number} has {len(label)} characters; at most {MAX_CHARACTERS} are read"
            )
        seen.add(label)
    return labels


def fingerprint(folder: Path) -> str:
    """Return the SHA-256 of the description of the bundle in this folder, which changes with any of its files.

    Empty where it cannot be read.
    """
    try:
        return hashlib.sha256(files.read(folder / DESCRIPTION_FILE, MAX_DESCRIPTION_BYTES)).hexdigest()
    except (OSError, BundleError):
        return ""


def check_place(loaded: Bundle) -> None:
    """Raise BundleError where the bundle's identity is not that of its folder, by which it is promoted and listed."""
    folder = loaded.folder
    if folder is not None and (loaded.name, loaded.version) != folder.parts[-2:]:
        place = "/".join(folder.parts[-2:])
        raise BundleError(
            f"{folder / DESCRIPTION_FILE} is of {loaded.name}/{loaded.version}; set its name and version to those of "
            f"its folder, {place}"
        )


def _digest_of(loaded: Bundle) -> str:
    """Return the SHA-256 over all that decides an answer, and over nothing else, such as comments in bundle.toml."""
    facts = (loaded.name, loaded.version, loaded.precision, asdict(loaded.preprocessing), loaded.output, loaded.labels)
    head = json.dumps(facts, sort_keys=True).encode()
    return hashlib.sha256(hashlib.sha256(head).digest() + hashlib.sha256(loaded.model).digest()).hexdigest()


def _active(folder: Path) -> str:
    """Return what the file `active` names; empty where there is no such file."""
    path = folder / ACTIVE_FILE
    try:
        active = files.read(path, MAX_ACTIVE_BYTES).decode("utf-8-sig").strip()
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as fault:
        raise BundleError(f"{path} is not UTF-8: {fault}; promote a version, which rewrites it") from None
    if not active:
        raise BundleError(f"{path} is empty; promote a version, which rewrites it, or remove it for the default one")
    return active


def description(folder: Path) -> dict[str, Any]:
    """Return the content of bundle.toml in this folder; raise BundleError where it cannot be read."""
    path = folder / DESCRIPTION_FILE
    try:
        table = tomllib.loads(files.read(path, MAX_DESCRIPTION_BYTES).decode())
    except FileNotFoundError:
        raise BundleError(f"{path} is missing; `make install` builds the default bundle") from None
    except (ValueError, RecursionError) as fault:  # no UTF-8, no TOML, endless tables, numbers of thousands of digits
        raise BundleError(f"{path} cannot be read: {str(fault)[:SHOWN]}") from None
    schema = table.get("schema")
    if type(schema) is not int or schema != SCHEMA:
        raise BundleError(f"{path} has schema {shown(schema)}; this version reads {SCHEMA}")
    return table


def _verified(path: Path, expected: Any, most: int) -> bytes:
    try:
        content = files.read(path, most)
    except FileNotFoundError:
        raise BundleError(f"{path} is missing") from None
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise BundleError(
            f"{path} has SHA-256 {found}; bundle.toml has {str(expected)[:SHOWN]}; install the bundle again"
        )
    return content


def _value(table: Mapping[str, Any], key: str, kind: type) -> Any:
    value = table.get(key)
    if not isinstance(value, kind):
        raise BundleError(f"{DESCRIPTION_FILE}: {key} = {shown(value)}; expected a {kind.__name__}")
    return value


def _name(table: Mapping[str, Any], key: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not is_name(value):
        raise BundleError(f"{DESCRIPTION_FILE}: {key} = {shown(value)}; expected {NAMES}")
    return value
