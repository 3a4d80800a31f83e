"""A model bundle: graph, labels and what they need to know, read once and checked against its own SHA-256s."""

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from inference import labels, preprocessing
from inference.errors import BundleError
from inference.onnx_file import keeps_weights_elsewhere
from inference.preprocessing import Preprocessing

SCHEMA = 1
DESCRIPTION_FILE, MODEL_FILE, LABELS_FILE, ACTIVE_FILE = "bundle.toml", "model.onnx", "labels.txt", "active"
OUTPUTS = ("logits", "probabilities")
DEFAULT_NAME = "efficientnet-lite0"
PRECISIONS = ("int8", "fp32")
DEFAULT_VERSIONS = {precision: f"{DEFAULT_NAME}/1-{precision}" for precision in PRECISIONS}


@dataclass(frozen=True, slots=True)
class Bundle:
    """Everything there is to know of a model; `model` is the verified graph itself, not a path to read again.

    `digest` is the SHA-256 of all of the others in hex: bundles of one digest answer alike, whatever they are called.
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
    """The bundle to serve: the one named, else the active one; a precision picks between the default's versions."""
    chosen = named or _active(folder)
    if not named and precision and chosen in ("", *DEFAULT_VERSIONS.values()):
        chosen = DEFAULT_VERSIONS[precision]
    chosen = chosen or DEFAULT_VERSIONS["int8"]
    parts = chosen.split("/")
    if len(parts) != 2 or any(part in ("", ".", "..") for part in parts):
        raise BundleError(f"bundle {chosen!r}; expected <model>/<version> below {folder}")
    return folder / chosen


def load(folder: Path) -> Bundle:
    """Read and verify the bundle in this folder; BundleError says what is wrong with it."""
    table = _description(folder)
    sums = _value(table, "files", dict)
    content = {name: _verified(folder / name, sums.get(name)) for name in (MODEL_FILE, LABELS_FILE)}
    _check_is_self_contained(folder / MODEL_FILE, content[MODEL_FILE])
    output = _value(_value(table, "output", dict), "kind", str)
    if output not in OUTPUTS:
        raise BundleError(f"[output] kind = {output!r}; expected one of {list(OUTPUTS)}")
    loaded = Bundle(
        name=_value(table, "name", str),
        version=_value(table, "version", str),
        precision=_value(table, "precision", str),
        preprocessing=preprocessing.from_table(_value(table, "preprocessing", dict)),
        output=output,
        labels=labels.parse(content[LABELS_FILE]),
        model=content[MODEL_FILE],
        folder=folder,
    )
    return replace(loaded, digest=_digest_of(loaded))


def fingerprint(folder: Path) -> str:
    """Return the SHA-256 of the description of the bundle in this folder, which changes with any of its files.

    Empty where it cannot be read.
    """
    try:
        return hashlib.sha256((folder / DESCRIPTION_FILE).read_bytes()).hexdigest()
    except OSError:
        return ""


def _digest_of(loaded: Bundle) -> str:
    """Return the SHA-256 over all that decides an answer, and over nothing else, such as comments in bundle.toml."""
    told = (loaded.name, loaded.version, loaded.precision, asdict(loaded.preprocessing), loaded.output, loaded.labels)
    head = json.dumps(told, sort_keys=True).encode()
    return hashlib.sha256(hashlib.sha256(head).digest() + hashlib.sha256(loaded.model).digest()).hexdigest()


def _active(folder: Path) -> str:
    try:
        return (folder / ACTIVE_FILE).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""


def _description(folder: Path) -> dict[str, Any]:
    path = folder / DESCRIPTION_FILE
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BundleError(f"{path} is missing; `make install` builds the default bundle") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as fault:
        raise BundleError(f"{path} cannot be read: {fault}") from None
    if table.get("schema") != SCHEMA:
        raise BundleError(f"{path} has schema {table.get('schema')!r}; this version reads {SCHEMA}")
    return table


def _verified(path: Path, expected: Any) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise BundleError(f"{path} is missing") from None
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise BundleError(f"{path} has SHA-256 {found}; bundle.toml says {expected}; install the bundle again")
    return content


def _check_is_self_contained(path: Path, content: bytes) -> None:
    try:
        is_elsewhere = keeps_weights_elsewhere(content)
    except ValueError as fault:
        raise BundleError(f"{path} is no ONNX graph: {fault}") from None
    if is_elsewhere:
        raise BundleError(f"{path} keeps weights in another file; save them inside the graph")


def _value(table: Mapping[str, Any], key: str, kind: type) -> Any:
    value = table.get(key)
    if not isinstance(value, kind):
        raise BundleError(f"{DESCRIPTION_FILE}: {key} = {value!r}; expected a {kind.__name__}")
    return value
