"""Features that a last layer is fitted on: images through the model without its last layer, on every core."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

import numpy as np

from inference import engines, image_store
from inference.arrays import Floats, Pixels
from inference.bundle import Bundle
from inference.errors import CasesError, ImageError
from inference.preprocessing import Preprocessing
from onnx_tools.head import features_model, read_head
from registry.versions import Case
from training.augmentation import augmentations, synthetic_images
from training.fitting import Cases
from training.train import TrainingSet

SYNTHETIC_IMAGES = 256
# Images under way for each core: enough that none waits, few enough to hold in memory.
AHEAD = 4

Item = TypeVar("Item")
Result = TypeVar("Result")


class Progress(Protocol):
    """Passes items through unchanged and shows how many of `count` are done; `what` names them."""

    def __call__(self, what: str, count: int, items: Iterable[Item], /) -> Iterator[Item]: ...  # noqa: D102


class Gathered(NamedTuple):
    """The cases whose images could be read, their features, the rest of the training set, and all labels."""

    used: list[Case]
    cases: Cases
    training_set: TrainingSet
    labels: tuple[str, ...]  # those of the base, then the new ones in the order of their first case


class FeatureExtractor:
    """The model of a bundle without its last layer."""

    def __init__(self, bundle: Bundle, engine: str, cores: int) -> None:
        self.bundle = bundle
        bare = replace(bundle, model=features_model(bundle.model), output="probabilities")  # numbers as they come
        self._engine = engines.load(engine, bare, streams=cores, cores=cores)
        self._cores = cores

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

    def of_pixels(self, images: Iterable[Pixels]) -> Iterator[Floats]:
        """Yield one row for each image, which has the model's size already."""
        return in_order(lambda pixels: self._rows([pixels]), images, self._cores)

    def _rows(self, images: Iterable[Pixels]) -> Floats:
        return self._engine.predict(np.stack([np.ascontiguousarray(pixels) for pixels in images]))


def gather(
    extractor: FeatureExtractor, wanted: Sequence[Case], traffic: Sequence[str], uploads: Path, progress: Progress
) -> Gathered:
    """Read the images of cases and traffic from `uploads`; raise CasesError where no case is left."""
    contents = (image_store.read_same(uploads, case.image, case.sha256) for case in wanted)
    rows = progress("reviewed cases", len(wanted), extractor.of_contents(contents, augmentations))
    kept = [(case, row) for case, row in zip(wanted, rows, strict=True) if row is not None]
    if not kept:
        raise CasesError(f"none of the {len(wanted)} reviewed images is in {uploads}: --uploads names their folder")
    used, features = [case for case, _ in kept], [row for _, row in kept]
    # A dict keeps the order of the first case of each.
    labels = tuple(dict.fromkeys((*extractor.bundle.labels, *(case.label for case in used))))
    index = {label: at for at, label in enumerate(labels)}
    counts = [len(row) for row in features]
    cases = Cases(
        np.concatenate(features),
        np.repeat([index[case.label] for case in used], counts),
        np.repeat(np.arange(len(used)), counts),
    )
    made = extractor.of_pixels(synthetic_images(SYNTHETIC_IMAGES, *extractor.bundle.preprocessing.size))
    synthetic = np.concatenate(list(progress("synthetic images", SYNTHETIC_IMAGES, made)))
    contents = (image_store.read_same(uploads, name) for name in traffic)
    seen = progress("unreported images", len(traffic), extractor.of_contents(contents))
    none = np.empty((0, synthetic.shape[1]), np.float32)
    unreported = np.concatenate([none, *(row for row in seen if row is not None)])
    return Gathered(used, cases, TrainingSet(read_head(extractor.bundle.model), synthetic, unreported), labels)


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


def in_order(work: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """Yield the result of each item in order, with a bounded number under way in so many threads."""
    waiting = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        under_way: list[Future[Result]] = []
        while True:
            wanted = AHEAD * threads - len(under_way)
            under_way.extend(pool.submit(work, item) for item in islice(waiting, wanted))
            if not under_way:
                return
            yield under_way.pop(0).result()
