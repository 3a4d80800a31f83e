"""What the commands share: options, folders, output, progress, the queue's state, and the exit status of an error."""

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import settings
from inference.errors import ModelError
from wire import QueueSnapshot, __version__
from wire.queue_stats import QueueStats

STATE = Path(__file__).resolve().parents[2] / "var"
PROGRESS_EVERY_S = 0.2
QUEUE_TIMEOUT_S = 2.0

Item = TypeVar("Item")


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with --version; `description` is the docstring of the command."""
    parser = argparse.ArgumentParser(
        f"python -m cli.{Path(sys.argv[0]).stem}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        conflict_handler="resolve",  # improve has a --version of its own
    )
    parser.add_argument("--version", action="version", version=f"sightline {__version__}")
    return parser


def add_folders(parser: argparse.ArgumentParser) -> None:
    """Add --feedback and --uploads; where the folder of the settings does not exist, that of `make serve`."""
    for name, folder, what in (
        ("feedback", Path(settings.FEEDBACK_FILEPATH).parent, "reports and decisions"),
        ("uploads", Path(settings.UPLOAD_FOLDER), "stored images"),
    ):
        there = next((each for each in (folder, STATE / name) if each.is_dir()), folder)
        told = f"folder of {what} (default: %(default)s)"
        parser.add_argument(f"--{name}", type=Path, default=there, metavar="FOLDER", help=told)


def add_labelled(parser: argparse.ArgumentParser) -> None:
    """Add --labelled."""
    default = Path(settings.LABELLED_FOLDER) if settings.LABELLED_FOLDER else None
    what = "a folder of images for each label (default: %(default)s)"
    parser.add_argument("--labelled", type=Path, default=default, metavar="FOLDER", help=what)


def add_limits(parser: argparse.ArgumentParser, cases: int, traffic: int) -> None:
    """Add --max-cases and --max-traffic with these defaults."""
    for name, default, what in (("cases", cases, "reviewed cases"), ("traffic", traffic, "unreported images")):
        told = {"default": default, "metavar": "N", "help": f"use at most so many {what} (default: %(default)s)"}
        add_renamed(parser, f"--max-{name}", f"--most-{name}", int, **told)


def add_renamed(parser: argparse.ArgumentParser, name: str, old: str, kind: Callable[[str], Any], **told: Any) -> None:
    """Add an option that was called `old`, which is still understood, but not listed."""
    option = parser.add_argument(name, type=kind, **told)
    parser.add_argument(old, dest=option.dest, type=kind, default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def run(action: Callable[[], int], failure: str) -> int:
    """Return the exit status of an action: 1 with the reason on standard error where it raises."""
    try:
        return action()
    except (ModelError, OSError) as fault:
        warn(f"{failure}: {fault}")
        return 1


def say(*lines: str) -> None:
    """Print lines at once."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def warn(*lines: str) -> None:
    """Print lines on standard error."""
    sys.stderr.write("".join(f"{line}\n" for line in lines))


def progress(what: str, count: int, items: Iterable[Item]) -> Iterator[Item]:
    """Yield the items; on a terminal count them in one line, elsewhere print a line at the end."""
    begin, shown_at, done, is_terminal = time.monotonic(), 0.0, 0, sys.stdout.isatty()
    for item in items:
        yield item
        done += 1
        if is_terminal and time.monotonic() - shown_at > PROGRESS_EVERY_S:
            shown_at = time.monotonic()
            sys.stdout.write(f"\r{what}: {done}/{count}")
            sys.stdout.flush()
    start = "\r" if is_terminal else ""
    say(f"{start}{what}: {done}/{count} in {time.monotonic() - begin:.1f} s")


def queue_state() -> QueueSnapshot:
    """Return the state of the queue now; raise QueueUnavailable where Redis does not answer."""
    return QueueStats(settings.queue_address(), settings.REDIS_QUEUE, timeout_s=QUEUE_TIMEOUT_S).refresh()
