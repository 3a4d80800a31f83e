"""Features that a last layer is fitted on: images through the model without its last layer, on every core."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from typing import TypeVar

import numpy as np

from inference import compiled, engines
from inference.arrays import Floats, Pixels
from inference.bundle import Bundle
from inference.errors import ImageError
from inference.preprocessing import Preprocessing
from onnx_tools.head import features_model
from training.augmentation import synthetic_images
from training.progress import Progress

# Images in progress for each core: enough that none waits, few enough to hold in memory.
AHEAD = 4
# So many of the kept features are computed again; they differ where the engine or the synthetic images do.
COMPARED, TOLERANCE = 2, 1e-3

Item = TypeVar("Item")
Result = TypeVar("Result")


class FeatureExtractor:
    """The model of a bundle without its last layer."""

    def __init__(self, bundle: Bundle, engine: str, cores: int) -> None:
        self.bundle = bundle
        bare = replace(bundle, model=features_model(bundle.model), output="probabilities")  # numbers as they come
        self._engine = engines.load(engine, bare, streams=cores, cores=cores)
        self._cores = cores
        self._engine_name = self._engine.name

    def of_contents(
        self, contents: Iterable[bytes | None], augment: Callable[[Pixels, int], Iterable[Pixels]] | None = None
    ) -> Iterator[Floats | None]:
        """Yield a row for each augmentation of each image, in order; None for an image that is missing or broken."""

        def work(numbered: tuple[int, bytes | None]) -> Floats | None:
            pixels = model_input(self.bundle.preprocessing, numbered[1])
            if pixels is None:
                return None
            return self._rows([pixels] if augment is None else augment(pixels, numbered[0]))

        return in_order(work, enumerate(contents), self._cores)

    def of_input(self, pixels: Pixels) -> Floats:
        """Return the features of one image, which has the model's size already."""
        row: Floats = self._rows([pixels])[0]
        return row

    def of_pixels(self, images: Iterable[Pixels]) -> Iterator[Floats]:
        """Yield one row for each image, which has the model's size already."""
        return in_order(lambda pixels: self._rows([pixels]), images, self._cores)

    def of_synthetic(self, count: int, progress: Progress) -> Floats:
        """Return one row for each of so many synthetic images.

        They are stored next to the bundle, as its compiled forms are: one file for each engine, with the most rows
        requested so far. What is kept is used where it gives the first images the features that they have now.
        """
        folder, table = self.bundle.folder, self.bundle.preprocessing
        size, name = table.size, f"features-{compiled.key(self._engine_name, table.digest, self.bundle.model)}"
        sample = np.concatenate(list(self.of_pixels(synthetic_images(COMPARED, *size))))
        kept = np.frombuffer(compiled.kept(folder, name) or b"", np.float32)
        if kept.size >= max(count, COMPARED) * sample.shape[1] and np.allclose(
            kept[: sample.size], sample.ravel(), rtol=0, atol=TOLERANCE * np.abs(sample).max()
        ):
            return kept[: count * sample.shape[1]].reshape(count, -1)
        made = self.of_pixels(synthetic_images(count, *size))
        rows = np.concatenate(list(progress("synthetic images", count, made)))
        compiled.keep(folder, name, rows.tobytes())
        return rows

    def _rows(self, images: Iterable[Pixels]) -> Floats:
        return self._engine.predict(np.stack([np.ascontiguousarray(pixels) for pixels in images]))


def model_input(preprocessing: Preprocessing, content: bytes | None) -> Pixels | None:
    """Return the model's input for an image; None where it is missing or broken."""
    pixels = np.empty((*preprocessing.size, 3), np.uint8)
    try:
        if content is None:
            return None
        preprocessing.prepare(content, pixels)
    except ImageError:
        return None
    return pixels


def joined(rows: Sequence[Floats], width: int) -> Floats:
    """Return all rows, of so many features each, in one array; there may be none."""
    return np.concatenate([np.empty((0, width), np.float32), *rows])


def in_order(work: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """Yield the result of each item in order, with a bounded number in progress, in this many threads."""
    waiting = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        under_way: list[Future[Result]] = []
        while True:
            wanted = AHEAD * threads - len(under_way)
            under_way.extend(pool.submit(work, item) for item in islice(waiting, wanted))
            if not under_way:
                return
            yield under_way.pop(0).result()
