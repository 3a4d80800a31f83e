"""Measure the accuracy of a bundle: `python -m cli.accuracy FOLDER [--bundle MODEL/VERSION] [--engine NAME]`.

FOLDER holds a folder of images for each label; or images named `<wnid>_<anything>` and a classes.csv with the label of
each WordNet id. Images are decoded and predicted as in the service, by the same engine.
"""

import argparse
import sys
from pathlib import Path

import ml_service
import settings
from cli import command
from evaluation import batch_prediction
from inference import bundle, cpu, model
from inference.model import Model


def main(arguments: list[str] | None = None) -> int:
    """Print one line; return the exit status."""
    options = _parser().parse_args(arguments)
    return command.run(lambda: _run(options), "cannot measure")


def _run(options: argparse.Namespace) -> int:
    folder = bundle.choose(ml_service.bundles_folder(), options.bundle, settings.PRECISION)
    loaded = model.load(folder, options.engine, streams=1, cores=cpu.cores())
    ranks = [_rank(loaded, path, label) for path, label in batch_prediction.labelled_images(options.folder)]
    top1, top5 = (sum(rank < count for rank in ranks) / len(ranks) for count in (1, batch_prediction.TOP_K))
    named = f"{loaded.bundle.name}/{loaded.bundle.version} with {options.engine}"
    command.say(f"{named}: top-1 {top1:.1%}, top-5 {top5:.1%}, of {len(ranks)} images")
    return 0


def _rank(loaded: Model, path: Path, label: str) -> int:
    """Return how many labels are more probable than the right one; TOP_K where it is not among the top 5."""
    pixels = loaded.new_batch(1)
    loaded.prepare(path.read_bytes(), pixels[0])
    found = loaded.top_k(loaded.predict(pixels, is_alone=True)[0], batch_prediction.TOP_K)
    return next((place for place, (name, _) in enumerate(found) if name == label), batch_prediction.TOP_K)


def _parser() -> argparse.ArgumentParser:
    parser = command.parser(__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--bundle", default=settings.MODEL_BUNDLE, help="default: the active one")
    parser.add_argument("--engine", default=settings.ENGINE, help="default: %(default)s")
    return parser


if __name__ == "__main__":
    sys.exit(main())
