"""From jobs in hand to answers, one batch at a time: what a worker's thread does between receiving and answering."""

import hashlib
import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import repeat
from typing import Any, NamedTuple, cast

import numpy as np
import simplejpeg

import settings
from inference.arrays import Batch, Pixels, Scores
from inference.decode import kind_of
from inference.errors import IMAGE_TOO_LARGE, UNSUPPORTED_TYPE, ImageError
from inference.model import Model
from inference.preprocessing import is_of_one_colour
from serving import fault_injection, previews, stored_images, tracing
from serving.heat_maps import NotExplainableError, NotReadyError, explain
from serving.shadow import Shadow
from serving.slots import Slots
from storage.images.port import ImageStore
from wire import Answer, Delivery, Failure, Job
from wire.decode_cost import min_ms
from wire.messages import FailureCode

log = logging.getLogger(__name__)

# The warning about an image that has one colour for the model, or is transparent.
ONE_COLOUR = "one_colour"
EXAMPLE = simplejpeg.encode_jpeg(np.full((64, 64, 3), 127, np.uint8))

Outcome = tuple[Delivery, Answer | Failure]


class Decoded(NamedTuple):
    """An image whose pixels are in the batch: the SHA-256 of the bytes that were read, how long it took, warnings."""

    sha256: str
    took_ms: float
    warnings: tuple[str, ...] = ()


