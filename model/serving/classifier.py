"""From jobs in hand to answers, one batch at a time: what a worker's thread does between receiving and answering."""

import hashlib
import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, cast

import settings
from inference import image_store
from inference.arrays import Batch, Pixels, Scores
from inference.errors import IMAGE_TOO_LARGE, ImageError
from inference.model import Model
from serving import fault_injection, tracing
from serving.heat_maps import NotExplainableError, NotReadyError, explain
from wire import Answer, Delivery, Failure, Job
from wire.decode_cost import least_ms
from wire.messages import FailureCode

log = logging.getLogger(__name__)

Outcome = tuple[Delivery, Answer | Failure]


class Decoded(NamedTuple):
    """An image whose pixels are in the batch: the SHA-256 of the bytes that were read, and how long it took."""

    sha256: str
    took_ms: float


# How to decode the images of a batch: one after the other in the thread itself, or by a pool of threads' map.
Map = Callable[..., Iterable[Decoded | Failure]]


class Occupancy:
    """How many threads have a batch in hand; `with` counts one in and out."""

    def __init__(self) -> None:
        self.count = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.count += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.count -= 1


class Classifier:
    """What one thread of a worker classifies with: a model, and room for one batch of pixels."""

    def __init__(  # noqa: PLR0913  what it is made of
        self,
        model: Model,
        folder: Path,
        max_batch_size: int,
        busy: Occupancy,
        decode_map: Map = map,
        *,
        max_decode_ms: float = math.inf,
        recorder: tracing.Recorder = tracing.UNTRACED,
    ) -> None:
        self.model = model
        self.folder = folder
        self.pixels = model.new_batch(max_batch_size)
        self.busy = busy
        self.decode_map = decode_map
        self.max_decode_ms = max_decode_ms
        self.recorder = recorder

    def use(self, model: Model) -> None:
        """Classify with this model from now on, whose input may be of another size."""
        if model is not self.model:
            self.model, self.pixels = model, model.new_batch(len(self.pixels))

    def outcomes(self, batch: Sequence[Delivery]) -> list[Outcome]:
        """Return an answer or a failure for each job; one that breaks what nobody foresaw fails alone."""
        try:
            with self.busy:
                return self._outcomes(batch)
        except Exception:
            if len(batch) > 1:
                return [outcome for delivery in batch for outcome in self.outcomes([delivery])]
            log.exception("job %s: unforeseen fault on image %r", batch[0].job.id, batch[0].job.image)
            return [(batch[0], Failure(batch[0].job.id, "internal", "the worker failed on it; its log says why"))]

    def _outcomes(self, batch: Sequence[Delivery]) -> list[Outcome]:
        decoded = list(self.decode_map(self._decode, batch, self.pixels))
        whole = [at for at, each in enumerate(decoded) if not isinstance(each, Failure)]
        begin = time.perf_counter()
        scores = iter(self._predict(whole))
        infer_ms = (time.perf_counter() - begin) * 1000
        self.recorder.note("infer", begin, [batch[at] for at in whole])
        return [
            (delivery, each if isinstance(each, Failure) else self._answer(delivery, next(scores), each, infer_ms))
            for delivery, each in zip(batch, decoded, strict=True)
        ]

    def _decode(self, delivery: Delivery, out: Pixels) -> Decoded | Failure:
        begin, job = time.perf_counter(), delivery.job
        if time.monotonic() > delivery.deadline:
            return Failure(job.id, "expired", "its time ran out while the worker did what came before it")
        try:
            content = image_store.read(self.folder, job.image)
            fault_injection.obey(content)
            self._check_cost(content)
            self.model.prepare(content, out, settings.DECODE_BUDGET_S)
        except ImageError as fault:
            self.recorder.note("decode", begin, [delivery], fault.code)
            log.info("job %s: image %r refused, %s: %s", job.id, job.image, fault.code, fault)
            return Failure(job.id, cast(FailureCode, fault.code), str(fault))
        self.recorder.note("decode", begin, [delivery])
        # A name may come to stand for other bytes; whoever asked about these can compare.
        return Decoded(hashlib.sha256(content).hexdigest(), (time.perf_counter() - begin) * 1000)

    def _check_cost(self, content: bytes) -> None:
        """Raise ImageError for an image that takes too long to decode, by its header."""
        if (least := least_ms(content)) > self.max_decode_ms:
            times = f"decoding it takes at least {least / self.max_decode_ms:.1f} times as long as"
            limit = f"DECODE_BUDGET_S={settings.DECODE_BUDGET_S:g} allows on this machine"
            raise ImageError(IMAGE_TOO_LARGE, f"{times} {limit}; send a smaller or simpler image")

    def _predict(self, whole: list[int]) -> Scores | tuple[()]:
        if not whole:
            return ()
        is_gapless = whole[-1] == len(whole) - 1
        pixels: Batch = self.pixels[: len(whole)] if is_gapless else self.pixels[whole]
        return self.model.predict(pixels, is_alone=len(whole) == 1 and self.busy.count == 1)

    def _answer(self, delivery: Delivery, scores: Scores, decoded: Decoded, infer_ms: float) -> Answer | Failure:
        bundle, job = self.model.bundle, delivery.job
        timings = {"queue": delivery.waited_ms, "decode": decoded.took_ms, "infer": infer_ms}
        log.debug("job %s: classified, %s", job.id, timings)
        top_k = self.model.top_k(scores, job.top_k)
        answer = Answer(
            job.id, top_k, bundle.name, bundle.version, timings, bundle_digest=bundle.digest, sha256=decoded.sha256
        )
        return self._explained(job, scores, answer) if job.is_explained else answer

    def _explained(self, job: Job, scores: Scores, answer: Answer) -> Answer | Failure:
        content = image_store.read_same(self.folder, job.image, answer.sha256)
        if content is None:
            return Failure(job.id, "image_missing", f"{job.image!r} changed while it was classified")
        try:
            return replace(answer, activation_map=explain(self.model, job, content, scores))
        except NotExplainableError as fault:
            log.info("job %s: not explained: %s", job.id, fault)
            return Failure(job.id, "not_explainable", str(fault))
        except NotReadyError as fault:
            return Failure(job.id, "not_ready", str(fault))
