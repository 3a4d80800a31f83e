"""Direct inference by Pillow and ONNX Runtime, without a server: expected labels, and the parts' speed.

python -m benchmarks.peers.direct labels LIST            print {file name: label} as JSON
python -m benchmarks.peers.direct speed LIST SECONDS     print the rate of each part on all cores as JSON
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks import settings
from benchmarks.core_loop import Work, loop_on_every_core
from benchmarks.peers.pillow_onnx import PillowOnnxClassifier
from benchmarks.systems import CORES

PARTS = ["decode + inference", "decode", "inference"]


def _images() -> list[Path]:
    return [Path(line) for line in Path(sys.argv[2]).read_text("utf-8").splitlines()]


def labels() -> dict[str, str]:
    """Return the label of every image of the list."""
    classifier = PillowOnnxClassifier(settings.BUNDLE)
    return {path.name: classifier.predict([classifier.decode(path.read_bytes())])[0][0] for path in _images()}


def make_parts() -> Mapping[str, Work]:
    """Make what each core loops over: one image at a time, one thread, as the servers do it."""
    classifier = PillowOnnxClassifier(settings.BUNDLE, threads=1)
    contents = [path.read_bytes() for path in _images()]
    decoded = [classifier.decode(content) for content in contents[:16]]

    def decode(number: int) -> int:
        classifier.decode(contents[number % len(contents)])
        return 1

    def infer(number: int) -> int:
        classifier.predict([decoded[number % len(decoded)]])
        return 1

    def decode_and_infer(number: int) -> int:
        classifier.predict([classifier.decode(contents[number % len(contents)])])
        return 1

    return dict(zip(PARTS, (decode_and_infer, decode, infer), strict=True))


if __name__ == "__main__":
    if sys.argv[1] == "labels":
        print(json.dumps(labels()))
    else:
        print(json.dumps(loop_on_every_core(make_parts, PARTS, float(sys.argv[3]), CORES)))
