"""Labels as the tools of the field write them: lines, CSV, JSON, a Python literal, a model's configuration."""

import ast
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from importing.configurations import read as read_configuration
from inference import files
from inference.bundle import MAX_LABELS_BYTES, parse_labels
from inference.errors import BundleError, ImportRefusedError, shown

LABEL_COLUMNS = (
    "label",
    "labels",
    "label_name",
    "name",
    "names",
    "class_name",
    "classname",
    "class",
    "classes",
    "category",
)
NUMBER_COLUMNS = ("index", "idx", "id", "class_id", "class_index", "label_id", "number", "output")
DELIMITERS = {",": ",", ";": ";", "\t": "\t"}
# The members of a configuration that hold the labels.
MEMBERS = ("id2label", "label_names", "labels", "class_names", "classes", "categories", "names")
NAMES = ("label", "name", "class", "class_name")
# Lists of labels in other forms take more bytes than one a line.
MAX_BYTES = 4 * MAX_LABELS_BYTES
TENSORFLOW_CLASSES = 1_001
NUMBERED_LINE = re.compile(r"(?P<number>\d{1,9})\s*[\s,:;=]\s*(?P<label>\S.*)")
# What transformers writes where the classes have no names.
UNNAMED = re.compile(r"LABEL_\d+")


class Labels(NamedTuple):
    """The labels in the order of the network's outputs, and remarks on them."""

    labels: tuple[str, ...]
    remarks: tuple[str, ...] = ()


def read(path: Path) -> Labels:
    """Return the labels that a file holds; ImportRefusedError names what is wrong with it."""
    try:
        content = files.read(path, MAX_BYTES)
        text = content.decode("utf-8-sig")
        found = _labels(text, path)
        parse_labels("".join(f"{label}\n" for label in found.labels).encode())
    except FileNotFoundError:
        raise ImportRefusedError(f"{path} does not exist; --labels names a file of labels") from None
    except UnicodeDecodeError as fault:
        raise ImportRefusedError(f"{path} is no UTF-8 ({fault}); save it as that, a label on each line") from None
    except BundleError as fault:
        raise ImportRefusedError(f"{path}: {fault}; give each output a name of its own") from None
    except ImportRefusedError as fault:
        raise ImportRefusedError(f"{path}: {fault}") from None
    return found


def in_configuration(path: Path) -> bool:
    """Return whether a configuration has labels in it."""
    return any(isinstance(read_configuration(path).get(name), dict | list) for name in MEMBERS[:2])


def check_count(found: Sequence[str], path: Path, outputs: int) -> None:
    """Raise ImportRefusedError unless each output has a label, with the reason where it is a usual one."""
    counts = f"the network puts out {outputs} numbers for an image, {path} has {len(found)} labels"
    if outputs == 1 and len(found) == 1:
        raise ImportRefusedError(
            f"{counts}: the only class would have 100 % for every image; two classes at least are expected"
        )
    if len(found) == outputs:
        return
    if outputs == TENSORFLOW_CLASSES and len(found) == outputs - 1:
        raise ImportRefusedError(f"{counts}: TensorFlow's first output is none of them; put a line 'background' first")
    if outputs == 1 and len(found) == 2:
        raise ImportRefusedError(
            f"{counts}: two classes by one number; export it with two, such as torch.cat([-z, z], dim=1) of a logit z, "
            "or keras.layers.Concatenate()([1 - p, p]) of a probability p"
        )
    raise ImportRefusedError(f"{counts}; one label for each is expected, in the order of the outputs")


def _labels(text: str, path: Path) -> Labels:
    start = text.lstrip()
    if start.startswith(("{", "[")):
        return _structured(_literal(start))
    # Blanks and empty lines at the end are what editors add.
    lines = [line.rstrip() for line in text.rstrip().splitlines()]
    numbered = [NUMBERED_LINE.fullmatch(line) for line in lines]
    if lines and [int(each["number"]) for each in numbered if each] == list(range(len(lines))):
        return Labels(tuple(each["label"] for each in numbered if each))
    delimiter = _delimiter(start, path)
    return Labels(tuple(_columns(start, delimiter) if delimiter else lines))


