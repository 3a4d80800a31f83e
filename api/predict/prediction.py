"""One prediction: what a request may ask of it (PredictOptions), and what is answered (Prediction)."""

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import repeat
from typing import TYPE_CHECKING, Self

from flask import Request, Response
from werkzeug.datastructures import Headers

import settings
from auth import access
from images.uploads import FORM
from openapi.operation import Parameter, Text, WholeNumber
from openapi.schemas import Explanation, PredictResponse
from server.clients import client_of
from wire import ActivationMap, Answer

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

# An answer holds this many classes even where one was requested: the page shows them, and a cache can share them.
USUAL_TOP_K = 5
# https://www.w3.org/TR/trace-context/#traceparent-header
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
# https://www.w3.org/TR/trace-context/#tracestate-limits: so much of it has to be passed on.
_TRACESTATE = re.compile(r"[\x20-\x7e]{0,512}")
_RANKS = frozenset(map(str, range(1, USUAL_TOP_K + 1)))
# The stages of a worker that Server-Timing lists.
_STAGES = ("queue", "decode", "infer")
MAX_ID_LENGTH = 4096
SIGNATURE_BYTES = 16
# What separates an id's four facts, or five with an owner.
_SEPARATORS = (3, 4)

TOP_K = WholeNumber("top_k", "query", "number of classes in `predictions`, best first", 5, lambda: settings.MAX_TOP_K)
TIMEOUT_MS = WholeNumber(
    "X-Request-Timeout-Ms",
    "header",
    "deadline in milliseconds; requests still queued after it are discarded",
    5000,
    lambda: 24 * 3_600_000,
)
EXPLAIN = Text(
    "explain",
    "query",
    "add the heat map of a class, by rank (1 is the best, 5 the last) or name",
    "1",
    r"[^\x00-\x1f]{1,1000}",
)
RESPOND_ASYNC = "respond-async"
PREFER = Parameter(
    "Prefer", "header", "`respond-async`: return a job immediately and fetch its result later", RESPOND_ASYNC
)


@dataclass(frozen=True, slots=True)
class PredictOptions:
    """The options of a request for a prediction, and what is known of its image.

    `top_k` is how many classes the answer lists; None for the three keys of the contract alone. `timeout_s` is how long
    the client waits; None for REQUEST_TIMEOUT_S. `explain` is a class whose heat map is wanted: its rank (from 1), its
    name, or 0 for none. `preview_side` is how long the sides of a preview are at most, 0 for none. `candidate` requests
    the answer of the shadow version, too. `owner` is the name
    of the caller's API key, empty without API keys.
    """

    top_k: int | None = None
    timeout_s: float | None = None
    explain: int | str = 0
    is_async: bool = False
    traceparent: str = ""
    tracestate: str = ""
    is_abandoned: Callable[[], bool] | None = None
    owner: str = ""
    # Whose share of the queue its job is a part of, empty for nobody's.
    client: str = ""
    job_id: str = ""
    # With the SHA-256 of the uploaded bytes the cache is used, and an answer about other bytes is refused.
    sha256: str = ""
    # The estimate of wire.decode_cost.
    decode_ms: int = 0
    preview_side: int = 0
    candidate: bool = False

    @classmethod
    def of(cls, request: Request, *, reads_choices: bool = True) -> Self:
        """Read the options of a request; raise Problem naming the one that is not valid.

        Without `reads_choices`, as for the page's form, what query and headers may choose elsewhere is ignored.
        """
        query, headers = (request.args, request.headers) if reads_choices else ({}, Headers())
        timeout_ms = TIMEOUT_MS.read(request) if TIMEOUT_MS.name in headers else None
        explain = EXPLAIN.read(request) if EXPLAIN.name in query else None
        traceparent, tracestate = request.headers.get("traceparent", ""), request.headers.get("tracestate", "")
        owner = access.caller() if settings.API_KEYS_FILE else ""
        is_traced = _TRACEPARENT.fullmatch(traceparent) is not None
        return cls(
            top_k=TOP_K.read(request) if TOP_K.name in query else None,
            timeout_s=min(settings.REQUEST_TIMEOUT_S, (timeout_ms or float("inf")) / 1000),
            explain=_class_of(explain) if explain else 0,
            is_async=PREFER.name in headers and _prefers_async(request),
            traceparent=traceparent if is_traced else "",
            tracestate=tracestate if is_traced and _TRACESTATE.fullmatch(tracestate) else "",
            is_abandoned=request.environ.get("sightline.client_gone"),
            owner=owner,
            client=client_of(request.remote_addr, owner),
        )

    def with_form(self, request: Request) -> Self:
        """Return these options with those of the form's fields, for what the query does not choose; raise Problem."""
        form = request.form if request.mimetype == FORM else {}
        if not form:
            return self
        top_k = form.get(TOP_K.name) if TOP_K.name not in request.args else None
        explain = form.get(EXPLAIN.name) if EXPLAIN.name not in request.args else None
        if not (top_k or explain):
            return self
        return replace(
            self,
            top_k=TOP_K.parse(top_k) if top_k else self.top_k,
            explain=_class_of(EXPLAIN.parse(explain)) if explain else self.explain,
        )


