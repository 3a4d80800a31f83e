"""Write the reviewed cases into a folder to train on elsewhere: `python -m cli.export FOLDER [--feedback FOLDER]`.

FOLDER/<label>/<image> is what ImageFolder reads (torchvision, Hugging Face, Keras); cases.csv and metadata.jsonl beside
the labels' folders have a line for each image. Each image is there once, with its newest label.
"""

import argparse
import csv
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from cli import command
from inference import image_store
from inference.errors import CasesError
from registry.versions import Case
from training import cases
from wire.tables.feedback import CASES_CSV, CASES_JSONL, folder_name


class Row(NamedTuple):
    """A line of both lists; `file_name` is the column that Hugging Face's ImageFolder reads."""

    file_name: str
    label: str
    prediction: str
    report_id: str
    sha256: str


def main(arguments: list[str] | None = None) -> int:
    """Write the folder; return the exit status."""
    options = _parser().parse_args(arguments)
    return command.run(lambda: _run(options), "nothing was exported")


def _run(options: argparse.Namespace) -> int:
    written, missing = export(options.folder, options.feedback, options.uploads)
    lacking = f"; {missing} images are gone or altered" if missing else ""
    command.say(f"{written} images in {options.folder}, with {CASES_CSV} and {CASES_JSONL}{lacking}")
    return 0


def export(folder: Path, feedback: Path, uploads: Path) -> tuple[int, int]:
    """Return how many cases were written, and how many images are no longer there; one image is in memory at a time."""
    if folder.exists() and any(folder.iterdir()):
        raise CasesError(f"{folder} is not empty: give a new folder, so that no case of before is left in it")
    folder.mkdir(parents=True, exist_ok=True)
    command.warn(*cases.unread(feedback))
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


def _written(folder: Path, found: Iterator[Case], uploads: Path) -> Iterator[Row | None]:
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
    parser = command.parser(__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a new or empty one")
    command.add_folders(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
