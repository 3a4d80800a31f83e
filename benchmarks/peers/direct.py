"""Direct inference by Pillow and ONNX Runtime, without a server: expected labels, and the parts' speed.

python -m benchmarks.peers.direct labels LIST            print {file name: label} as JSON
python -m benchmarks.peers.direct speed LIST SECONDS     print the rate of each part on all cores as JSON
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks import settings
from benchmarks.core_loop import BATCHES, Form, Work, limit
from benchmarks.peers.pillow_onnx import PillowOnnxClassifier
from benchmarks.systems import CORES

FORMS = [Form("onnxruntime", batch) for batch in BATCHES]


def _images() -> list[Path]:
    return [Path(line) for line in Path(sys.argv[2]).read_text("utf-8").splitlines()]


def labels() -> dict[str, str]:
    """Return the label of every image of the list."""
    classifier = PillowOnnxClassifier(settings.BUNDLE)
    return {path.name: classifier.predict([classifier.decode(path.read_bytes())])[0][0] for path in _images()}


def make_parts(form: Form) -> Mapping[str, Work]:
    """Make what each core loops over: one batch at a time, one thread, as the servers do it."""
    classifier = PillowOnnxClassifier(settings.BUNDLE, threads=1)
    contents = [path.read_bytes() for path in _images()]
    decoded = [classifier.decode(content) for content in contents[:16]]

    def decode(number: int) -> int:
        for at in range(form.batch):
            classifier.decode(contents[(number * form.batch + at) % len(contents)])
        return form.batch

    def infer(number: int) -> int:
        classifier.predict([decoded[(number * form.batch + at) % len(decoded)] for at in range(form.batch)])
        return form.batch

    def decode_and_infer(number: int) -> int:
        begin = number * form.batch
        classifier.predict([classifier.decode(contents[(begin + at) % len(contents)]) for at in range(form.batch)])
        return form.batch

    return {"decode + inference": decode_and_infer, "decode": decode, "inference": infer}


if __name__ == "__main__":
    if sys.argv[1] == "labels":
        print(json.dumps(labels()))
    else:
        print(json.dumps(limit(make_parts, FORMS, float(sys.argv[3]), CORES)))