def _class_of(text: str) -> int | str:
    """Return the class to explain: its rank, or its name."""
    return int(text) if text in _RANKS else text


def _prefers_async(request: Request) -> bool:
    """Return whether the client would rather not wait (RFC 7240)."""
    preferences = ",".join(request.headers.getlist(PREFER.name)).split(",")
    return any(each.partition(";")[0].strip().lower() == RESPOND_ASYNC for each in preferences)


# Passed outside the call: `model_predict` takes the image's name and nothing else, by contract.
current_options: ContextVar[PredictOptions] = ContextVar("current_options", default=PredictOptions())  # noqa: B039


class Prediction(tuple[str, float]):
    """The best class and its score as the worker answered them, with everything else that is known as attributes.

    `score` is rounded to 4 decimals. `predictions` are the best classes with their scores, best first. `model_version`
    is "<model>/<version>", empty where it is not known. `cache` is "hit" where the prediction cost no job of its own,
    "miss" where it did, and empty where the cache was not used. `warnings` are the names of what makes the answer
    doubtful. `timings` are milliseconds by stage.
    """

    label: str
    score: float
    filename: str
    job_id: str
    owner: str
    predictions: tuple[tuple[str, float], ...]
    model_version: str
    timings: Mapping[str, float]
    cache: str
    activation_map: ActivationMap | None
    warnings: tuple[str, ...]

    def __new__(  # noqa: PLR0913  what is known of a prediction
        cls,
        best: tuple[str, float],
        filename: str = "",
        job_id: str = "",
        owner: str = "",
        *,
        answer: Answer | None = None,
        model_version: str = "",
        cache: str = "",
    ) -> Self:
        """Make a prediction of its best class, and of the whole answer where there is one."""
        prediction = super().__new__(cls, best)
        prediction.label, prediction.score = str(best[0]), round(float(best[1]), 4)
        prediction.filename, prediction.job_id, prediction.owner = filename, job_id, owner
        prediction.predictions, prediction.model_version, prediction.cache = (best,), model_version, cache
        prediction.timings, prediction.activation_map, prediction.warnings = {}, None, ()
        if answer is not None:
            prediction.predictions, prediction.activation_map = answer.predictions, answer.activation_map
            prediction.model_version = f"{answer.model}/{answer.version}".strip("/")
            prediction.warnings = answer.warnings
            # Those of another request's job are not this one's.
            prediction.timings = answer.timings if cache != "hit" else {}
        return prediction

    def top(self, count: int) -> list[tuple[str, float]]:
        """Return the best classes with rounded scores, as many as were requested and are known."""
        return [(str(label), round(float(score), 4)) for label, score in self.predictions[:count]]

    def to_json(
        self, top_k: int | None = None, explanation: Explanation | None = None, *, is_full: bool = False
    ) -> PredictResponse:
        """Return the prediction as a document: the three keys of the contract, and more only on request."""
        document: PredictResponse = {"success": True, "prediction": self.label, "score": self.score}
        if top_k is not None:
            document["predictions"] = [{"label": label, "score": score} for label, score in self.top(top_k)]
        if explanation is not None:
            document["explanation"] = explanation
        if is_full or top_k is not None or explanation is not None:
            version = self.model_version or None
            document |= {"filename": self.filename, "prediction_id": self.id, "model_version": version}
            if self.warnings:
                document["warnings"] = list(self.warnings)
        return document

    def headers(self) -> dict[str, str]:
        """Return the headers of an answer to a program."""
        headers = {"X-Prediction-Id": self.id}
        if self.model_version:
            headers["X-Model-Version"] = self.model_version
        if self.cache:
            headers["X-Cache"] = self.cache
        if self.warnings:
            headers["X-Warnings"] = ", ".join(self.warnings)
        stages = ""
        for stage in _STAGES:
            if stage in self.timings:
                stages += f", {stage};dur={self.timings[stage]:.3g}"
        if stages:
            headers["Server-Timing"] = stages[2:]
        return headers

    @cached_property
    def id(self) -> str:
        """Return the id by which the prediction can be reported.

        It is the job's id, a dot, and a signed note of image, class, score, model, and of the owner where there is one.
        A client can neither forge nor change one. No process has to keep it, and it is valid as long as SECRET_KEY.
        """
        facts = [self.filename, self.label, repr(self.score), self.model_version]
        if self.owner:
            facts.append(self.owner)
        # No text may hold what separates them, or a class of that name would be read as further facts.
        texts = map(str.replace, facts, repeat("\0"), repeat("\ufffd"))
        note = "\0".join(texts).encode("utf-8", "replace")
        return f"{self.job_id}.{base64.urlsafe_b64encode(_signature(self.job_id, note) + note).rstrip(b'=').decode()}"

    @classmethod
    def of_id(cls, prediction_id: str) -> Self | None:
        """Return what was predicted under an id; None where it is not signed with this SECRET_KEY."""
        job_id, signature, note = _parts(prediction_id)
        if not hmac.compare_digest(signature, _signature(job_id, note)):
            return None
        filename, label, score, model_version, *owner = note.decode().split("\0")
        return cls((label, float(score)), filename, job_id, *owner, model_version=model_version)

    @staticmethod
    def has_form_of_id(text: str) -> bool:
        """Return whether a text has the form of an id, with any signature."""
        _, signature, note = _parts(text)
        return len(signature) == SIGNATURE_BYTES and note.count(b"\0") in _SEPARATORS


