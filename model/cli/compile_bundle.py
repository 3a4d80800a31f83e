"""Compile the version to be served once, for workers that may not write next to it: `python -m cli.compile_bundle`.

docker-compose runs this before the workers, whose ./bundles is read-only: they start in a fraction of the time. Where
it fails, each worker compiles for itself and reports what is wrong. Whether the version has heat maps is checked, too.
"""

import sys
import time

from cli import command
from evaluation import batch_prediction
from inference.errors import InferenceError
from serving import heat_maps


def main(arguments: list[str] | None = None) -> int:
    """Load the version, which keeps its compiled form; return the exit status, which no worker has to wait for."""
    command.parser(__doc__).parse_args(arguments)
    begin = time.monotonic()
    try:
        folder = command.active_bundle()
        heat_maps.check(batch_prediction.load(folder).bundle).result()
    except (InferenceError, OSError) as fault:
        command.warn(f"not compiled: {fault}")
        return 0
    command.say(f"{folder.parent.name}/{folder.name} is compiled ({time.monotonic() - begin:.1f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
