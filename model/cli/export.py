"""Writes the reviewed cases into a folder to train on elsewhere: `python -m cli.export FOLDER [--feedback FOLDER]`.

FOLDER/<label>/<picture> is what ImageFolder reads (torchvision, Hugging Face, Keras); beside the labels' folders stand
cases.csv and metadata.jsonl with a line for each picture. Each picture is there once, as it was named last.
"""

import argparse
import csv
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from cli import paths
from inference import image_store
from inference.errors import CasesError, ModelError
from training import cases
from training.cases import Reviewed
from wire.tables.feedback import CASES_CSV, CASES_JSONL, folder_name


class Row(NamedTuple):
    """A line of both lists; `file_name` is the column that Hugging Face's ImageFolder looks for."""

    file_name: str
    label: str
    prediction: str
    report_id: str
    sha256: str


def main(arguments: list[str] | None = None) -> int:
    """Write the folder; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        written, missing = export(options.folder, options.feedback, options.uploads)
    except (ModelError, OSError) as fault:
        sys.stderr.write(f"nothing was exported: {fault}\n")
        return 1
    lacking = f"; {missing} pictures are gone or altered" if missing else ""
    sys.stdout.write(f"{written} pictures in {options.folder}, with {CASES_CSV} and {CASES_JSONL}{lacking}\n")
    return 0


def export(folder: Path, feedback: Path, uploads: Path) -> tuple[int, int]:
    """How many cases were written, and how many pictures are no longer there; one picture in memory at a time."""
    if folder.exists() and any(folder.iterdir()):
        raise CasesError(f"{folder} is not empty: give a new folder, so that no case of before is left in it")
    folder.mkdir(parents=True, exist_ok=True)
    for fault in cases.unread(feedback):
        sys.stderr.write(f"{fault}\n")
    written = missing = 0
    with ExitStack() as files:
        table = csv.DictWriter(
            files.enter_context((folder / CASES_CSV).open("w", encoding="utf-8", newline="")), Row._fields
        )
        lines = files.enter_context((folder / CASES_JSONL).open("w", encoding="utf-8"))
        table.writeheader()
        for row in _written(folder, cases.newest(feedback), uploads):
            if row is None:
                missing += 1
                continue
            written += 1
            table.writerow(row._asdict())
            lines.write(json.dumps(row._asdict(), ensure_ascii=False) + "\n")
    return written, missing


def _written(folder: Path, found: Iterator[Reviewed], uploads: Path) -> Iterator[Row | None]:
    for case in found:
        content = image_store.read_same(uploads, case.image, case.sha256)
        if content is None:
            yield None
            continue
        target = folder / folder_name(case.label) / case.image
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(content)
        name = target.relative_to(folder).as_posix()
        yield Row(name, case.label, case.prediction, case.report_id, case.sha256)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a new or empty one")
    parser.add_argument("--feedback", type=Path, default=paths.feedback_folder(), help="default: %(default)s")
    parser.add_argument("--uploads", type=Path, default=paths.uploads_folder(), help="default: %(default)s")
    return parser


if __name__ == "__main__":
    sys.exit(main())