# What was fetched of an image: its bytes, or why there are none; None where it is read when it is decoded.
Content = bytes | ImageError | None
# How to decode the images of a batch: one after the other in the thread itself, or by a pool of threads' map.
Map = Callable[..., Iterable[Any]]


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
    """What one thread of a worker classifies with: a model, and room for one batch of pixels.

    Where a `fetch_map` is given, images are fetched by it before one of the `slots` is taken, in which they are decoded
    and classified. `decode_s` is how long decoding the images of the last batch took, `waited_s` how long it had waited
    for them and for the slot.
    """

    def __init__(  # noqa: PLR0913  what it is made of
        self,
        model: Model,
        images: ImageStore,
        max_batch_size: int,
        busy: Occupancy,
        decode_map: Map = map,
        *,
        fetch_map: Map | None = None,
        slots: Slots | None = None,
        max_decode_ms: float = math.inf,
        recorder: tracing.Recorder = tracing.UNTRACED,
        candidate: Callable[[], Shadow | None] = lambda: None,
    ) -> None:
        self.model = model
        self.images = images
        self.pixels = model.new_batch(max_batch_size)
        self.busy = busy
        self.decode_map = decode_map
        self.max_decode_ms = max_decode_ms
        self.recorder = recorder
        self.decode_s = self.waited_s = 0.0
        self._fetch_map = fetch_map
        self._candidate = candidate
        self._slots = slots

    def use(self, model: Model) -> None:
        """Classify with this model from now on, whose input may be of another size."""
        if model is not self.model:
            self.model, self.pixels = model, model.new_batch(len(self.pixels))

    def outcomes(self, batch: Sequence[Delivery]) -> list[Outcome]:
        """Return an answer or a failure for each job; one that causes an unforeseen error fails alone."""
        try:
            begin = time.perf_counter()
            contents = self._fetched(batch)
            with self._slot(len(batch), time.perf_counter() - begin), self.busy:
                self.waited_s = time.perf_counter() - begin
                return self._outcomes(batch, contents)
        except Exception:
            if len(batch) > 1:
                return [outcome for delivery in batch for outcome in self.outcomes([delivery])]
            log.exception("job %s: unforeseen fault on image %r", batch[0].job.id, batch[0].job.image)
            return [(batch[0], Failure(batch[0].job.id, "internal", "the worker failed on it; see its log"))]

    def is_sound(self) -> bool:
        """Return whether an image of its own is classified: other failures are then caused by the requests."""
        try:
            fault_injection.obey_trial()
            self.model.prepare(EXAMPLE, self.pixels[0])
            return bool(np.isfinite(self.model.predict(self.pixels[:1])).all())
        except Exception:
            # A failure here is not caused by the image.
            log.exception("an image of the worker's own cannot be classified")
            return False

    def _fetched(self, batch: Sequence[Delivery]) -> Iterable[Content]:
        """Return the bytes of each image where they come over the network, in parallel; else they are read later."""
        if self._fetch_map is None:
            return repeat(None, len(batch))
        if self._slots is not None:
            self._slots.fetch_begins(len(batch))
        return list(self._fetch_map(self._fetch, batch) if len(batch) > 1 else map(self._fetch, batch))

    def _slot(self, jobs: int, fetch_s: float) -> AbstractContextManager[None]:
        return nullcontext() if self._slots is None else self._slots.computing(jobs, fetch_s)

    def _fetch(self, delivery: Delivery) -> Content:
        try:
            return stored_images.read(self.images, delivery.job.image)
        except ImageError as fault:
            return fault

    def _outcomes(self, batch: Sequence[Delivery], contents: Iterable[Content]) -> list[Outcome]:
        start = time.perf_counter()
        decoded = list(self.decode_map(self._decode, batch, contents, self.pixels))
        whole = [at for at, each in enumerate(decoded) if not isinstance(each, Failure)]
        begin = time.perf_counter()
        self.decode_s = begin - start
        scores = iter(self._predict(whole, is_alone=[each.depth for each in batch] == [1]))
        infer_ms = (time.perf_counter() - begin) * 1000
        self.recorder.note("infer", begin, [batch[at] for at in whole])
        return [
            (delivery, each if isinstance(each, Failure) else self._answer(delivery, next(scores), each, infer_ms))
            for delivery, each in zip(batch, decoded, strict=True)
        ]

    def _decode(self, delivery: Delivery, content: Content, out: Pixels) -> Decoded | Failure:
        begin, job = time.perf_counter(), delivery.job
        if time.monotonic() > delivery.deadline:
            return Failure(job.id, "expired", "its time ran out while the worker did what came before it")
        try:
            if isinstance(content, ImageError):
                raise content
            if content is None:
                content = stored_images.read(self.images, job.image)
            fault_injection.obey(content)
            self._check_format(content)
            self._check_cost(content)
            self.model.prepare(content, out, settings.DECODE_BUDGET_S)
        except ImageError as fault:
            self.recorder.note("decode", begin, [delivery], fault.code)
            log.info("job %s: image %r refused, %s: %s", job.id, job.image, fault.code, fault)
            return Failure(job.id, cast(FailureCode, fault.code), str(fault))
        self.recorder.note("decode", begin, [delivery])
        # A name may later refer to other bytes; the requester of these can compare.
        warnings = (ONE_COLOUR,) if is_of_one_colour(out) else ()
        return Decoded(hashlib.sha256(content).hexdigest(), (time.perf_counter() - begin) * 1000, warnings)

    def _check_format(self, content: bytes) -> None:
        """Raise ImageError for an image of a format that FORMATS leaves out."""
        if (kind := kind_of(content).lower()) not in settings.FORMATS.split(","):
            raise ImageError(UNSUPPORTED_TYPE, f"{kind} is not among FORMATS={settings.FORMATS}")

    def _check_cost(self, content: bytes) -> None:
        """Raise ImageError for an image that takes too long to decode, by its header."""
        if (least := min_ms(content)) > self.max_decode_ms:
            times = f"decoding it takes at least {least / self.max_decode_ms:.1f} times as long as"
            limit = f"DECODE_BUDGET_S={settings.DECODE_BUDGET_S:g} allows on this machine"
            raise ImageError(IMAGE_TOO_LARGE, f"{times} {limit}; send a smaller or simpler image")

    def _predict(self, whole: list[int], *, is_alone: bool) -> Scores | tuple[()]:
        if not whole:
            return ()
        is_gapless = whole[-1] == len(whole) - 1
        pixels: Batch = self.pixels[: len(whole)] if is_gapless else self.pixels[whole]
        return self.model.predict(pixels, is_alone=is_alone and self.busy.count == 1)

    def _answer(self, delivery: Delivery, scores: Scores, decoded: Decoded, infer_ms: float) -> Answer | Failure:
        bundle, job = self.model.bundle, delivery.job
        timings = {"queue": delivery.waited_ms, "decode": decoded.took_ms, "infer": infer_ms}
        log.debug("job %s: classified, %s", job.id, timings)
        top_k = self.model.top_k(scores, job.top_k)
        facts = {"bundle_digest": bundle.digest, "sha256": decoded.sha256, "warnings": decoded.warnings}
        answer = Answer(job.id, top_k, bundle.name, bundle.version, timings, **facts)  # type: ignore[arg-type]
        return self._extended(job, scores, answer) if job.passes > 1 else answer

    def _extended(self, job: Job, scores: Scores, answer: Answer) -> Answer | Failure:
        """Return an answer with the map, the preview or the candidate's answer that a job requests."""
        content = self.images.read_same(job.image, answer.sha256)
        if content is None:
            return Failure(job.id, "image_missing", f"{job.image!r} changed while it was classified")
        try:
            preview = previews.draw(content, job.preview_side) if job.preview_side else b""
            found = explain(self.model, job, content, scores) if job.is_explained else None
            candidate = self._candidate() if job.candidate else None
            tried = None if candidate is None else candidate.answer(content, job.top_k)
            return replace(answer, activation_map=found, preview=preview, candidate=tried)
        except ImageError as fault:  # its decoding ran out of time, the second time
            return Failure(job.id, cast(FailureCode, fault.code), str(fault))
        except NotExplainableError as fault:
            log.info("job %s: not explained: %s", job.id, fault)
            return Failure(job.id, "not_explainable", str(fault))
        except NotReadyError as fault:
            return Failure(job.id, "not_ready", str(fault))