def _literal(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as fault:
        reason = fault
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise ImportRefusedError(
            f"it begins with {text[:1]!r} and is neither JSON ({reason}) nor a Python list or dict"
        ) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    repeated = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
    if repeated:
        raise ImportRefusedError(f"{shown(repeated[0])} stands there more than once")
    return dict(pairs)


def _structured(value: Any) -> Labels:
    if isinstance(value, dict):
        value = _in_order(value)
    if not isinstance(value, list | tuple | set) or not value:
        raise ImportRefusedError(f"{shown(value)}; a list of labels, or an object that numbers them, is expected")
    if isinstance(value, set):
        raise ImportRefusedError("a set of labels has no order; a list is expected, in the order of the outputs")
    if all(isinstance(each, dict) for each in value):
        value = _of_objects(value)
    return _distinct([_name(each, at) for at, each in enumerate(value)])


def _in_order(table: Mapping[Any, Any]) -> Any:
    """Return what is numbered in the order of its numbers, whichever of both is the number."""
    member = next((name for name in MEMBERS if isinstance(table.get(name), dict | list)), None)
    if member is not None:
        described = table.get("label_descriptions")
        found = table[member] if isinstance(table[member], list) else _in_order(table[member])
        return [described.get(each, each) for each in found] if isinstance(described, dict) else found
    keys, values = map(_number, table), map(_number, table.values())
    by_key = {number: value for number, value in zip(keys, table.values(), strict=True) if number is not None}
    by_value = {number: key for number, key in zip(values, table, strict=True) if number is not None}
    numbered = next((each for each in (by_key, by_value) if len(each) == len(table)), None)
    if not numbered:
        raise ImportRefusedError(
            f"an object with the members {shown(list(table)[:5])}; numbers from 0 with their labels are expected, or "
            f"one of {', '.join(MEMBERS)}"
        )
    missing = next((number for number in range(len(numbered)) if number not in numbered), None)
    if missing is not None:
        raise ImportRefusedError(
            f"{len(numbered)} labels are numbered {min(numbered)} to {max(numbered)}, and {missing} is missing; each "
            f"output has one, 0 to {len(numbered) - 1}"
        )
    return [numbered[number] for number in range(len(numbered))]


def _number(value: Any) -> int | None:
    if isinstance(value, str) and re.fullmatch(r"\d{1,9}", value):
        return int(value)
    return value if type(value) is int else None


def _of_objects(value: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Return the names of a list of objects, by their numbers where they have any."""
    name = next((each for each in NAMES if all(each in item for item in value)), None)
    if name is None:
        raise ImportRefusedError(f"objects such as {shown(value[0])}; each needs one of {', '.join(NAMES)}")
    number = next((each for each in NUMBER_COLUMNS if all(each in item for item in value)), None)
    if number is None:
        return [item[name] for item in value]
    return list(_in_order({item[number]: item[name] for item in value}))


def _name(value: Any, at: int) -> tuple[str, str]:
    """Return a label, and a suffix for others of the same name: its number, or the id of its WordNet synset."""
    if isinstance(value, list | tuple) and value and all(isinstance(each, str) for each in value):
        return value[-1].strip(), value[0] if len(value) > 1 else str(at)
    if not isinstance(value, str):
        raise ImportRefusedError(f"output {at} has the label {shown(value)}; text is expected")
    if len(value.splitlines()) > 1:
        raise ImportRefusedError(f"output {at} has the label {shown(value)}, which has more than one line")
    return value.strip(), str(at)


def _distinct(named: list[tuple[str, str]]) -> Labels:
    """Return the labels; where several outputs have the same one, as in ImageNet, each with a distinguishing suffix."""
    counts = Counter(label for label, _ in named)
    repeated = [label for label, count in counts.items() if count > 1]
    labels = tuple(f"{label} ({other})" if counts[label] > 1 else label for label, other in named)
    remarks = []
    if repeated:
        there = ", ".join(sorted(label for label in labels if label not in counts)[:4])
        remarks.append(f"{len(repeated)} labels stand for several outputs; these are distinguished: {there}")
    if all(UNNAMED.fullmatch(label) for label in labels):
        remarks.append(f"The labels are only numbers ({labels[0]}, ...); --labels names a file with names.")
    return Labels(labels, tuple(remarks))


def _delimiter(text: str, path: Path) -> str:
    """Return what separates the columns of a table with a header; "" for a list of lines."""
    header = text.splitlines()[0].lower() if text.strip() else ""
    for delimiter in DELIMITERS:
        cells = {cell.strip().strip('"') for cell in header.split(delimiter)}
        is_table = len(cells) > 1 and not cells.isdisjoint(LABEL_COLUMNS) and not cells.isdisjoint(NUMBER_COLUMNS)
        is_named = path.suffix.lower() in (".csv", ".tsv") and not cells.isdisjoint(LABEL_COLUMNS)
        if is_table or is_named:
            return delimiter
    if path.suffix.lower() in (".csv", ".tsv") and any(each in header for each in DELIMITERS):
        raise ImportRefusedError(
            f"its header is {shown(header)}; one of {', '.join(LABEL_COLUMNS)} is expected in it, and perhaps one of "
            f"{', '.join(NUMBER_COLUMNS)}"
        )
    return ""


def _columns(text: str, delimiter: str) -> list[str]:
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as fault:
        raise ImportRefusedError(f"it cannot be read as CSV: {fault}") from None
    names = {(name or "").strip().lower(): name for name in rows[0]} if rows else {}
    label = next((names[each] for each in LABEL_COLUMNS if each in names), None)
    if label is None:
        raise ImportRefusedError("its header has no rows below it; a row for each output is expected")
    number = next((names[each] for each in NUMBER_COLUMNS if each in names), None)
    labels = [(row[label] or "").strip() for row in rows]
    numbers = [_number((row[number] or "").strip()) for row in rows] if number else []
    if number and len(set(numbers)) < len(rows):
        raise ImportRefusedError(f"column {number!r} has a number more than once, or none; each row needs its own")
    if number and None not in numbers:
        return [str(each) for each in _in_order(dict(zip(numbers, labels, strict=True)))]
    return labels
