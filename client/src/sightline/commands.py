"""The command line: `sightline classify PHOTOS -o results.csv`, `report`, `models`, `doctor`."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import suppress
from pathlib import Path

from tqdm import tqdm

from sightline import __version__, checkout, examination
from sightline.checkout import NoCheckoutError
from sightline.classify import classify
from sightline.client import Client, Refused, ServiceError, Unreachable
from sightline.findings import Page, wants_colour
from sightline.results import Results
from sightline.selection import Selection, select

ADDRESS = "http://127.0.0.1:8000"
MOST = 32
RESULTS = "results.csv"
TOP_K = 5


def main(arguments: list[str] | None = None) -> int:
    """Do what was asked; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        with Client(options.url or ADDRESS, key=options.key) as client:
            return int(options.run(client, options))
    except Unreachable as fault:
        return _fail(f"{fault}. Start it (`make serve`), or name its address with --url")
    except (ServiceError, NoCheckoutError, ValueError, OSError) as fault:
        return _fail(str(fault))
    except KeyboardInterrupt:
        return _fail("stopped; the same command goes on where this one was")


def _classify(client: Client, options: argparse.Namespace) -> int:
    if missing := [path for path in options.images if not path.exists()]:
        return _fail(f"there is no {missing[0]}")
    with suppress(Refused):  # not ready now; classify() waits for that
        client.ready()
    is_one_file = len(options.images) == 1 and not options.images[0].is_dir()
    if is_one_file and options.output is None:
        return _print_guesses(client, options.images[0])
    selection = select(options.images)
    output = options.output or Path(RESULTS)
    with Results(None if str(output) == "-" else output) as results:
        left = {name: path for name, path in selection.images.items() if not results.has(name)}
        done = len(selection.images) - len(left)
        with tqdm(total=len(selection.images), initial=done, unit=" images", disable=None) as bar:
            classify(client, left, results, most=options.concurrency, advance=bar.update, notice=_note)
        failed = sum(map(results.failed, selection.images))
    _note(_summary(selection, len(left), failed, output))
    return 1 if failed else 0


def _print_guesses(client: Client, path: Path) -> int:
    """Print the best classes of one image with their scores."""
    found = client.classify(path.read_bytes(), top_k=TOP_K)
    for guess in found.guesses:
        sys.stdout.write(f"{guess.score:.4f}  {guess.label}\n")
    return 0


def _summary(selection: Selection, now: int, failed: int, output: Path) -> str:
    total = len(selection.images)
    counts = f"{total} images, {now} of them now: {total - failed} classified, {failed} failed"
    others = selection.describe_passed_over()
    return f"{counts}; not sent: {others}; {output}" if others else f"{counts}; {output}"


def _report(client: Client, options: argparse.Namespace) -> int:
    sys.stdout.write(f"{client.report(options.prediction_id, label=options.label, comment=options.comment)}\n")
    return 0


def _models(client: Client, options: argparse.Namespace) -> int:
    del client
    checkout.run_models(options.words)


def _doctor(client: Client, options: argparse.Namespace) -> int:
    folder = checkout.find(Path.cwd())
    if folder is not None:
        checkout.run_doctor(folder, options.url, options.key)
    page = Page(sys.stdout, is_coloured=wants_colour(sys.stdout, os.environ))
    page.section(f"Service at {client.url}", examination.of_service(client), examination.SUBJECTS)
    page.note(
        f"Only the service was looked at: {Path.cwd()} is in no checkout of Sightline, whose set-up it could see."
    )
    return page.end()


def _fail(said: str) -> int:
    _note(said)
    return 1


def _note(said: str) -> None:
    """Write a line to standard error, above a progress bar where there is one."""
    tqdm.write(f"sightline: {said}", file=sys.stderr)


def _service_options(url: str, key: str) -> argparse.ArgumentParser:
    """Return the options that may stand before the command and after it, with these defaults."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--url", default=url, help=f"address of the service; default: {ADDRESS}")
    parser.add_argument("--key", default=key, help="API key, where one is needed")
    return parser


def _parser() -> argparse.ArgumentParser:
    usual = _service_options(os.environ.get("SIGHTLINE_URL", ""), os.environ.get("SIGHTLINE_KEY", ""))
    parser = argparse.ArgumentParser(prog="sightline", description="Client of a Sightline service.", parents=[usual])
    parser.add_argument("--version", action="version", version=f"sightline {__version__}")
    service = _service_options(argparse.SUPPRESS, argparse.SUPPRESS)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    one = commands.add_parser(
        "classify", parents=[service], help="classify the images of a folder; goes on where it stopped"
    )
    one.add_argument("images", type=Path, nargs="+", metavar="IMAGES", help="folders, with those below them, or files")
    one.add_argument(
        "-o", "--output", type=Path, help=f"CSV file, - for standard output; default: {RESULTS}, or text for one image"
    )
    one.add_argument("--concurrency", type=int, default=MOST, choices=range(1, 257), metavar="N", help="at most")
    one.set_defaults(run=_classify)
    one = commands.add_parser("report", parents=[service], help="say that an answer was wrong")
    one.add_argument("prediction_id", help="from the table of results, or X-Prediction-Id")
    one.add_argument("--label", default="", help="what it really is")
    one.add_argument("--comment", default="", help="anything else")
    one.set_defaults(run=_report)
    # No character begins an option here: all words are the script's, which has --help of its own.
    one = commands.add_parser(
        "models",
        prefix_chars="\0",
        add_help=False,
        help="list, import, promote, rollback or shadow versions of the model",
    )
    one.add_argument("words", nargs=argparse.REMAINDER)
    one.set_defaults(run=_models)
    one = commands.add_parser("doctor", parents=[service], help="say what is wrong, in words, and what to do about it")
    one.set_defaults(run=_doctor)
    return parser


if __name__ == "__main__":
    sys.exit(main())
