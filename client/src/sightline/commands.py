"""The command line: `sightline classify PHOTOS -o results.csv`, `sightline report`, `sightline doctor`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from tqdm import tqdm

from sightline.classify import classify, pictures_in
from sightline.client import Client, Refused, ServiceError, Unreachable
from sightline.results import Results

ADDRESS = "http://127.0.0.1:8000"
MOST = 32


def main(arguments: list[str] | None = None) -> int:
    """Do what was asked; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        with Client(options.url, key=options.key) as client:
            return int(options.run(client, options))
    except (ServiceError, Unreachable, ValueError, OSError) as fault:
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


def _doctor(client: Client, options: argparse.Namespace) -> int:
    try:
        state = client.ready()
    except Unreachable as fault:
        return _fail(f"{fault}. Is it running (`make serve`), and is this its address? --url names another")
    except Refused as refusal:
        return _fail(f"The service runs, and cannot answer pictures ({refusal.code}): {refusal}")
    found = client.classify(_dot())
    say = f"All is well at {client.url}: {state['workers']} workers serve {state['model_version']}"
    sys.stdout.write(f"{say}, and a picture of one dot is taken for {found.label!r}.\n")
    return 0


def _dot() -> bytes:
    """Give the smallest picture that there is need for: one white dot, as GIF."""
    return bytes.fromhex("47494638396101000100800000ffffff00000021f90401000000002c00000000010001000002024401003b")


def _fail(said: str) -> int:
    sys.stderr.write(f"sightline: {said}\n")
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sightline", description="Asks a Sightline service.")
    parser.add_argument("--url", default=os.environ.get("SIGHTLINE_URL", ADDRESS), help="default: %(default)s")
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
    one = commands.add_parser("doctor", help="say what is wrong, in words")
    one.set_defaults(run=_doctor)
    return parser


if __name__ == "__main__":
    sys.exit(main())
