"""A client of one service over HTTP."""

from __future__ import annotations

import json
import random
import secrets
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from email.message import Message
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, RemoteDisconnected
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from typing_extensions import Self  # typing has it from Python 3.11 on

TIMEOUT_S = 60.0
ALIVE_TIMEOUT_S = 5.0
# Statuses that mean "retry later", not "invalid image".
BUSY = frozenset({408, 429, 503, 504})
# Statuses that concern the client or the address, not an image.
OF_ALL_REQUESTS = frozenset({401, 403, 404})
# Images that a request may have.
MAX_BATCH = 16
_CLOSED_MEANWHILE = (RemoteDisconnected, ConnectionResetError, BrokenPipeError, ConnectionAbortedError)


class ServiceError(Exception):
    """An error response; `code` is stable, the message is for people."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code


class Refused(ServiceError):  # noqa: N818  the name says what happened
    """The service is busy or has no worker; retry after `retry_after_s` seconds."""

    def __init__(self, status: int, code: str, detail: str, retry_after_s: float) -> None:
        super().__init__(status, code, detail)
        self.retry_after_s = retry_after_s


class Unreachable(Exception):  # noqa: N818  the name says what happened
    """The service does not respond."""


class ScoredLabel(NamedTuple):
    """One class with its score."""

    label: str
    score: float


Guess = ScoredLabel  # deprecated, goes with the next version


@dataclass(frozen=True)
class Prediction:
    """An answer: the best classes, and what to report it by."""

    label: str
    score: float
    predictions: tuple[ScoredLabel, ...]
    id: str
    model_version: str

    @property
    def guesses(self) -> tuple[ScoredLabel, ...]:
        """Return `predictions`; a deprecated name, which goes with the next version."""
        return self.predictions


class Client:
    """Send requests to one service from any number of threads; each thread keeps its own connection.

    A request that is rejected as busy is retried up to `retries` times after its `Retry-After`.
    """

    def __init__(self, url: str, *, key: str = "", timeout_s: float = TIMEOUT_S, retries: int = 0) -> None:
        parts = urlsplit(url if "//" in url else f"http://{url}")
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"{url!r} is no address of a service; give one such as http://127.0.0.1:8000")
        self.url = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        self._kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._place = (parts.hostname, parts.port)
        self._path = parts.path.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._timeout_s = timeout_s
        self._retries = retries
        self._own = threading.local()
        self._opened: list[HTTPConnection] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection; the next question opens another."""
        opened, self._opened, self._own = self._opened, [], threading.local()
        for connection in opened:
            connection.close()

    def classify(self, image: bytes, *, top_k: int = 1) -> Prediction:
        """Return what is in an image; raise Refused, ServiceError or Unreachable."""
        headers = {"Content-Type": "application/octet-stream"}
        found = self._json("POST", f"/predict?top_k={top_k}", image, headers)
        try:
            return _prediction(found)
        except (KeyError, TypeError) as error:
            raise self._no_sightline(f"its answer to POST /predict has no usable {error}") from None

    def classify_batch(self, images: Sequence[bytes], *, top_k: int = 1) -> list[Prediction | ServiceError]:
        """Return what is in each of up to MAX_BATCH images, sent in one request: a prediction, or the error of one.

        Together they may be as large as one may be. Raise Refused, ServiceError or Unreachable where none is answered.
        """
        if len(images) < 2:  # of one, the answer is no list
            return [self._one(image, top_k) for image in images]
        body, kind = _form(images)
        found = self._json("POST", f"/predict?top_k={top_k}", body, {"Content-Type": kind})
        try:
            results = [self._outcome(each) for each in found["results"]]
        except (KeyError, TypeError) as error:
            raise self._no_sightline(f"its answer to POST /predict has no usable {error}") from None
        if len(results) != len(images):
            raise self._no_sightline(f"it answers {len(results)} of {len(images)} images")
        return results

    def report(self, prediction_id: str, *, label: str = "", comment: str = "") -> str:
        """Report that an answer was wrong, and what it should have been; return the report's id.

        The report is kept once, even where it has to be sent again over a new connection.
        """
        fields = {"prediction_id": prediction_id, "label": label, "comment": comment}
        body = json.dumps({name: text for name, text in fields.items() if text}).encode()
        headers = {"Content-Type": "application/json", "Idempotency-Key": secrets.token_hex(16)}
        found = self._json("POST", "/feedback", body, headers)
        try:
            return str(found["report_id"])
        except (KeyError, TypeError):
            raise self._no_sightline("its answer to POST /feedback has no report_id") from None

    def ready(self) -> dict[str, Any]:
        """Check whether an image would be answered now; raise Refused with the reason where it would not."""
        found = self._json("GET", "/readyz")
        if not isinstance(found, dict) or "model_version" not in found:
            raise self._no_sightline("its answer to GET /readyz has no model_version")
        return found

    def is_alive(self) -> bool:
        """Return whether the service answers at all, over a new connection, without waiting for long."""
        with Client(self.url, timeout_s=ALIVE_TIMEOUT_S) as other:
            try:
                return other._ask("GET", "/livez", b"", {})[0] == 200
            except Unreachable:
                return False

    def clock_ahead_s(self) -> float | None:
        """By how many seconds the service's clock is ahead of this machine's; None where it does not say."""
        _, headers, _ = self._ask("GET", "/livez", b"", {})
        try:
            return parsedate_to_datetime(headers["Date"]).timestamp() - time.time()
        except (TypeError, ValueError):
            return None

    def _one(self, image: bytes, top_k: int) -> Prediction | ServiceError:
        try:
            return self.classify(image, top_k=top_k)
        except Refused:
            raise
        except ServiceError as error:
            if error.status in OF_ALL_REQUESTS:
                raise
            return error

    @staticmethod
    def _outcome(found: Any) -> Prediction | ServiceError:
        """Return the outcome of one image of a batch."""
        if "problem" not in found:
            return _prediction(found)
        problem = found["problem"]
        status, code, detail = problem["status"], problem["code"], problem["detail"]
        return Refused(status, code, detail, 1.0) if status in BUSY else ServiceError(status, code, detail)

    def _json(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Any:
        for left in range(self._retries, 0, -1):
            try:
                return self._json_once(method, path, body, headers)
            except Refused as refusal:
                # Those that were refused together do not come again together.
                time.sleep(refusal.retry_after_s * random.uniform(1, 1 + 1 / (left + 1)))  # noqa: S311
        return self._json_once(method, path, body, headers)

    def _json_once(self, method: str, path: str, body: bytes, headers: dict[str, str] | None) -> Any:
        status, reply_headers, content = self._ask(method, path, body, headers or {})
        retry_after = reply_headers.get("Retry-After")
        try:
            document = json.loads(content)
        except ValueError:
            document = {}
        if status < 400:
            return document
        document = document if isinstance(document, dict) else {}
        code = str(document.get("code") or reply_headers.get("X-Error-Code") or f"http_{status}")
        detail = str(document.get("detail") or reply_headers.get("X-Error-Detail") or f"the service answers {status}")
        if status in BUSY:
            wait_s = float(retry_after) if retry_after is not None and retry_after.isdecimal() else 1.0
            raise Refused(status, code, detail, wait_s)
        raise ServiceError(status, code, detail)

    def _no_sightline(self, why: str) -> ServiceError:
        return ServiceError(200, "not_sightline", f"{self.url} is no Sightline service: {why}")

    def _ask(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, Message, bytes]:
        was_open = getattr(self._own, "connection", None) is not None
        try:
            return self._exchange(method, path, body, headers)
        except (OSError, HTTPException) as fault:
            # An idle connection may have been closed: try once again over a new one. A service that is slow or
            # has started to answer, has received the request.
            if not was_open or not isinstance(fault, _CLOSED_MEANWHILE):
                raise Unreachable(f"{self.url} does not answer: {fault or type(fault).__name__}") from fault
        try:
            return self._exchange(method, path, body, headers)
        except (OSError, HTTPException) as fault:
            raise Unreachable(f"{self.url} does not answer: {fault or type(fault).__name__}") from fault

    def _exchange(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, Message, bytes]:
        connection: HTTPConnection | None = getattr(self._own, "connection", None)
        if connection is None:
            connection = self._own.connection = self._kind(*self._place, timeout=self._timeout_s)
            self._opened.append(connection)
        is_whole = False
        try:
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, self._path + path, body or None, self._headers | headers)
                is_whole = True
            # A service may answer, and close, before it has read the whole body; the answer is there all the same.
            answer = connection.getresponse()
            found = answer.status, answer.headers, self._body(answer)
        except BaseException:
            self._forget(connection)
            raise
        if not is_whole:
            self._forget(connection)
        return found

    def _body(self, answer: HTTPResponse) -> bytes:
        try:
            return answer.read()
        except (OSError, HTTPException) as fault:
            raise Unreachable(f"{self.url} broke off its answer: {fault or type(fault).__name__}") from fault

    def _forget(self, connection: HTTPConnection) -> None:
        connection.close()
        with suppress(ValueError):  # the client was closed by another thread
            self._opened.remove(connection)
        self._own.connection = None


def _prediction(found: Any) -> Prediction:
    """Read an answer; raise KeyError or TypeError where it is none."""
    predictions = tuple(ScoredLabel(each["label"], each["score"]) for each in found["predictions"])
    return Prediction(
        found["prediction"], found["score"], predictions, found["prediction_id"], found["model_version"] or ""
    )


def _form(images: Sequence[bytes]) -> tuple[bytes, str]:
    """Return a multipart form with a file for each image, and its media type."""
    boundary = secrets.token_hex(16)  # in no image
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="image"\r\n\r\n'.encode()
    body = b"".join(part for image in images for part in (head, image, b"\r\n"))
    return b"%b--%b--\r\n" % (body, boundary.encode()), f"multipart/form-data; boundary={boundary}"
