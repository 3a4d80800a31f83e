"""The command line: `sightline classify PHOTOS -o results.csv`, `report`, `models`, `doctor`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from tqdm import tqdm

from sightline import checkout, examination
from sightline.checkout import NoCheckoutError
from sightline.classify import classify, pictures_in
from sightline.client import Client, ServiceError, Unreachable
from sightline.findings import Page, wants_colour
from sightline.results import Results

ADDRESS = "http://127.0.0.1:8000"
MOST = 32


def main(arguments: list[str] | None = None) -> int:
    """Do what was asked; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        with Client(options.url or ADDRESS, key=options.key) as client:
            return int(options.run(client, options))
    except (ServiceError, Unreachable, NoCheckoutError, ValueError, OSError) as fault:
        return _fail(str(fault))
    except KeyboardInterrupt:
        return _fail("stopped; the same command goes on where this one was")


def _classify(client: Client, options: argparse.Namespace) -> int:
    if not options.photos.exists():
        return _fail(f"there is no {options.photos}")
    every = pictures_in(options.photos)
    with Results(options.output) as results:
        base = options.photos if options.photos.is_dir() else options.photos.parent
        left = [path for path in every if str(path.relative_to(base)).replace("\n", "\\n") not in results.done]
        with tqdm(total=len(every), initial=len(every) - len(left), unit=" pictures", disable=None) as bar:
            classify(client, left, options.photos, results, most=options.concurrency, advance=bar.update)
    sys.stderr.write(f"{len(every)} pictures, {len(left)} of them now: {options.output}\n")
    return 0


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
    sys.stderr.write(f"sightline: {said}\n")
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sightline", description="Asks a Sightline service.")
    parser.add_argument("--url", default=os.environ.get("SIGHTLINE_URL", ""), help=f"default: {ADDRESS}")
    parser.add_argument("--key", default=os.environ.get("SIGHTLINE_KEY", ""), help="API key, where one is needed")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    one = commands.add_parser("classify", help="name what is in every picture of a folder; goes on where it stopped")
    one.add_argument("photos", type=Path, metavar="PHOTOS", help="a folder, with those below it, or one picture")
    one.add_argument("-o", "--output", type=Path, default=Path("results.csv"), help="default: %(default)s")
    one.add_argument("--concurrency", type=int, default=MOST, choices=range(1, 257), metavar="N", help="at most")
    one.set_defaults(run=_classify)
    one = commands.add_parser("report", help="say that an answer was wrong")
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
    one = commands.add_parser("doctor", help="say what is wrong, in words, and what to do about it")
    one.set_defaults(run=_doctor)
    return parser


if __name__ == "__main__":
    sys.exit(main())
