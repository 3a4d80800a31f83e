"""Classify files on all cores, without a service: `sightline classify --local` starts it.

Standard input has a path a line, as a JSON string. Standard output gets a JSON object a line, as results arrive: its
`number` is that of the path, from 0 on; it has `predictions` and `model_version`, or an `error` with a code of the
service's. Where no model can be loaded, one line has `fatal` alone.
"""

import argparse
import errno
import json
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from queue import Empty, Queue
from typing import NamedTuple

import settings
from cli import command
from inference import bundle, cpu, files, limits, model
from inference.arrays import Pixels
from inference.decode import kind_of
from inference.errors import UNSUPPORTED_TYPE, ImageError, InferenceError
from inference.model import Model
from serving import fault_injection

# As the service calls a body that is no image, and one that has too many bytes.
MALFORMED, TOO_LARGE = "malformed", "too_large"
SCORE_DECIMALS = 4


class _File(NamedTuple):
    number: int
    path: Path


def main(arguments: list[str] | None = None) -> int:
    """Classify what standard input names until it ends; return the exit status."""
    options = _parser().parse_args(arguments)
    cores = cpu.cores()
    try:
        folder = bundle.choose(settings.bundles_folder(), settings.MODEL_BUNDLE, settings.PRECISION)
        loaded = model.load(folder, settings.ENGINE, streams=cores, cores=cores)
        bundle.check_place(loaded.bundle)
    except (InferenceError, OSError) as fault:
        _write({"fatal": f"no model can be loaded: {fault}"})
        return 1
    count, batch = (1, 1) if options.one_at_a_time else (cores, settings.MAX_BATCH_SIZE)
    # As many as are read ahead of the threads, so that none waits; a folder may have millions.
    waiting: Queue[_File | None] = Queue(2 * count * batch)
    threads = [_Thread(loaded, waiting, count, batch, options.top_k) for _ in range(count)]
    for thread in threads:
        thread.start()
    for number, line in enumerate(sys.stdin):
        waiting.put(_File(number, Path(json.loads(line))))
    for _ in threads:
        waiting.put(None)
    for thread in threads:
        thread.join()
    return 0


class _Thread(threading.Thread):
    """Takes files as batches, as many as there are for each thread, decodes and classifies them, until there is None.

    A batch is what an engine gains from at most; those that compute one image after the other lose nothing by it.
    """

    def __init__(self, loaded: Model, waiting: "Queue[_File | None]", threads: int, batch: int, top_k: int) -> None:
        super().__init__(daemon=True)
        self._model, self._waiting, self._threads, self._top_k = loaded, waiting, threads, top_k
        self._pixels = loaded.new_batch(batch)
        self._version = f"{loaded.bundle.name}/{loaded.bundle.version}"

    def run(self) -> None:
        while (first := self._waiting.get()) is not None:
            batch, is_last = self._filled(first)
            self._classify(batch)
            if is_last:
                return

    def _filled(self, first: _File) -> tuple[list[_File], bool]:
        batch = [first]
        count = min(len(self._pixels), 1 + self._waiting.qsize() // self._threads)
        try:
            while len(batch) < count:
                if (file := self._waiting.get_nowait()) is None:
                    return batch, True
                batch.append(file)
        except Empty:
            pass
        return batch, False

    def _classify(self, batch: Sequence[_File]) -> None:
        decoded: list[_File] = []
        for file in batch:
            if self._decode(file, self._pixels[len(decoded)]):
                decoded.append(file)
        if not decoded:
            return
        try:
            scores = self._model.predict(self._pixels[: len(decoded)])
        except Exception as fault:  # noqa: BLE001  the engines' errors have no class in common but this
            for file in decoded:
                _fail(file, "internal", str(fault))
            return
        for file, row in zip(decoded, scores, strict=True):
            found = [[label, round(score, SCORE_DECIMALS)] for label, score in self._model.top_k(row, self._top_k)]
            _write({"number": file.number, "predictions": found, "model_version": self._version})

    def _decode(self, file: _File, out: Pixels) -> bool:
        """Write the model's input for a file; report why there is none, where there is none."""
        try:
            content = files.read_regular(file.path, limits.MAX_BYTES)
            fault_injection.obey(content)
            _check_is_image(content)
            self._model.prepare(content, out, settings.DECODE_BUDGET_S)
        except ImageError as fault:
            _fail(file, fault.code, str(fault))
        except OSError as fault:
            if fault.errno == errno.EFBIG:
                _fail(file, TOO_LARGE, f"The file has more than the {limits.MAX_BYTES} bytes that are accepted.")
            else:
                _fail(file, "", f"cannot be read: {fault.strerror}")
        except Exception as fault:  # noqa: BLE001  what nobody foresaw fails alone, as in the service
            _fail(file, "internal", f"{type(fault).__name__}: {fault}")
        else:
            return True
        return False


def _check_is_image(content: bytes) -> None:
    """Raise ImageError for what the api refuses before a worker has it."""
    try:
        kind = kind_of(content)
    except ImageError:
        raise ImageError(MALFORMED, "The file is not an image." if content else "The file is empty.") from None
    if kind.lower() not in settings.FORMATS.split(","):
        raise ImageError(UNSUPPORTED_TYPE, f"{kind.lower()} is not among FORMATS={settings.FORMATS}")


def _fail(file: _File, code: str, detail: str) -> None:
    _write({"number": file.number, "error": f"{code}: {detail}" if code else detail})


_writing = threading.Lock()


def _write(document: dict[str, object]) -> None:
    line = f"{json.dumps(document)}\n".encode()
    try:
        with _writing:
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
    except BrokenPipeError:  # the caller has ended; from a thread nothing else ends the process
        os._exit(1)


def _parser() -> argparse.ArgumentParser:
    parser = command.parser(__doc__)
    parser.add_argument("--top-k", type=int, default=1, metavar="K", help="classes for each image (default: 1)")
    parser.add_argument(
        "--one-at-a-time", action="store_true", help="in order, so that the file that ends the process is the next one"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
