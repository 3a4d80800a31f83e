"""From whatever went wrong to what the client is told: the one place that chooses an HTTP status for an exception."""

import errno
import logging
import math
import os
import secrets
import socket
import time
from collections.abc import Callable, Mapping

from flask import Flask, Response, current_app, render_template, request
from gunicorn.http.errors import NoMoreData, ParseException
from werkzeug.exceptions import HTTPException, MethodNotAllowed

import problems
import settings
from problems import Problem, UnusableFile
from wire import errors as wire_errors
from wire.messages import JobFailed

LOG = logging.getLogger("sightline.api")

# What a worker says of one picture.
_FAILURES: Mapping[str, tuple[int, str]] = {
    "unsupported_type": (415, "unsupported_type"),
    "image_too_large": (422, "image_too_large"),
    "image_broken": (422, "image_broken"),
    "not_explainable": (422, "not_explainable"),
    "expired": (504, "deadline_exceeded"),
    "image_missing": (500, "image_missing"),
    "poison": (500, "poison"),
}
# What the framework raises by itself; the others go by their status.
_CODES: Mapping[int, str] = {
    400: "malformed",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_type",
}
PREDICT = "app_router.predict"
PROTOCOLS = "protocols"
_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# Each kind of failing disk is logged at most this often; every request would fail alike.
LOG_DISK_EVERY_S = 10.0
_disk_logged_at: dict[int, float] = {}

Page = Callable[[Problem], str]


def install(app: Flask, pages: Mapping[str, Page]) -> None:
    """Answer every failure in `app`; `pages` names the endpoints whose failures are shown on a page of their own."""

    def answer(error: Exception) -> Response:
        problem = problem_of(error)
        if problem is None:
            LOG.error("request %s failed", request_id(), exc_info=error)
            problem = Problem(500, "internal", "The service failed; its log says why, under this request_id.")
        request.environ["sightline.outcome"] = problem.code
        if isinstance(error, UnusableFile) and _gets_the_fixed_body():
            return Response(problems.MALFORMED_BODY, 400, problem.headers(), mimetype="application/json")
        return _response(problem, pages)

    app.register_error_handler(Exception, answer)


def request_id() -> str:
    """Give the id of the request at hand, which every answer carries."""
    return str(request.environ.get("sightline.request_id", ""))


def problem_of(error: Exception) -> Problem | None:
    """Say what the client is told; None where it is a fault of ours that tells nobody anything."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, wire_errors.WireError):
        return _of_wire(error)
    if isinstance(error, HTTPException):
        return _of_framework(error)
    if isinstance(error, ParseException | NoMoreData):
        return Problem(400, "malformed", "The request's body is not HTTP as it should be, or it ends too early.")
    if isinstance(error, OSError):
        return _of_the_disk(error)
    return None


def _of_the_disk(error: OSError) -> Problem | None:
    """Return the problem of a disk that does not serve; None for what is no fault of a disk.

    Requests reach nothing else of the operating system: Redis has errors of its own, and so has a client that leaves.
    """
    if error.errno is None or isinstance(error, ConnectionError | TimeoutError | socket.gaierror):
        return None
    if time.monotonic() - _disk_logged_at.get(error.errno, -LOG_DISK_EVERY_S) >= LOG_DISK_EVERY_S:
        _disk_logged_at[error.errno] = time.monotonic()
        LOG.error("the disk does not serve: %s", error)
    retry_after_s = 30 + secrets.randbelow(30)
    if error.errno in _DISK_FULL:
        return Problem(507, "storage_full", "The service's disk is full.", retry_after_s=retry_after_s)
    detail = f"The service's storage cannot be used: {os.strerror(error.errno)}."
    return Problem(503, "storage_unavailable", detail, retry_after_s=retry_after_s)


def _of_wire(error: wire_errors.WireError) -> Problem | None:  # noqa: PLR0911  one return for each kind of failure
    if isinstance(error, wire_errors.QueueFull):
        wait = math.ceil(error.retry_after_s) - 1 + problems.soon()
        return Problem(503, "queue_full", f"The service is busy: {error}.", retry_after_s=wait)
    if isinstance(error, wire_errors.NoWorker):
        return Problem(503, "no_worker", _no_worker(error), retry_after_s=problems.soon())
    if isinstance(error, wire_errors.QueueUnavailable):
        return Problem(503, "redis_unavailable", "The queue cannot be reached.", retry_after_s=problems.soon())
    if isinstance(error, wire_errors.DeadlineExceeded):
        return Problem(504, "deadline_exceeded", _late(), retry_after_s=problems.soon())
    if isinstance(error, wire_errors.Abandoned):
        return Problem(408, "client_gone", "The client went away before the answer was there.")
    if isinstance(error, JobFailed) and error.failure.code == "not_ready":
        return Problem(503, "not_ready", f"{error.failure.detail}.", retry_after_s=problems.soon())
    if isinstance(error, wire_errors.UnknownJob):
        return Problem(404, "unknown_job", "There is no such job; answers are kept for two minutes.")
    if isinstance(error, JobFailed) and error.failure.code in _FAILURES:
        status, code = _FAILURES[error.failure.code]
        return Problem(status, code, error.failure.detail or _late())
    return None


def _no_worker(error: wire_errors.NoWorker) -> str:
    reason = f" One could not start: {error.startup_error}" if error.startup_error else ""
    return f"No model worker is running.{reason}"


def _late() -> str:
    return (
        f"No answer within the time given, which is {settings.REQUEST_TIMEOUT_S:g} s unless the client asks for less."
    )


def _of_framework(error: HTTPException) -> Problem:
    status = error.code or 500
    code = _CODES.get(status, f"http_{status}")
    if status == 404:
        return Problem(404, code, "There is nothing at this address.")
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted(error.valid_methods or ()))
        return Problem(405, code, f"{request.method} is not for this address; it takes {allowed}.", allow=allowed)
    if status == 413:
        return Problem(413, code, f"The request is too large; a picture may have {settings.MAX_UPLOAD_BYTES} bytes.")
    return Problem(status, code, error.description or error.name)


def _response(problem: Problem, pages: Mapping[str, Page]) -> Response:
    page = pages.get(request.endpoint or "")
    if page is not None:
        return Response(page(problem), problem.status, problem.headers())
    if _asks_for_a_page():
        text = render_template("error.html", status=problem.status, message=problem.detail)
        return Response(text, problem.status, problem.headers())
    body = problem.body(instance=request.path, request_id=request_id())
    return current_app.response_class(body, problem.status, problem.headers(), content_type=problems.MEDIA_TYPE)


def _gets_the_fixed_body() -> bool:
    """Return whether a request without a usable file gets the three keys of the contract and nothing else."""
    wants_problem = any(kind == problems.MEDIA_TYPE and quality > 0 for kind, quality in request.accept_mimetypes)
    return request.endpoint == PREDICT and not wants_problem


def _asks_for_a_page() -> bool:
    """Return whether a person reads the answer: a browser that navigates names HTML, programs do not."""
    if request.endpoint == PREDICT or request.blueprint == PROTOCOLS:
        return False
    return "text/html" in request.headers.get("Accept", "")
