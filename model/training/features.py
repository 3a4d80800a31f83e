"""Pictures to features: the model without its last layer, on every core."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from typing import TypeVar

import numpy as np

from inference import engines
from inference.arrays import Floats, Pixels
from inference.bundle import Bundle
from inference.errors import ImageError
from onnx_tools.head import features_model

# Pictures under way for each core: enough that none waits, few enough to hold in memory.
AHEAD = 4

Item = TypeVar("Item")
Views = Callable[[Pixels, int], Iterable[Pixels]]  # of a picture's pixels, by its number


class Reader:
    """The features of pictures, one row for each look at one."""

    def __init__(self, bundle: Bundle, engine: str, cores: int) -> None:
        self.preprocessing = bundle.preprocessing
        bare = replace(bundle, model=features_model(bundle.model), output="probabilities")  # as they come
        self._engine = engines.load(engine, bare, streams=cores, cores=cores)
        self._cores = cores

    def of_contents(self, contents: Iterable[bytes | None], views: Views | None = None) -> Iterator[Floats | None]:
        """A row for each view of each picture, in order; None for a picture that is missing or broken."""

        def look(numbered: tuple[int, bytes | None]) -> Floats | None:
            number, content = numbered
            return self._of_content(number, content, views)

        return self._each(look, enumerate(contents))

    def of_pixels(self, pictures: Iterable[Pixels]) -> Iterator[Floats | None]:
        """One row for each picture that is the model's size already."""
        return self._each(lambda pixels: self._rows([pixels]), pictures)

    def _of_content(self, number: int, content: bytes | None, views: Views | None) -> Floats | None:
        pixels = np.empty((*self.preprocessing.size, 3), np.uint8)
        try:
            if content is None:
                return None
            self.preprocessing.prepare(content, pixels)
        except ImageError:
            return None
        return self._rows([pixels] if views is None else views(pixels, number))

    def _rows(self, pictures: Iterable[Pixels]) -> Floats:
        batch = np.stack([np.ascontiguousarray(pixels) for pixels in pictures])
        return self._engine.predict(batch)

    def _each(self, work: Callable[[Item], Floats | None], items: Iterable[Item]) -> Iterator[Floats | None]:
        """In order, a bounded number under way."""
        waiting = iter(items)
        with ThreadPoolExecutor(self._cores) as pool:
            under_way: list[Future[Floats | None]] = []
            while True:
                wanted = AHEAD * self._cores - len(under_way)
                under_way.extend(pool.submit(work, item) for item in islice(waiting, wanted))
                if not under_way:
                    return
                yield under_way.pop(0).result()