def _parts(prediction_id: str) -> tuple[str, bytes, bytes]:
    """Return the job's id, the signature and the note; both empty where the rest is not base64."""
    job_id, _, rest = prediction_id[: MAX_ID_LENGTH + 1].partition(".")
    try:
        signed = base64.urlsafe_b64decode(rest.encode("ascii") + b"=" * (-len(rest) % 4))
    except (UnicodeEncodeError, binascii.Error):
        signed = b""
    return job_id, signed[:SIGNATURE_BYTES], signed[SIGNATURE_BYTES:]


def _signature(job_id: str, note: bytes) -> bytes:
    message = job_id.encode("utf-8", "replace") + b"\0" + note
    return hmac.digest(_key(settings.SECRET_KEY), message, "sha256")[:SIGNATURE_BYTES]


@lru_cache(maxsize=1)
def _key(secret: str) -> bytes:
    """Derive a key for this one purpose."""
    return hashlib.sha256(b"sightline prediction id\0" + secret.encode()).digest()


def json_response(
    document: Mapping[str, object] | Sequence[Mapping[str, object]],
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return an answer to a program, as JSON in UTF-8."""
    response = WholeResponse(_to_json(document).encode(), status, content_type="application/json")
    if headers:
        response.headers.extend(headers)
    return response


_to_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


class WholeResponse(Response):
    """A response with a body of bytes, sent as it is; a Location in it is ASCII."""

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Send it, without its body to HEAD."""
        start_response(self.status, self.headers.to_wsgi_list())
        pieces: list[bytes] = self.response if environ["REQUEST_METHOD"] != "HEAD" else []  # type: ignore[assignment]
        return pieces
