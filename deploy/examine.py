"""`make doctor`, `sightline doctor`: what is wrong with this installation and its service, and what to do about it.

Runs on any Python, with nothing but the standard library: the installation may be broken. Ends with 1 where something
does not work.
"""

from __future__ import annotations  # so that an older Python, too, reaches the message that it is too old

import argparse
import os
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
OLDEST_PYTHON = (3, 11)


def main() -> int:
    """Look at everything; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--url", default="", help="of the service (default: where `make serve` would answer)")
    options = parser.parse_args()
    if sys.version_info < OLDEST_PYTHON:
        sys.stderr.write(
            f"Python {'.'.join(map(str, OLDEST_PYTHON))} or newer is needed, this is {sys.version.split()[0]}: "
            "name another with make PYTHON=python3.12 doctor\n"
        )
        return 1
    # The half that needs no checkout is the client's; like the parser of settings it needs no package.
    sys.path[:0] = [str(REPOSITORY / "client" / "src"), str(REPOSITORY / "wire" / "src")]
    from doctor.rounds import make_rounds  # noqa: PLC0415  an older Python cannot read it

    return make_rounds(options.url, os.environ)


if __name__ == "__main__":
    sys.exit(main())
