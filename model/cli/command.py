"""What the commands share: options, folders, output, progress, the queue's state, and the exit status of an error."""

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import settings
from cli import reports_database
from inference import bundle
from inference.errors import ModelError
from registry import versions
from serving import stored_images
from storage.errors import StorageError
from wire import QueueSnapshot, QueueUnavailable, __version__
from wire.queue_stats import QueueStats

STATE = Path(__file__).resolve().parents[2] / "var"
PROGRESS_EVERY_S, LINE_EVERY_S, TOLD_EVERY_S = 0.2, 5.0, 0.5
QUEUE_TIMEOUT_S = 2.0
PROGRAM = f"sightline {__version__}"

Item = TypeVar("Item")


class Listener(Protocol):
    """Receives the progress of a command, and the lines that it prints."""

    def progress(self, what: str, done: int, count: int, left_s: float) -> None:
        """Take note that so many of a step are done, and how many seconds the others are estimated to take."""

    def line(self, text: str, *, is_warning: bool) -> None:
        """Take note of a line."""


# Of this process, which runs one command at a time.
_listeners: list[Listener] = []


@contextmanager
def told_to(listener: Listener) -> Iterator[None]:
    """Pass what commands report inside the block to a listener; they print it as well."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with --version; `description` is the docstring of the command."""
    parser = argparse.ArgumentParser(
        f"python -m cli.{Path(sys.argv[0]).stem}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        conflict_handler="resolve",  # --version NAME, until the next version
    )
    parser.add_argument("--version", action="version", version=PROGRAM)
    return parser


