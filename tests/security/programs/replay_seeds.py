"""Give a fuzz target each of its seeds, without the fuzzer, whose package is not to be had for every Python.

Run with the target's import root on PYTHONPATH: replay_seeds.py TARGET.
"""

import contextlib
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from sightline_testing.hostile import fuzz_seeds

FUZZ = Path(__file__).parents[1] / "fuzz"


def main(target: str) -> None:
    """Take them one after the other; print how many there were."""
    without = SimpleNamespace(instrument_imports=lambda include: contextlib.nullcontext())
    sys.modules["atheris"] = cast(Any, without)
    one_input = runpy.run_path(str(FUZZ / f"fuzz_{target}.py"))["one_input"]
    seeds = list(fuzz_seeds.TARGETS[target]())
    for seed in seeds:
        one_input(seed)
    sys.stdout.write(f"{len(seeds)}\n")


if __name__ == "__main__":
    main(sys.argv[1])
