"""Direct inference by the project's own decode and engine, without a server: expected labels, and the parts' speed.

Run with model/ on the import path:
python -m benchmarks.own.direct labels LIST            print {file name: label} as JSON
python -m benchmarks.own.direct speed LIST SECONDS     print the rate of each part on all cores as JSON

The speed is that of the engine and batch that take least: the machine's limit, and not that of a choice.
"""

import json
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from benchmarks import settings
from benchmarks.core_loop import BATCHES, Form, Work, limit
from benchmarks.systems import CORES
from inference import model
from inference.engines.choice import AUTO

ENGINES = [name for name in ("openvino", "onnxruntime") if find_spec(name)]
FORMS = [Form(engine, batch) for engine in ENGINES for batch in BATCHES]


def _images() -> list[bytes]:
    return [Path(line).read_bytes() for line in _paths()]


def _paths() -> list[str]:
    return Path(sys.argv[2]).read_text("utf-8").splitlines()


def labels() -> dict[str, str]:
    """Return the label of every image of the list."""
    classifier = model.load(settings.BUNDLE, AUTO, streams=1, cores=1)
    batch = classifier.new_batch(1)
    found = {}
    for path in _paths():
        classifier.prepare(Path(path).read_bytes(), batch[0])
        found[Path(path).name] = classifier.top_k(classifier.predict(batch)[0], 1)[0][0]
    return found


def make_parts(form: Form) -> Mapping[str, Work]:
    """Make what each core loops over: one batch at a time in a process of its own with one thread."""
    classifier = model.load(settings.BUNDLE, form.engine, streams=1, cores=1)
    contents = _images()
    batch = classifier.new_batch(form.batch)

    def decode(number: int) -> int:
        for at, out in enumerate(batch):
            classifier.prepare(contents[(number * form.batch + at) % len(contents)], out)
        return form.batch

    def infer(_number: int) -> int:
        for scores in classifier.predict(batch):
            classifier.top_k(scores, 5)
        return form.batch

    def decode_and_infer(number: int) -> int:
        decode(number)
        return infer(number)

    decode(0)
    return {"decode + inference": decode_and_infer, "decode": decode, "inference": infer}


if __name__ == "__main__":
    if sys.argv[1] == "labels":
        print(json.dumps(labels()))
    else:
        print(json.dumps(limit(make_parts, FORMS, float(sys.argv[3]), CORES)))
