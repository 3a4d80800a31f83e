"""Set-up: makes the bundles of a model from the installed weights.

`python -m cli.build_bundle [--model lite0|lite1|lite2] [--precision int8|fp32|all] [--bundles FOLDER]`
"""

import argparse
import sys
from pathlib import Path

from default_model.build import build
from default_model.recipe import Precision
from default_model.variants import VARIANTS
from inference.errors import ModelError

ALL = "all"


def main(arguments: list[str] | None = None) -> int:
    """Make what is missing; return the exit status."""
    options = _parser().parse_args(arguments)
    precisions = list(Precision) if options.precision == ALL else [Precision(options.precision)]
    try:
        build(options.bundles, precisions, _say, VARIANTS[options.model] if options.model else None)
    except (ModelError, OSError) as error:
        sys.stderr.write(f"The bundle could not be made: {error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Makes the bundles of a model from the installed weights.")
    what = "which to make and to serve (default: lite0, and what is active stays so)"
    parser.add_argument("--model", choices=VARIANTS, help=what)
    parser.add_argument("--precision", choices=[*Precision, ALL], default=ALL, help="which to make (default: all)")
    parser.add_argument(
        "--bundles", type=Path, default=Path("bundles"), metavar="FOLDER", help="where (default: %(default)s)"
    )
    return parser


def _say(sentence: str) -> None:
    sys.stdout.write(f"{sentence}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
