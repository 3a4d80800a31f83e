"""What reviewers decide about reports: CSV rows, appended and never rewritten; of one report the last one counts."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from reports import store
from wire.tables.feedback import DECISIONS, DECISIONS_FILE

Kind = Literal["accept", "correct", "reject"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class Decision(NamedTuple):
    """What somebody decided: the label is the one to learn, empty where the report is rejected."""

    report_id: str
    kind: Kind
    label: str
    reviewer: str


def append(folder: Path, decision: Decision) -> None:
    """Keep a decision; it is on the disk when this returns."""
    cells = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "report_id": decision.report_id,
        "decision": decision.kind,
        "label": decision.label,
        "reviewer": decision.reviewer,
    }
    store.append_row(folder / DECISIONS_FILE, DECISIONS, cells)
