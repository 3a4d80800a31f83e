"""What a version says of many pictures, on every core; a few numbers are kept of each."""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import settings
from inference import bundle, cpu, model
from inference.errors import ImageError
from inference.model import Model, Predictions

SHOWN = 5
# Pictures under way for each core.
AHEAD = 4


def load(folder: Path) -> Model:
    """A version with room for a picture on each core."""
    cores = cpu.cores()
    loaded = model.load(folder, settings.ENGINE, streams=cores, cores=cores)
    bundle.check_place(loaded.bundle)
    return loaded


def answers(judged: Model, contents: Iterable[bytes | None]) -> Iterator[Predictions | None]:
    """The first five of each picture, in order; None for one that is missing or broken."""
    waiting = iter(contents)
    with ThreadPoolExecutor(cpu.cores()) as pool:
        under_way: list[Future[Predictions | None]] = []
        while True:
            wanted = AHEAD * cpu.cores() - len(under_way)
            under_way.extend(pool.submit(_answer, judged, content) for content in islice(waiting, wanted))
            if not under_way:
                return
            yield under_way.pop(0).result()


def _answer(judged: Model, content: bytes | None) -> Predictions | None:
    pixels = judged.new_batch(1)
    try:
        if content is None:
            return None
        judged.prepare(content, pixels[0])
    except ImageError:
        return None
    return judged.top_k(judged.predict(pixels)[0], SHOWN)
