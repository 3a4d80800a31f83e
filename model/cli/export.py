"""Write the reviewed cases to train on elsewhere: `python -m cli.export FOLDER [--feedback FOLDER]`, or `FILE.zip`.

FOLDER/<label>/<image>, in an archive <label>/<image>, is what ImageFolder reads (torchvision, Hugging Face, Keras);
cases.csv and metadata.jsonl next to the labels' folders have a line for each image. Each image is there once, with the
label that was decided last. Where reports are in a database, all of them are there too, as the tables of a feedback
folder.
"""

import argparse
import csv
import io
import json
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import NamedTuple

from cli import command, reports_database
from inference import files
from inference.errors import CasesError
from registry.versions import Case
from storage.images.folder import check_room
from storage.images.port import ImageStore
from training import cases
from wire.tables.feedback import CASES_CSV, CASES_JSONL, DECISIONS_FILE, RENAMES_FILE, REPORTS_FILE, folder_name

# The files of a feedback folder that are exported from a database.
TABLES = (REPORTS_FILE, DECISIONS_FILE, RENAMES_FILE)
# `file_name` is the column that Hugging Face's ImageFolder reads.
COLUMNS = ("file_name", "label", "prediction", "report_id", "sha256")
ARCHIVE_SUFFIX = ".zip"
# The service that shares the disk needs room for reports.
MIN_FREE_BYTES = 64 * 1024**2

# Takes a file of the export: its name, with a folder before it or none, and its content, or where that is.
Add = Callable[[str, bytes | Path], None]


class Exported(NamedTuple):
    """How many images were written, and how many are gone or altered."""

    images: int
    missing: int


def main(arguments: list[str] | None = None) -> int:
    """Write the folder; return the exit status."""
    options = parser().parse_args(arguments)
    return command.run(lambda: export(options), "nothing was exported")


def export(options: argparse.Namespace) -> Exported:
    """Write the cases and print how many; raise CasesError, StorageError or OSError, and leave nothing then."""
    target = options.folder
    is_archive = target.suffix.lower() == ARCHIVE_SUFFIX
    if target.exists() and (is_archive or any(target.iterdir())):
        fault = "exists" if is_archive else "is not empty"
        raise CasesError(f"{target} {fault}: give a new one, so that no case of before is left in it")
    command.warn(*cases.unread(options.feedback))
    found = list(cases.reviewed(options.feedback, command.known_labels()))
    with (_archive if is_archive else _folder)(target) as add:
        written = _write(add, command.progress("reviewed images", len(found), found), options.uploads)
        if reports_database.is_copy(options.feedback):
            for name in TABLES:
                add(name, options.feedback / name)
    lacking = f"; {written.missing} images are gone or altered" if written.missing else ""
    command.say(f"{written.images} images in {target}, with {CASES_CSV} and {CASES_JSONL}{lacking}")
    return written


@contextmanager
def _archive(path: Path) -> Iterator[Add]:
    """Give what adds files to a ZIP archive, which appears whole as the block ends; images shrink no further."""
    draft = files.beside(path)
    try:
        with zipfile.ZipFile(draft, "x", zipfile.ZIP_STORED) as archive:

            def add(name: str, content: bytes | Path) -> None:
                size = content.stat().st_size if isinstance(content, Path) else len(content)
                check_room(path.parent, size, MIN_FREE_BYTES)
                if isinstance(content, Path):
                    archive.write(content, name)
                else:
                    archive.writestr(name, content)

            yield add
        draft.rename(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


@contextmanager
def _folder(folder: Path) -> Iterator[Add]:
    """Give what adds files to a folder, all of which appear in it as the block ends."""
    with _all_or_nothing(folder) as draft:

        def add(name: str, content: bytes | Path) -> None:
            path = draft / name
            path.parent.mkdir(exist_ok=True)
            if isinstance(content, Path):
                shutil.copyfile(content, path)
            else:
                path.write_bytes(content)

        yield add


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


def _write(add: Add, found: Iterable[Case], uploads: ImageStore) -> Exported:
    """Write images, of which one at a time is in memory, and the lists of them."""
    written = missing = 0
    table, lines = io.StringIO(newline=""), io.StringIO()
    rows = csv.DictWriter(table, COLUMNS)
    rows.writeheader()
    for case in found:
        content = uploads.read_same(case.image, case.sha256)
        if content is None:
            missing += 1
            continue
        name = f"{folder_name(case.label)}/{case.image}"
        add(name, content)
        row = dict(zip(COLUMNS, (name, case.label, case.prediction, case.report_id, case.sha256), strict=True))
        rows.writerow(row)
        lines.write(json.dumps(row, ensure_ascii=False) + "\n")
        written += 1
    add(CASES_CSV, table.getvalue().encode())
    add(CASES_JSONL, lines.getvalue().encode())
    return Exported(written, missing)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command's arguments."""
    own = command.parser(__doc__)
    own.add_argument("folder", type=Path, metavar="FOLDER", help="a new or empty one, or a new FILE.zip")
    command.add_folders(own)
    return own


if __name__ == "__main__":
    sys.exit(main())
