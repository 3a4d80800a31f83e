"""Failures as clients see them: RFC 9457 problem details with a stable `code`. No I/O, no framework."""

import json
import secrets
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Literal, TypedDict

MEDIA_TYPE = "application/problem+json"
# The contract's response to a request without a usable file, the same for every reason.
MALFORMED_BODY = b'{"success": false, "prediction": null, "score": null}'

# A disk that is full will be so for a while.
STORAGE_RETRY_S = 60

# Proxies limit the head of a response, often to 4 KiB.
MAX_HEADER_DETAIL = 300

# Programs send a bearer token; a browser prompts its user and sends the key as a password.
CHALLENGE = 'Bearer realm="Sightline", Basic realm="Sightline", charset="UTF-8"'


class ProblemDocument(TypedDict):
    """An error response (RFC 9457)."""

    type: str
    title: str
    status: Annotated[int, {"minimum": 400, "maximum": 599}]
    detail: Annotated[str, {"description": "description, with the invalid value and the limit"}]
    instance: str
    code: Annotated[
        str, {"description": "stable error code, for programs", "examples": ["queue_full", "image_too_large"]}
    ]
    request_id: str
    error: Annotated[str, {"description": "same as detail, for clients of the Open Inference Protocol"}]
    success: Literal[False]
    prediction: None
    score: None


class Problem(Exception):  # noqa: N818  RFC 9457 calls it a problem
    """A failure with its status, its stable code and its detail; `retry_after_s` where waiting helps.

    `headers` are those that this failure has beyond those of every one.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        retry_after_s: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.retry_after_s = retry_after_s
        self._headers = dict(headers or {})

    @property
    def title(self) -> str:
        """Return the reason phrase of the status."""
        return HTTPStatus(self.status).phrase

    def headers(self) -> dict[str, str]:
        """Return the headers of this failure: its code and detail, and what its status calls for."""
        headers = {"X-Error-Code": self.code, "X-Error-Detail": _header_value(self.detail)}
        if self.retry_after_s is not None:
            headers["Retry-After"] = str(self.retry_after_s)
        if self.status == 401:
            headers["WWW-Authenticate"] = CHALLENGE
        return headers | self._headers

    def body(self, *, instance: str, request_id: str) -> bytes:
        """Return the document as JSON."""
        return json.dumps(self.document(instance=instance, request_id=request_id)).encode()

    def document(self, *, instance: str, request_id: str) -> ProblemDocument:
        """Return the document; `error` repeats the detail for clients of the Open Inference Protocol."""
        return {
            "type": f"urn:sightline:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
            "code": self.code,
            "request_id": request_id,
            "error": self.detail,
            "success": False,
            "prediction": None,
            "score": None,
        }


class UnusableFile(Problem):
    """The request holds no file to work with, for a reason that the client can change."""

    def __init__(self, detail: str) -> None:
        super().__init__(400, "malformed", detail)


def _header_value(text: str) -> str:
    """Return the text as one line of printable ASCII, cut to MAX_HEADER_DETAIL characters."""
    line = " ".join(text.split()).encode("ascii", "backslashreplace").decode()
    printable = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in line)
    return printable if len(printable) <= MAX_HEADER_DETAIL else f"{printable[: MAX_HEADER_DETAIL - 3]}..."


def soon() -> int:
    """Return 1 to 3 seconds, at random, so that clients do not all retry at the same time."""
    return 1 + secrets.randbelow(3)


def texts(document: object, refusal: Problem) -> dict[str, str]:
    """Return the fields of a JSON object or a form, all of which are texts; raise `refusal` where they are not.

    Lone surrogates, which cannot be stored as UTF-8, become question marks.
    """
    if not isinstance(document, Mapping) or not all(isinstance(value, str) for value in document.values()):
        raise refusal
    return {name: value.encode("utf-8", "replace").decode() for name, value in document.items()}
