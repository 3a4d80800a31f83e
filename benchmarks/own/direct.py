"""Direct inference by the project's own decode and engine, without a server: expected labels, and the parts' speed.

Run with model/ on the import path:
python -m benchmarks.own.direct labels LIST            print {file name: label} as JSON
python -m benchmarks.own.direct speed LIST SECONDS     print the rate of each part on all cores as JSON
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks import settings
from benchmarks.core_loop import Work, loop_on_every_core
from benchmarks.systems import CORES
from inference import model

PARTS = ["decode + inference", "decode", "inference"]
# The worker's own default.
ENGINE = "openvino"


def _images() -> list[bytes]:
    return [Path(line).read_bytes() for line in _paths()]


def _paths() -> list[str]:
    return Path(sys.argv[2]).read_text("utf-8").splitlines()


def labels() -> dict[str, str]:
    """Return the label of every image of the list."""
    classifier = model.load(settings.BUNDLE, ENGINE, streams=1, cores=1)
    batch = classifier.new_batch(1)
    found = {}
    for path in _paths():
        classifier.prepare(Path(path).read_bytes(), batch[0])
        found[Path(path).name] = classifier.top_k(classifier.predict(batch)[0], 1)[0][0]
    return found


def make_parts() -> Mapping[str, Work]:
    """Make what each core loops over: one image at a time in a process of its own with one thread."""
    classifier = model.load(settings.BUNDLE, ENGINE, streams=1, cores=1)
    contents = _images()
    batch = classifier.new_batch(1)
    classifier.prepare(contents[0], batch[0])

    def decode(number: int) -> int:
        classifier.prepare(contents[number % len(contents)], batch[0])
        return 1

    def infer(_number: int) -> int:
        classifier.top_k(classifier.predict(batch)[0], 5)
        return 1

    def decode_and_infer(number: int) -> int:
        return decode(number) * infer(number)

    return dict(zip(PARTS, (decode_and_infer, decode, infer), strict=True))


if __name__ == "__main__":
    if sys.argv[1] == "labels":
        print(json.dumps(labels()))
    else:
        print(json.dumps(loop_on_every_core(make_parts, PARTS, float(sys.argv[3]), CORES)))
