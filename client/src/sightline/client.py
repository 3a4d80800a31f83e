"""One service, asked over HTTP."""

from __future__ import annotations

import json
import secrets
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from email.message import Message
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

TIMEOUT_S = 60.0
ALIVE_TIMEOUT_S = 5.0
# What says "not now" rather than "not this image".
BUSY = frozenset({408, 429, 503, 504})


class ServiceError(Exception):
    """The service did not answer as hoped; `code` is stable, the message is for people."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code


class Refused(ServiceError):  # noqa: N818  the name says what happened
    """Not now: the service is busy, or has no worker. `retry_after_s` says when to come again."""

    def __init__(self, status: int, code: str, detail: str, retry_after_s: float) -> None:
        super().__init__(status, code, detail)
        self.retry_after_s = retry_after_s


class Unreachable(Exception):  # noqa: N818  the name says what happened
    """Nobody answers at the address."""


class Guess(NamedTuple):
    """One class that it may be."""

    label: str
    score: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """An answer: the best classes, and what to report it by."""

    label: str
    score: float
    guesses: tuple[Guess, ...]
    id: str
    model_version: str


class Client:
    """Asks one service, from any number of threads; each keeps a connection of its own."""

    def __init__(self, url: str, *, key: str = "", timeout_s: float = TIMEOUT_S) -> None:
        parts = urlsplit(url if "//" in url else f"http://{url}")
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"{url!r} is no address of a service; give one such as http://127.0.0.1:8000")
        self.url = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        self._kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._place = (parts.hostname, parts.port)
        self._path = parts.path.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._timeout_s = timeout_s
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

    def classify(self, picture: bytes, *, top_k: int = 1) -> Prediction:
        """Return what is in an image; raise Refused, ServiceError or Unreachable."""
        headers = {"Content-Type": "application/octet-stream"}
        found = self._json("POST", f"/predict?top_k={top_k}", picture, headers)
        try:
            guesses = tuple(Guess(each["label"], each["score"]) for each in found["predictions"])
            told = found["prediction_id"], found["model_version"] or ""
            return Prediction(found["prediction"], found["score"], guesses, *told)
        except (KeyError, TypeError) as error:
            raise self._no_sightline(f"its answer to POST /predict has no usable {error}") from None

    def report(self, prediction_id: str, *, label: str = "", comment: str = "") -> str:
        """Report that an answer was wrong, and what it should have been; return the report's id.

        The report is kept once, even where it has to be sent again over a new connection.
        """
        told = {"prediction_id": prediction_id, "label": label, "comment": comment}
        body = json.dumps({name: text for name, text in told.items() if text}).encode()
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

    def _json(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Any:
        status, told, content = self._ask(method, path, body, headers or {})
        retry_after = told.get("Retry-After")
        try:
            document = json.loads(content)
        except ValueError:
            document = {}
        if status < 400:
            return document
        document = document if isinstance(document, dict) else {}
        code = str(document.get("code") or told.get("X-Error-Code") or f"http_{status}")
        detail = str(document.get("detail") or told.get("X-Error-Detail") or f"the service answers {status}")
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
            if not was_open:
                raise Unreachable(f"{self.url} does not answer: {fault or type(fault).__name__}") from fault
        # A connection that was kept may have been closed since: once more over a new one.
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
            found = answer.status, answer.headers, answer.read()
        except BaseException:
            self._forget(connection)
            raise
        if not is_whole:
            self._forget(connection)
        return found

    def _forget(self, connection: HTTPConnection) -> None:
        connection.close()
        self._opened.remove(connection)
        self._own.connection = None
