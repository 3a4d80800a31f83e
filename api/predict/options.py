"""What a request may ask beyond its picture, and what the edge says of the answer."""

import re
import secrets
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from flask import Request

import middleware
import settings
from auth import access
from images.uploads import Picture
from observability import metrics
from openapi.operation import Text, Token, WholeNumber
from openapi.schemas import Explanation, Guess, Predicted
from predict import prediction_ids
from predict.prediction_ids import Predicted as Prediction
from problems import Problem
from server.load_shedding import EARLY_REFUSAL_BYTES
from wire.errors import QueueFull
from wire.messages import ActivationMap

# https://www.w3.org/TR/trace-context/#traceparent-header
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_RANKS = frozenset(map(str, range(1, middleware.USUAL_TOP_K + 1)))
_STAGES = ("queue", "decode", "infer")


TOP_K = WholeNumber(
    "top_k", "query", lambda: settings.MAX_TOP_K, "how many classes to list in `predictions`, best first", example=5
)
TIMEOUT_MS = WholeNumber(
    "X-Request-Timeout-Ms",
    "header",
    lambda: 24 * 3_600_000,
    "how long the client waits, in milliseconds; work for which that is over is dropped",
    example=5000,
)


EXPLAIN = Text(
    "explain",
    "query",
    re.compile(r"[^\x00-\x1f]{1,1000}"),
    "also say where the model looked for one class: its place among the five best (1 is the best), or its name",
    example="1",
)
PREFER = Token("Prefer", "respond-async", "`respond-async`: answer at once with a job to ask for later")


class Wishes(NamedTuple):
    """What the client may choose: how many classes it is told, how long it would wait, and which class to explain."""

    top_k: int | None = None
    timeout_s: float | None = None
    explain_rank: int = 0
    explain_label: str = ""

    @property
    def is_explained(self) -> bool:
        """Whether a map is wanted."""
        return bool(self.explain_rank or self.explain_label)


def wishes_of(request: Request) -> Wishes:
    """Read the client's choices; raises Problem naming the one that cannot be."""
    timeout_ms = TIMEOUT_MS.read(request)
    explain = EXPLAIN.read(request) or ""
    is_rank = explain in _RANKS
    return Wishes(
        TOP_K.read(request),
        None if timeout_ms is None else timeout_ms / 1000,
        int(explain) if is_rank else 0,
        "" if is_rank else explain,
    )


def refuse_early(request: Request) -> None:
    """Raise QueueFull before the body is read, where the queue is known to be full and the body large."""
    if request.content_length is None or request.content_length > EARLY_REFUSAL_BYTES:
        try:
            middleware.refuse_if_full()
        except QueueFull as refusal:
            metrics.count_drop(refusal)
            raise


def ask_of(request: Request, wishes: Wishes, picture: Picture) -> middleware.Ask:
    """Give what the queue is told beside the picture's name; the prediction's id begins with the job's."""
    timeout_s = settings.REQUEST_TIMEOUT_S
    traceparent = request.headers.get("traceparent", "")
    return middleware.Ask(
        job_id=secrets.token_hex(16),
        sha256=picture.sha256,
        top_k=max(middleware.USUAL_TOP_K, wishes.top_k or 0),
        timeout_s=timeout_s if wishes.timeout_s is None else min(timeout_s, wishes.timeout_s),
        traceparent=traceparent if _TRACEPARENT.fullmatch(traceparent) else "",
        is_abandoned=request.environ.get("sightline.client_gone"),
        explain_rank=wishes.explain_rank,
        explain_label=wishes.explain_label,
        decode_ms=picture.decode_ms,
    )


class Result:
    """An answer of `model_predict`, whether it says more than its pair or not; scores as they are told."""

    def __init__(self, job_id: str, filename: str, answer: tuple[str, float]) -> None:
        self._job_id = job_id
        self.filename = filename
        self.label = str(answer[0])
        self.score = _told(answer[1])
        self._answer: Any = answer

    @cached_property
    def id(self) -> str:
        """The prediction's id, by which it can be reported."""
        return prediction_ids.issue(self._job_id, self.predicted)

    @property
    def predicted(self) -> Prediction:
        """What a report of this answer is about."""
        return Prediction(self.filename, self.label, self.score, self.model_version or "", access.caller())

    def top(self, count: int) -> list[tuple[str, float]]:
        """Give the best classes, as many as were asked for and are known."""
        known: Sequence[tuple[str, float]] = getattr(self._answer, "predictions", None) or ((self.label, self.score),)
        return [(str(label), _told(score)) for label, score in known[:count]]

    @cached_property
    def model_version(self) -> str | None:
        """Which bundle answered: "<model>/<version>"."""
        names = (getattr(self._answer, "model", ""), getattr(self._answer, "model_version", ""))
        return "/".join(name for name in names if name) or None

    @property
    def activation_map(self) -> ActivationMap:
        """Where the model looked; raises Problem where the answer does not say."""
        found: ActivationMap | None = getattr(self._answer, "activation_map", None)
        if found is None:
            raise Problem(422, "not_explainable", "The worker that answered cannot say where it looked: restart it.")
        return found

    def headers(self) -> dict[str, str]:
        """Give the headers of an answer to a program."""
        headers = {"X-Prediction-Id": self.id}
        if self.model_version:
            headers["X-Model-Version"] = self.model_version
        cache = getattr(self._answer, "cache", "")
        if cache:
            headers["X-Cache"] = cache
        timings: Mapping[str, float] = getattr(self._answer, "timings", None) or {}
        stages = [f"{stage};dur={timings[stage]:.3g}" for stage in _STAGES if stage in timings]
        if stages:
            headers["Server-Timing"] = ", ".join(stages)
        return headers


def _told(score: float) -> float:
    return round(float(score), 4)


def guesses(result: Result, count: int) -> list[Guess]:
    """Give the best classes as documents have them."""
    return [{"label": label, "score": score} for label, score in result.top(count)]


def told(result: Result, wishes: Wishes, explanation: Explanation | None = None) -> Predicted:
    """Give an answer as it is told; more than the three keys only where something more was asked for."""
    document: Predicted = {"success": True, "prediction": result.label, "score": result.score}
    if wishes.top_k is not None:
        document["predictions"] = guesses(result, wishes.top_k)
    if explanation is not None:
        document["explanation"] = explanation
    if wishes.top_k is not None or wishes.is_explained:
        document |= {"filename": result.filename, "prediction_id": result.id, "model_version": result.model_version}
    return document
