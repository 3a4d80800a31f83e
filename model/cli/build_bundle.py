"""Set-up: makes the default bundle, `python -m cli.build_bundle [--precision int8|fp32|all] [--bundles FOLDER]`."""

import argparse
import sys
from pathlib import Path

from default_model.build import build
from default_model.recipe import Precision
from inference.errors import BuildError

ALL = "all"


def main(arguments: list[str] | None = None) -> int:
    """Make what is missing; return the exit status."""
    options = _parser().parse_args(arguments)
    precisions = list(Precision) if options.precision == ALL else [Precision(options.precision)]
    try:
        build(options.bundles, precisions, _say)
    except (BuildError, OSError) as error:
        sys.stderr.write(f"The bundle could not be made: {error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Makes the default bundle from the installed weights.")
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
