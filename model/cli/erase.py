"""Erase one image: `python -m cli.erase NAME`, where NAME is that of the stored image, with or without its address.

It goes with every report about it and the decisions on these, the answers that are kept for it, its place in the
records of versions, and the pages of evaluations, which may show it. The weights of a version that was trained on it
stay as they are: train another version, and discard that one. An archive that waits for its download goes as well;
copies elsewhere, such as backups and downloaded exports, are yours.
"""

import argparse
import hashlib
import sys
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import ml_service
import settings
from cli import command
from inference.errors import CasesError, ModelError
from registry import versions
from serving import stored_images
from storage.errors import ImageMissing, ImageTooLarge
from storage.images.names import USUAL_SUFFIXES, is_plain
from storage.images.port import ImageStore
from storage.reports.folder import FolderReports, Limits
from storage.reports.port import ReportStore
from wire import result_cache
from wire.dead_letters import DeadLetters
from wire.orders.suggestions import Suggestions
from wire.tables.feedback import image_name

EVALUATION_FILE = "evaluation.html"
DEAD_LETTERS = 1000
DATABASE_TIMEOUT_S = 60.0
SUGGESTIONS_TIMEOUT_S = 10.0


class Erasure(NamedTuple):
    """What was removed; `trained` are the versions whose weights the image had a part in."""

    images: int
    reports: int
    answers: int
    evaluations: int
    trained: list[str]


def main(arguments: list[str] | None = None) -> int:
    """Erase an image; return the exit status."""
    options = parser().parse_args(arguments)
    return command.run(lambda: erase(options), "not everything was erased; do it again")


def erase(options: argparse.Namespace) -> Erasure:
    """Erase an image and print what went. What was interrupted can be done again: the image itself goes last."""
    name, images = image_name(options.image), options.uploads
    if not is_plain(name):
        raise CasesError(f"{name[:100]!r} is no name of a stored image, such as 0123456789abcdef0123456789abcdef.jpg")
    sha256 = _sha256_of(images, name)
    names = {name, *_same_under_other_names(images, name, sha256)} if sha256 else {name}
    erased = _reports().erase(names, [sha256])
    names |= erased.names
    trained = _forget_in_versions(names, sha256)
    pages = _remove_evaluations()
    stored_images.transfers().drop_archives()
    answers = _forget_answers(names, sha256)
    found = Erasure(sum(images.erase(each) for each in sorted(names)), erased.reports, answers, pages, trained)
    if found[:3] == (0, 0, 0) and not trained:
        raise CasesError(f"there is no image {name}, and nothing about it")
    command.say(
        f"{name}: removed {found.images} images, {found.reports} reports, {found.answers} kept answers and "
        f"{found.evaluations} pages of evaluations"
    )
    if trained:
        command.warn(
            f"the weights of {', '.join(trained)} were trained on it: make and promote another version, discard these"
        )
    return found


def _sha256_of(images: ImageStore, name: str) -> str:
    """Return the SHA-256 of an image; empty where there is none."""
    try:
        return hashlib.sha256(images.read(name)).hexdigest()
    except (ImageMissing, ImageTooLarge):
        return ""


def _same_under_other_names(images: ImageStore, name: str, sha256: str) -> list[str]:
    """Return the other names of the same bytes, which differ in the suffix that they were sent under."""
    stem = PurePosixPath(name).stem
    others = [stem + suffix for suffix in USUAL_SUFFIXES if stem + suffix != name]
    return [other for other in others if images.read_same(other, sha256) is not None]


def _reports() -> ReportStore:
    """Return the reports as the settings say; nothing is added to them here, so that no limit counts."""
    lines = Path(settings.FEEDBACK_FILEPATH)
    if not settings.DATABASE_URL:
        return FolderReports(lines, Limits(0, lambda _: None))
    from storage.reports.postgres.database import Database  # noqa: PLC0415  only for those who have a database
    from storage.reports.postgres.reports import PostgresReports  # noqa: PLC0415  as above

    return PostgresReports(Database(settings.DATABASE_URL, timeout_s=DATABASE_TIMEOUT_S), lines, 0)


def _forget_in_versions(names: Collection[str], sha256: str) -> list[str]:
    """Take the image out of the records of versions; return those that were trained on it."""
    bundles, store, trained = settings.bundles_folder(), ml_service.model_store(), []
    for folder in versions.folders(bundles):
        try:
            is_changed = versions.forget(folder, names, [sha256])
        except ModelError as fault:
            command.warn(f"the record of {versions.identity(folder)} is left as it is: {fault}")
            continue
        if is_changed:
            trained.append(versions.identity(folder))
            if store is not None:
                store.update_record(trained[-1])
    return trained


def _remove_evaluations() -> int:
    """Remove the pages of evaluations, which hold images; `evaluate` makes them again."""
    pages = list(settings.bundles_folder().glob(f"*/*/{EVALUATION_FILE}"))
    for page in pages:
        page.unlink(missing_ok=True)
    return len(pages)


def _forget_answers(names: Collection[str], sha256: str) -> int:
    """Remove the answers that Redis keeps, and the dead letters and the suggestion, which name the image."""
    address, queue = settings.queue_address(), settings.REDIS_QUEUE
    letters = DeadLetters(address, queue)
    letters.drop([each for each in letters.newest(DEAD_LETTERS) if each.job is not None and each.job.image in names])
    if sha256:
        Suggestions(address, queue, SUGGESTIONS_TIMEOUT_S).remove([sha256])
    return result_cache.forget(address, queue, sha256, settings.CACHE_MAX_ENTRIES) if sha256 else 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command's arguments."""
    parser = command.parser(__doc__)
    parser.add_argument("image", metavar="NAME", help="of the stored image, as /display/NAME has it")
    command.add_uploads(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
