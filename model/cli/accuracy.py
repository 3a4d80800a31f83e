"""How often a bundle is right: `python -m cli.accuracy FOLDER [--bundle MODEL/VERSION] [--engine NAME]`.

FOLDER holds a folder of pictures for each label; or pictures named `<wnid>_<anything>` and a classes.csv that says the
label of each WordNet id. Pictures take the same way as in the service: the same decoding, the same engine.
"""

import argparse
import sys
from pathlib import Path

import ml_service
import settings
from evaluation import labelled
from inference import bundle, cpu, model
from inference.errors import ModelError
from inference.model import Model

SHOWN = 5


def main(arguments: list[str] | None = None) -> int:
    """Print one line; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        folder = bundle.choose(ml_service.bundles_folder(), options.bundle, settings.PRECISION)
        judged = model.load(folder, options.engine, streams=1, cores=cpu.cores())
        ranks = [rank(judged, path, label) for path, label in labelled.pictures(options.folder)]
    except (ModelError, OSError, KeyError) as fault:
        sys.stderr.write(f"cannot measure: {fault}\n")
        return 1
    if not ranks:
        sys.stderr.write(f"{options.folder} holds no labelled pictures; see --help\n")
        return 1
    first, among = (sum(place < count for place in ranks) / len(ranks) for count in (1, SHOWN))
    named = f"{judged.bundle.name}/{judged.bundle.version} with {options.engine}"
    sys.stdout.write(f"{named}: {first:.1%} right, {among:.1%} among the first {SHOWN}, of {len(ranks)} pictures\n")
    return 0


def rank(judged: Model, path: Path, label: str) -> int:
    """How many labels the model finds likelier than the right one; SHOWN where it is not among the first."""
    pixels = judged.new_batch(1)
    judged.prepare(path.read_bytes(), pixels[0])
    best = judged.top_k(judged.predict(pixels, is_alone=True)[0], SHOWN)
    return next((place for place, (found, _) in enumerate(best) if found == label), SHOWN)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--bundle", default=settings.MODEL_BUNDLE, help="default: the active one")
    parser.add_argument("--engine", default=settings.ENGINE, help="default: %(default)s")
    return parser


if __name__ == "__main__":
    sys.exit(main())
