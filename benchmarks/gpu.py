"""PyTorch's engine on this machine's GPU: whether it answers as the processor does, and how fast.

    make bench-gpu                    writes benchmarks/results/gpu-<time>/report.txt and gpu.json
    make bench-gpu BENCH=--device=cpu    tries the program itself where there is no GPU

Run with model/ on the import path.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import settings
from benchmarks.check_images import CheckImages, check_images
from benchmarks.errors import BenchError
from benchmarks.results import describe_machine
from benchmarks.systems import CORES
from inference import bundle, engines
from inference.arrays import Batch, Scores
from inference.bundle import Bundle
from inference.engines import Engine
from inference.errors import InferenceError

PRECISIONS = ("fp32", "fp16", "bf16")
BATCH_SIZES = (1, 8, 32, 64, 128, 256)
REFERENCE = "openvino"
SECONDS = 3.0
WARM_UP_RUNS = 5
LARGEST_DIFFERENCE = 1e-2
Row = dict[str, Any]


def main() -> int:
    """Measure, print and keep; return 1 where an answer is not the processor's."""
    options = _options()
    try:
        loaded = bundle.load(options.bundles / "efficientnet-lite0" / "1-fp32")
        images = check_images()
        pixels = prepared(loaded, images)
        placements = {name: f"torch:{options.device}:{name}" for name in PRECISIONS}
        parity = [compared(name, logits(loaded, placements[name], pixels), loaded, pixels) for name in placements]
        speed = [row for name in placements for row in throughput(loaded, name, placements[name], pixels, images)]
    except (BenchError, InferenceError, OSError) as error:
        print(f"bench-gpu: {error}", file=sys.stderr)
        return 1
    machine = describe_machine() | {"GPU": _gpu(), "torch": torch.__version__, "device": options.device}
    keep(machine, parity, speed)
    return 0 if all(row["same_class"] == row["pictures"] for row in parity) else 1


def prepared(loaded: Bundle, images: CheckImages) -> Batch:
    """Decode every image once, as a worker does."""
    if not images.paths:
        raise BenchError(f"no images in {settings.IMAGENET_DIR}; IMAGENET_DIR names a folder of them")
    pixels = np.empty((len(images.paths), *loaded.preprocessing.size, 3), np.uint8)
    for path, out in zip(images.paths, pixels, strict=True):
        loaded.preprocessing.prepare(path.read_bytes(), out)
    return pixels


def logits(loaded: Bundle, engine_name: str, pixels: Batch) -> Scores:
    """Return what the model puts out, before it becomes probabilities."""
    bare = replace(loaded, output="probabilities")  # as they come
    engine = engines.load(engine_name, bare, streams=1, cores=CORES)
    return np.concatenate([engine.predict(pixels[at : at + 32]) for at in range(0, len(pixels), 32)])


def compared(precision: str, found: Scores, loaded: Bundle, pixels: Batch) -> Row:
    """Hold the outputs against the engine of the processor."""
    wanted = logits(loaded, REFERENCE, pixels)
    return {
        "precision": precision,
        "pictures": len(pixels),
        "same_class": int((found.argmax(1) == wanted.argmax(1)).sum()),
        "largest_difference": float(np.abs(found - wanted).max()),
    }


def throughput(loaded: Bundle, precision: str, engine_name: str, pixels: Batch, images: CheckImages) -> Iterator[Row]:
    """Images a second by batch size: the engine alone, and with decoding in threads on every core."""
    engine = engines.load(engine_name, loaded, streams=1, cores=CORES)
    contents = [path.read_bytes() for path in images.paths]
    with ThreadPoolExecutor(CORES) as decoders:
        for size in BATCH_SIZES:
            batch = np.resize(pixels, (size, *pixels.shape[1:]))
            path = WholePath(loaded, engine, decoders, [contents[at % len(contents)] for at in range(size)])
            alone, whole = rate(partial(engine.predict, batch), size), rate(path, size)
            print(f"{precision}, batches of {size}: {alone:.0f} images/s, {whole:.0f} with decoding", flush=True)
            yield {"precision": precision, "batch_size": size, "engine": alone, "whole_path": whole}


class WholePath:
    """From files to probabilities: one batch is decoded while the one before is computed."""

    def __init__(self, loaded: Bundle, engine: Engine, decoders: ThreadPoolExecutor, contents: list[bytes]) -> None:
        self._prepare, self._engine, self._decoders, self._contents = (
            loaded.preprocessing.prepare,
            engine,
            decoders,
            contents,
        )
        shape = (len(contents), *loaded.preprocessing.size, 3)
        self._now, self._next = np.empty(shape, np.uint8), np.empty(shape, np.uint8)
        list(decoders.map(self._prepare, contents, self._now))

    def __call__(self) -> Scores:
        """Compute a batch while the next one is decoded."""
        decoding = self._decoders.map(self._prepare, self._contents, self._next)
        scores = self._engine.predict(self._now)
        list(decoding)
        self._now, self._next = self._next, self._now
        return scores


def rate(work: Callable[[], Scores], images: int) -> float:
    """Images a second; an engine gives its answer only once it has it, so no clock of the GPU is needed."""
    for _ in range(WARM_UP_RUNS):
        work()
    runs, began = 0, time.perf_counter()
    while (took := time.perf_counter() - began) < SECONDS:
        work()
        runs += 1
    return runs * images / took


def keep(machine: Row, parity: list[Row], speed: list[Row]) -> None:
    """Write the figures and print them."""
    folder = settings.RESULTS / time.strftime("gpu-%Y%m%d-%H%M%S")
    folder.mkdir(parents=True)
    lines = [", ".join(f"{name}: {value}" for name, value in machine.items()), ""]
    for row in parity:
        mark = "within" if row["largest_difference"] <= LARGEST_DIFFERENCE else "beyond"
        lines.append(
            f"{row['precision']}: the class of {REFERENCE} for {row['same_class']} of {row['images']} images; "
            f"logits differ by at most {row['largest_difference']:.4f}, {mark} {LARGEST_DIFFERENCE:g}"
        )
    lines += ["", f"{'precision':10}{'batch':>6}{'engine, images/s':>18}{'with decoding':>15}"]
    lines += [
        f"{row['precision']:10}{row['batch_size']:>6}{row['engine']:>18.0f}{row['whole_path']:>15.0f}" for row in speed
    ]
    text = "\n".join(lines) + "\n"
    (folder / "report.txt").write_text(text, "utf-8")
    (folder / "gpu.json").write_text(
        json.dumps({"machine": machine, "parity": parity, "speed": speed}, indent=1) + "\n", "utf-8"
    )
    print(f"\n{text}\nResults: {folder.relative_to(settings.ROOT)}")


def _gpu() -> str:
    return str(torch.cuda.get_device_name()) if torch.cuda.is_available() else "none"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="default: %(default)s")
    parser.add_argument("--bundles", type=Path, default=settings.ROOT / "var" / "bundles", help="default: %(default)s")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
