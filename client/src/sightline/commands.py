"""The command line: `sightline classify PHOTOS -o results.csv`, `report`, `models`, `doctor`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import suppress
from pathlib import Path

from tqdm import tqdm

from sightline import __version__, checkout, completion, examination, local
from sightline.checkout import NoCheckoutError
from sightline.classify import classify
from sightline.client import Client, Refused, ServiceError, Unreachable
from sightline.findings import Page, wants_colour
from sightline.lists import paths_in
from sightline.local import LocalError
from sightline.reading import read_all
from sightline.results import JsonLines, Results
from sightline.selection import Selection, select

ADDRESS = "http://127.0.0.1:8000"
MOST = 32
RESULTS = "results.csv"
TOP_K = 5


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        if options.run is _classify:
            _listed(parser, options)
        with Client(options.url or ADDRESS, key=options.key) as client:
            return int(options.run(client, options))
    except Unreachable as fault:
        return _fail(f"{fault}. Start it (`make serve`), or name its address with --url")
    except BrokenPipeError:  # the program that reads the output has had enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ServiceError, NoCheckoutError, LocalError, ValueError, OSError) as fault:
        return _fail(str(fault))
    except KeyboardInterrupt:
        return _fail("stopped; run the same command again to continue")


def _classify(client: Client, options: argparse.Namespace) -> int:
    if options.images == [Path("-")]:
        return _print_predictions(client, "-", read_all(sys.stdin.buffer, "standard input"), options)
    # An image of a list that fails has a row with its error; the others are still classified.
    if missing := [path for path in options.named if not path.exists()]:
        return _fail(f"there is no {missing[0]}")
    if not options.local:
        with suppress(Refused):  # not ready now; classify() waits for that
            client.ready()
    is_one_file = len(options.images) == 1 and not options.images[0].is_dir() and not options.source
    if options.json and options.output is not None:
        return _fail("--json prints to standard output; give it without -o")
    if is_one_file and options.output is None:
        with options.images[0].open("rb") as file:
            content = read_all(file, str(options.images[0]))
        return _print_predictions(client, str(options.images[0]), content, options)
    selection = select(options.images)
    output = options.output or Path(RESULTS)
    with JsonLines() if options.json else Results(None if str(output) == "-" else output) as results:
        left = {name: path for name, path in selection.images.items() if not results.has(name)}
        done = len(selection.images) - len(left)
        with tqdm(total=len(selection.images), initial=done, unit=" images", disable=None) as bar:
            top_k = options.top_k or 1 if options.json else 1
            if options.local:
                for row in local.classify(left, top_k=top_k):
                    results.add(row)
                    bar.update()
            else:
                classify(client, left, results, most=options.concurrency, top_k=top_k, advance=bar.update, notice=_note)
        failed = sum(map(results.failed, selection.images))
    is_printed = options.json or str(output) == "-"
    _note(_summary(selection, len(left), failed, "standard output" if is_printed else str(output)))
    return 1 if failed else 0


def _print_predictions(client: Client, name: str, content: bytes, options: argparse.Namespace) -> int:
    """Print the best classes of one image with their scores."""
    top_k = options.top_k or TOP_K
    found = local.predict(content, top_k=top_k) if options.local else client.classify(content, top_k=top_k)
    if options.json:
        best = {"file": name, "prediction": found.label, "score": found.score}
        others = [prediction._asdict() for prediction in found.predictions]
        more = {"predictions": others, "prediction_id": found.id, "model_version": found.model_version}
        sys.stdout.write(f"{json.dumps(best | more)}\n")
        return 0
    for prediction in found.predictions:
        sys.stdout.write(f"{prediction.score:.4f}  {prediction.label}\n")
    return 0


def _summary(selection: Selection, now: int, failed: int, output: str) -> str:
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
    page.note(f"Only the service was checked: {Path.cwd()} is not in a checkout of Sightline.")
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
    parser.add_argument("--key", default=key, help="API key, if the service requires one")
    _add_version(parser)
    return parser


def _add_version(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--version", action="version", version=f"sightline {__version__}")


_EXAMPLES = """\
examples:
  sightline classify examples/cat.jpg               the five best classes of one image
  sightline classify PHOTOS/ -o results.csv         a folder, as a table
  sightline report PREDICTION_ID --label tabby      report a wrong prediction
  sightline models list                             the versions of the model
  sightline doctor                                  problems and their remedies
"""


def _parser() -> argparse.ArgumentParser:
    usual = _service_options(os.environ.get("SIGHTLINE_URL", ""), os.environ.get("SIGHTLINE_KEY", ""))
    parser = argparse.ArgumentParser(
        prog="sightline",
        description="Client of a Sightline service.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[usual],
    )
    service = _service_options(argparse.SUPPRESS, argparse.SUPPRESS)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    one = commands.add_parser(
        "classify", parents=[service], help="classify the images of a folder; run it again to continue"
    )
    one.add_argument(
        "images",
        type=Path,
        nargs="*",
        metavar="IMAGES",
        help="files, or folders with their subfolders; - is standard input",
    )
    one.add_argument(
        "--from",
        dest="source",
        default="",
        metavar="LIST",
        help="read paths from a file, one per line; - is standard input",
    )
    one.add_argument("--column", default="", metavar="NAME", help="the list is a CSV file with paths in this column")
    listed = f"classes to list for one image (default: {TOP_K}), or for each with --json"
    one.add_argument("--top-k", type=_positive, metavar="K", help=listed)
    one.add_argument(
        "-o", "--output", type=Path, help=f"CSV file, - for standard output; default: {RESULTS}, or text for one image"
    )
    one.add_argument("--json", action="store_true", help="print one JSON object per image instead of a table")
    one.add_argument(
        "--local", action="store_true", help="compute here with the model of a checkout, without a service"
    )
    one.add_argument(
        "--concurrency",
        type=int,
        default=MOST,
        choices=range(1, 257),
        metavar="N",
        help=f"maximum number of parallel requests; default: {MOST}",
    )
    one.set_defaults(run=_classify)
    one = commands.add_parser("report", parents=[service], help="report a wrong prediction")
    one.add_argument("prediction_id", help="from the table of results, or X-Prediction-Id")
    one.add_argument("--label", default="", help="the right label")
    one.add_argument("--comment", default="", help="a comment for the reviewer")
    one.set_defaults(run=_report)
    # No character begins an option here: all words are the script's, which has --help of its own.
    one = commands.add_parser(
        "models",
        prefix_chars="\0",
        add_help=False,
        help="list, import, promote, roll back or shadow versions of the model",
    )
    one.add_argument("words", nargs=argparse.REMAINDER)
    one.set_defaults(run=_models)
    one = commands.add_parser(
        "doctor", parents=[service], help="list problems of the installation and the service, with remedies"
    )
    one.set_defaults(run=_doctor)
    one = commands.add_parser("completion", help="print a completion script for bash or zsh")
    _add_version(one)
    one.set_defaults(run=_completion)
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _completion(client: Client, options: argparse.Namespace) -> int:
    del client, options
    sys.stdout.write(completion.script(_parser()))
    return 0


def _listed(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Add the images of a list to those that are named; end with status 2 where there are none."""
    options.named = list(options.images)
    if options.source:
        options.images += paths_in(options.source, options.column)
    if options.column and not options.source:
        parser.error("--column names a column of a list; give the list with --from")
    if not options.images:
        parser.error("no images: name files or folders, or a list of them with --from")


if __name__ == "__main__":
    sys.exit(main())
