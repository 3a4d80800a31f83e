"""The two tables of the feedback folder, which the api writes and both sides read, and the names that exports use."""

import hashlib
import math
import re

from wire.tables.csv_table import Table

REPORTS_FILE, DECISIONS_FILE = "feedback.csv", "decisions.csv"
ACCEPT, CORRECT, REJECT = "accept", "correct", "reject"
# A reviewer's label is at most 200 characters long; a label of the model may be longer.
MAX_LABEL_CHARACTERS = 1000
# What the exports call their tables, beside the folders of the labels.
CASES_CSV, CASES_JSONL = "cases.csv", "metadata.jsonl"
MAX_FOLDER_BYTES = 200

# What a spreadsheet makes of a long number, and of an identifier of digits with one E.
_SCIENTIFIC = re.compile(r"[0-9](?:[.,][0-9]+)?E[+-]?[0-9]+", re.IGNORECASE)
_MAX_SCIENTIFIC = 30
# What a folder's name cannot hold everywhere, and a dot in front, which would hide it.
_UNSAFE = re.compile(r'^\.|[%/\\:*?"<>|\x00-\x1f\x7f]')


def image_name(image_path: str) -> str:
    """Return the stored image's name; its folder has another path in each process."""
    return image_path.replace("\\", "/").rpartition("/")[2]


def folder_name(label: str) -> str:
    """Return a label as the name of a folder: what no folder can be called stands in it as %XX, as in an address.

    Names that are too long end in a digest, so that two labels never share a folder.
    """
    name = _UNSAFE.sub(lambda found: f"%{ord(found[0]):02X}", label)
    if name in {CASES_CSV, CASES_JSONL}:
        name = name.replace(".", "%2E")
    encoded = name.encode("utf-8", "replace")
    if len(encoded) <= MAX_FOLDER_BYTES:
        return encoded.decode()
    digest = hashlib.sha256(label.encode("utf-8", "replace")).hexdigest()[:16]
    return f"{encoded[: MAX_FOLDER_BYTES - 17].decode('utf-8', 'ignore')}-{digest}"


def _number(text: str) -> str:
    """Return a number as Python writes it, from 0.73, 0,73, 7.3E-1 or 73%; empty where it is none."""
    plain = text.strip().replace("\xa0", "").replace(",", ".")
    is_percentage = plain.endswith("%")
    try:
        number = float(plain.removesuffix("%").rstrip())
    except ValueError:
        return ""
    if is_percentage:
        number = round(number / 100, 6)
    return repr(number) if math.isfinite(number) else ""


def _wrong_identifier(cells: dict[str, str], *names: str) -> str:
    for name in names:
        cells[name] = cells[name].strip()
        if len(cells[name]) <= _MAX_SCIENTIFIC and _SCIENTIFIC.fullmatch(cells[name]):
            return f"has {name}={cells[name]!r}: a spreadsheet has made a number of it"
    return "" if cells["report_id"] else "has no report_id"


def _checked_report(cells: dict[str, str]) -> str:
    cells["score"] = _number(cells["score"])
    return _wrong_identifier(cells, "report_id", "image_sha256")


def _checked_decision(cells: dict[str, str]) -> str:
    cells["decision"] = cells["decision"].strip().lower()
    cells["label"] = cells["label"].strip()
    if cells["decision"] not in {ACCEPT, CORRECT, REJECT}:
        return f"has decision={cells['decision'][:40]!r}, which is none of {ACCEPT}, {CORRECT}, {REJECT}"
    if len(cells["label"]) > MAX_LABEL_CHARACTERS:
        return f"has a label of {len(cells['label'])} characters, more than {MAX_LABEL_CHARACTERS}"
    return _wrong_identifier(cells, "report_id")


REPORTS = Table(
    (
        "report_id",
        "reported_at",
        "image_path",
        "image_sha256",
        "prediction",
        "score",
        "model",
        "model_version",
        "label",
        "comment",
    ),
    ("report_id", "image_path"),
    _checked_report,
)
DECISIONS = Table(
    ("time", "report_id", "decision", "label", "reviewer"), ("report_id", "decision", "label"), _checked_decision
)
