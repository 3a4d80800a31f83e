"""The tables of the feedback folder, which both sides read, and the names that exports use."""

import hashlib
import math
import re
from urllib.parse import unquote_to_bytes

from wire.tables.csv_table import Table

# Every report as a line; those that could be parsed as rows too; what reviewers decided and renamed.
LINES_FILE, REPORTS_FILE, DECISIONS_FILE, RENAMES_FILE = "feedback", "feedback.csv", "decisions.csv", "labels.csv"
ACCEPT, CORRECT, REJECT, REOPEN = "accept", "correct", "reject", "reopen"
KINDS = (ACCEPT, CORRECT, REJECT, REOPEN)
# A reviewer's label is at most 200 characters long; a label of the model may be longer.
MAX_LABEL_CHARACTERS = 1000
# What the exports call their tables, next to the folders of the labels.
CASES_CSV, CASES_JSONL = "cases.csv", "metadata.jsonl"
MAX_FOLDER_BYTES = 200
_TABLES = {CASES_CSV, CASES_JSONL, REPORTS_FILE, DECISIONS_FILE, RENAMES_FILE}

# What a spreadsheet makes of a long number, and of an identifier of digits with one E.
_SCIENTIFIC = re.compile(r"[0-9](?:[.,][0-9]+)?E[+-]?[0-9]+", re.IGNORECASE)
_MAX_SCIENTIFIC = 30
# What the name of a folder cannot hold everywhere: a dot in front would hide it, and Windows takes no dot or blank at
# its end, and no name of a device.
_UNSAFE = re.compile(r'^[. ]|[. ]\Z|[%/\\:*?"<>|\x00-\x1f\x7f\ud800-\udfff]')
_DEVICE = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9\xb9\xb2\xb3])(?:\.|\Z)", re.IGNORECASE)
# A name that was cut: what follows is a digest of the label.
_CUT, _DIGEST_CHARACTERS = "%-", 16
_IS_CUT = re.compile(f".*{_CUT}[0-9a-f]{{{_DIGEST_CHARACTERS}}}", re.DOTALL)


def image_name(image_path: str) -> str:
    """Return the stored image's name; its folder has another path in each process."""
    return image_path.replace("\\", "/").rpartition("/")[2]


def decided_label(kind: str, label: str) -> str:
    """Return the label that a decision of a kind gives a report; empty where it gives none."""
    return label if kind in {ACCEPT, CORRECT} else ""


def folder_name(label: str) -> str:
    """Return a label as the name of a folder: what no folder can be called stands in it as %XX, as in an address.

    Names of more than MAX_FOLDER_BYTES are cut and end in a digest, so that two labels never share a folder.
    """
    name = _UNSAFE.sub(lambda found: _escaped(found[0]), label)
    if _DEVICE.match(name) or name.casefold() in _TABLES:
        name = _escaped(name[0]) + name[1:]
    encoded = name.encode()
    if len(encoded) <= MAX_FOLDER_BYTES:
        return name
    end = _CUT + hashlib.sha256(label.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_CHARACTERS]
    begin = encoded[: MAX_FOLDER_BYTES - len(end)].decode("utf-8", "ignore")
    return re.sub("%.?$", "", begin) + end


def label_of(name: str) -> str | None:
    """Return the label whose folder has this name; None where the name was cut and only a table has it.

    A folder that a person has made is named like its label, with any %.
    """
    if _IS_CUT.fullmatch(name):
        return None
    try:
        label = unquote_to_bytes(name).decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return name
    return label if folder_name(label) == name else name


def _escaped(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode("utf-8", "surrogatepass"))


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
    if cells["decision"] not in KINDS:
        return f"has decision={cells['decision'][:40]!r}, which is none of {', '.join(KINDS)}"
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
# What reviewers have renamed and merged: from then on, the class of `label` has this name.
RENAMES = Table(("time", "label", "name", "reviewer"), ("label", "name"))