class _Version(argparse.Action):
    """`--version` prints the version of the program; with a name it is --new-version under its old name."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, value: Any, *_: Any) -> None:
        if value is None:
            say(PROGRAM)
            parser.exit()
        warn(f"--version {value} is deprecated: use --new-version {value}")
        namespace.new_version = value


def add_new_version(parser: argparse.ArgumentParser, what: str) -> None:
    """Add --new-version, the name of the version that the command makes."""
    parser.add_argument("--new-version", default="", metavar="NAME", help=what)
    parser.add_argument("--version", action=_Version, nargs="?", help=argparse.SUPPRESS)


def add_folders(parser: argparse.ArgumentParser) -> None:
    """Add --feedback and --uploads; where the folder of the settings does not exist, that of `make serve`.

    Where reports are in a database, --feedback is a copy of it, unless a folder is given.
    """
    feedback = Path(settings.FEEDBACK_FILEPATH).parent
    default = reports_database.NAME if settings.DATABASE_URL else str(_there(feedback, "feedback"))
    # Of a default, too, but only where no folder is given.
    kind = reports_database.folder if settings.DATABASE_URL else Path
    told = "folder of reports and decisions (default: %(default)s)"
    parser.add_argument("--feedback", type=kind, default=default, metavar="FOLDER", help=told)
    add_uploads(parser)


def add_uploads(parser: argparse.ArgumentParser) -> None:
    """Add --uploads; where the folder of the settings does not exist, that of `make serve`."""
    place = settings.IMAGE_STORE or str(_there(Path(settings.UPLOAD_FOLDER), "uploads"))
    told = "folder of stored images, or s3://bucket/prefix (default: %(default)s)"
    parser.add_argument("--uploads", type=stored_images.open_store, default=place, metavar="PLACE", help=told)


def _there(folder: Path, name: str) -> Path:
    return next((each for each in (folder, STATE / name) if each.is_dir()), folder)


def add_labelled(parser: argparse.ArgumentParser) -> None:
    """Add --labelled."""
    default = Path(settings.LABELLED_FOLDER) if settings.LABELLED_FOLDER else None
    what = "a folder of images for each label (default: %(default)s)"
    parser.add_argument("--labelled", type=Path, default=default, metavar="FOLDER", help=what)


def add_ordinary(parser: argparse.ArgumentParser) -> None:
    """Add --ordinary."""
    default = Path(settings.ORDINARY_IMAGES) if settings.ORDINARY_IMAGES else None
    what = "a folder of usual images, whose answers are held as they are (default: %(default)s)"
    parser.add_argument("--ordinary", type=Path, default=default, metavar="FOLDER", help=what)


def add_limits(parser: argparse.ArgumentParser, cases: int, traffic: int) -> None:
    """Add --max-cases and --max-traffic with these defaults."""
    for name, default, what in (("cases", cases, "reviewed cases"), ("traffic", traffic, "unreported images")):
        told = {"default": default, "metavar": "N", "help": f"use at most so many {what} (default: %(default)s)"}
        add_renamed(parser, f"--max-{name}", f"--most-{name}", int, **told)


def add_renamed(parser: argparse.ArgumentParser, name: str, old: str, kind: Callable[[str], Any], **told: Any) -> None:
    """Add an option that was called `old`, which is still understood, but not listed."""
    option = parser.add_argument(name, type=kind, **told)
    parser.add_argument(old, dest=option.dest, type=kind, default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def active_bundle() -> Path:
    """Return the folder of the active version; raise ModelError where there is none."""
    return bundle.choose(settings.bundles_folder(), settings.MODEL_BUNDLE, settings.PRECISION)


def known_labels() -> tuple[str, ...]:
    """Return the labels that classes of the active version and its relatives have; none where there is no version."""
    bundles = settings.bundles_folder()
    try:
        return versions.class_labels(bundles, versions.base_of(bundles, active_bundle()))
    except (ModelError, OSError):
        return ()


def run(action: Callable[[], object], failure: str) -> int:
    """Return the status of an action, 0 if it returns none; 1 with the reason on standard error where it raises."""
    try:
        status = action()
    except (ModelError, QueueUnavailable, StorageError, OSError) as fault:
        warn(f"{failure}: {fault}")
        return 1
    return status if isinstance(status, int) else 0


def say(*lines: str) -> None:
    """Print lines immediately."""
    _tell(lines, is_warning=False)
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def warn(*lines: str) -> None:
    """Print lines on standard error."""
    _tell(lines, is_warning=True)
    sys.stderr.write("".join(f"{line}\n" for line in lines))


def _tell(lines: Iterable[str], *, is_warning: bool) -> None:
    for listener in _listeners:
        for line in lines:
            listener.line(line, is_warning=is_warning)


def progress(what: str, count: int, items: Iterable[Item]) -> Iterator[Item]:
    """Yield the items; count them with the time that is left: in one line of a terminal, elsewhere now and then."""
    begin, done, is_terminal = time.monotonic(), 0, sys.stdout.isatty()
    start, end, every_s = ("\r", " ", PROGRESS_EVERY_S) if is_terminal else ("", "\n", LINE_EVERY_S)
    shown_at, told_at = 0.0 if is_terminal else begin, begin
    _tell_progress(what, 0, count, 0.0)
    for item in items:
        yield item
        done, now = done + 1, time.monotonic()
        left_s = (now - begin) * (count / done - 1)
        if now - shown_at > every_s and done < count:
            shown_at = now
            sys.stdout.write(f"{start}{what}: {done}/{count}, {_time(left_s)} left{end}")
            sys.stdout.flush()
        if _listeners and now - told_at > TOLD_EVERY_S:
            told_at = now
            _tell_progress(what, done, count, left_s)
    # Blanks cover the rest of the line before.
    say(f"{start}{what}: {done}/{count} in {time.monotonic() - begin:.1f} s{' ' * (10 if is_terminal else 0)}")


def _tell_progress(what: str, done: int, count: int, left_s: float) -> None:
    for listener in _listeners:
        listener.progress(what, done, count, left_s)


def _time(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds > 90 else f"{seconds:.0f} s"


def queue_state() -> QueueSnapshot:
    """Return the state of the queue now; raise QueueUnavailable where Redis does not answer."""
    return QueueStats(settings.queue_address(), settings.REDIS_QUEUE, timeout_s=QUEUE_TIMEOUT_S).refresh()
