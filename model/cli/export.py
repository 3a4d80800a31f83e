"""Write the reviewed cases into a folder to train on elsewhere: `python -m cli.export FOLDER [--feedback FOLDER]`.

FOLDER/<label>/<image> is what ImageFolder reads (torchvision, Hugging Face, Keras); cases.csv and metadata.jsonl beside
the labels' folders have a line for each image. Each image is there once, with the label that was decided last. Where
reports are in a database, all of them are there too, as the tables of a feedback folder.
"""

import argparse
import csv
import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp

from cli import command, reports_database
from inference.errors import CasesError
from registry.versions import Case
from storage.images.port import ImageStore
from training import cases
from wire.tables.feedback import CASES_CSV, CASES_JSONL, DECISIONS_FILE, RENAMES_FILE, REPORTS_FILE, folder_name

# The files of a feedback folder that are exported from a database.
TABLES = (REPORTS_FILE, DECISIONS_FILE, RENAMES_FILE)
# `file_name` is the column that Hugging Face's ImageFolder reads.
COLUMNS = ("file_name", "label", "prediction", "report_id", "sha256")


def main(arguments: list[str] | None = None) -> int:
    """Write the folder; return the exit status."""
    options = _parser().parse_args(arguments)
    return command.run(lambda: _run(options), "nothing was exported")


def _run(options: argparse.Namespace) -> int:
    folder = options.folder
    if folder.exists() and any(folder.iterdir()):
        raise CasesError(f"{folder} is not empty: give a new folder, so that no case of before is left in it")
    command.warn(*cases.unread(options.feedback))
    found = cases.reviewed(options.feedback, command.known_labels())
    with _all_or_nothing(folder) as draft:
        written, missing = _write(draft, found, options.uploads)
        if reports_database.is_copy(options.feedback):
            for name in TABLES:
                shutil.copyfile(options.feedback / name, draft / name)
    lacking = f"; {missing} images are gone or altered" if missing else ""
    command.say(f"{written} images in {folder}, with {CASES_CSV} and {CASES_JSONL}{lacking}")
    return 0


@contextmanager
def _all_or_nothing(folder: Path) -> Iterator[Path]:
    """Give a folder whose content becomes that of `folder` as the block ends; where it fails, nothing of it is left."""
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    draft = Path(mkdtemp(prefix=".export-", dir=folder))  # inside, since `folder` may be a mounted one
    moved: list[Path] = []
    try:
        yield draft
        for path in list(draft.iterdir()):
            moved.append(path.rename(folder / path.name))
    except BaseException:
        for path in (draft, *moved):  # and nothing that others have put there meanwhile
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if is_new:
            with suppress(OSError):
                folder.rmdir()
        raise
    draft.rmdir()


def _write(folder: Path, found: Iterator[Case], uploads: ImageStore) -> tuple[int, int]:
    """Return how many images were written, and how many are gone or altered; one at a time is in memory."""
    written = missing = 0
    with (
        (folder / CASES_CSV).open("w", encoding="utf-8", newline="") as csv_file,
        (folder / CASES_JSONL).open("w", encoding="utf-8") as lines,
    ):
        table = csv.DictWriter(csv_file, COLUMNS)
        table.writeheader()
        for case in found:
            content = uploads.read_same(case.image, case.sha256)
            if content is None:
                missing += 1
                continue
            name = f"{folder_name(case.label)}/{case.image}"
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
            values = (name, case.label, case.prediction, case.report_id, case.sha256)
            row = dict(zip(COLUMNS, values, strict=True))
            table.writerow(row)
            lines.write(json.dumps(row, ensure_ascii=False) + "\n")
            written += 1
    return written, missing


def _parser() -> argparse.ArgumentParser:
    parser = command.parser(__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a new or empty one")
    command.add_folders(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
