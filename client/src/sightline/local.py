"""Classification without a service, by the model of a checkout: `sightline classify --local`.

The model, its engine and the decoders are those of the checkout's own environment, in a process of theirs; this package
needs none of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from typing import IO, Any

from sightline import checkout
from sightline.client import Prediction, ScoredLabel
from sightline.results import Row

# More than the process has in progress for each core: batches in hand, and what it has read ahead.
UNDER_WAY = 32


class LocalError(Exception):
    """The model of the checkout cannot be used, or its process ended too early."""


def classify(images: Mapping[str, Path], *, top_k: int = 1) -> Generator[Row, None, None]:
    """Yield the row of each image as it is classified, on all cores; with several classes if `top_k` is more than 1.

    A file that ends the process has a row with its error: those that were in progress are classified one at a time.

    Raise NoCheckoutError where there is no checkout that is set up, and LocalError where its model cannot be used.
    """
    left, suspects = dict(images), 0
    while left:
        chosen = dict(islice(left.items(), suspects)) if suspects else dict(left)
        status = yield from _run(chosen, left, top_k, one_at_a_time=suspects > 0)
        if status > 0 or (status == 0 and chosen.keys() & left.keys()):
            raise LocalError(f"the model's process ended with status {status}; run the same command again to continue")
        if status == 0:
            suspects = 0
        elif suspects:
            name = next(iter(left))
            del left[name]
            yield Row(name, error=f"internal: the process ended with signal {-status} on this file")
            suspects -= 1
        else:
            suspects = UNDER_WAY * (os.cpu_count() or 1)


def _run(
    images: Mapping[str, Path], left: dict[str, Path], top_k: int, *, one_at_a_time: bool
) -> Generator[Row, None, int]:
    """Yield the rows of a process; remove them from those that are left, and return its exit status."""
    words = ["--top-k", str(top_k), *(["--one-at-a-time"] if one_at_a_time else [])]
    command = checkout.command("classify_files", "`classify --local`", words)
    # Ctrl-C is for this process, which then ends the other one.
    process = subprocess.Popen(  # noqa: S603  the checkout's own script
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    if process.stdin is None or process.stdout is None:  # for the type checker: both are pipes
        raise AssertionError
    try:
        threading.Thread(target=_feed, args=(process.stdin, list(images.values())), daemon=True).start()
        for row in _rows(process.stdout, list(images), top_k):
            del left[row.file]
            yield row
        return process.wait()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def predict(content: bytes, *, top_k: int) -> Prediction:
    """Return what is in one image; raise LocalError where it has no answer."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        with closing(classify({"": Path(file.name)}, top_k=max(top_k, 2))) as rows:
            row = next(rows)
    if row.error:
        raise LocalError(row.error.partition(": ")[2])
    return Prediction(row.prediction, float(row.score), row.predictions[:top_k], "", row.model_version)


def _feed(stdin: IO[bytes], paths: list[Path]) -> None:
    with suppress(BrokenPipeError), stdin:  # it has ended; that is noticed where its answers are read
        for path in paths:
            stdin.write(f"{json.dumps(str(path))}\n".encode())


def _rows(stdout: IO[bytes], names: list[str], top_k: int) -> Iterator[Row]:
    for line in stdout:
        if not line.endswith(b"\n"):  # it ended meanwhile
            return
        answer: dict[str, Any] = json.loads(line)
        if "fatal" in answer:
            raise LocalError(str(answer["fatal"]))
        yield _row(names[answer["number"]], answer, top_k)


def _row(name: str, answer: dict[str, Any], top_k: int) -> Row:
    if "error" in answer:
        return Row(name, error=answer["error"])
    predictions = tuple(ScoredLabel(label, score) for label, score in answer["predictions"])
    best, version = predictions[0], answer["model_version"]
    several = predictions if top_k > 1 else ()
    return Row(name, best.label, f"{best.score:.4f}", "", "", version, several)
