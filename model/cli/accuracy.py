"""Measure the accuracy of a bundle: `python -m cli.accuracy FOLDER [--bundle MODEL/VERSION] [--engine NAME]`.

FOLDER holds a folder of images for each label; or images named `<wnid>_<anything>` and a classes.csv with the label of
each WordNet id. Images are decoded and predicted as in the service, by the same engine.
"""

import argparse
import sys
from pathlib import Path

import settings
from cli import command
from evaluation import batch_prediction, comparison
from inference import bundle, cpu, model


def main(arguments: list[str] | None = None) -> int:
    """Print one line; return the exit status."""
    options = _parser().parse_args(arguments)
    return command.run(lambda: _run(options), "cannot measure")


def _run(options: argparse.Namespace) -> None:
    folder = bundle.choose(settings.bundles_folder(), options.bundle, settings.PRECISION)
    loaded = model.load(folder, options.engine, streams=cpu.cores(), cores=cpu.cores())
    images = batch_prediction.images_of(loaded.bundle, options.folder)
    predicted = batch_prediction.predict(loaded, (path.read_bytes() for path, _ in images))
    pairs = [(each, label, 1.0) for each, (_, label) in zip(predicted, images, strict=True) if each is not None]
    found = comparison.figures(pairs)
    named = f"{loaded.bundle.name}/{loaded.bundle.version} with {loaded.engine_name}"
    command.say(f"{named}: top-1 {found.top1.share:.1%}, top-5 {found.top5.share:.1%}, of {len(pairs)} images")


def _parser() -> argparse.ArgumentParser:
    parser = command.parser(__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument(
        "--bundle", default=settings.MODEL_BUNDLE, metavar="MODEL/VERSION", help="default: the active one"
    )
    parser.add_argument("--engine", default=settings.ENGINE, metavar="NAME", help="default: %(default)s")
    return parser


if __name__ == "__main__":
    sys.exit(main())
