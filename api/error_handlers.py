"""Error handlers: the one place that chooses the HTTP status and the problem document of an exception."""

import errno
import logging
import math
import os
import secrets
import socket
import time
from collections.abc import Callable, Mapping

from flask import Flask, Response, current_app, render_template, request
from flask.globals import request_ctx
from gunicorn.http.errors import NoMoreData, ParseException
from werkzeug.exceptions import HTTPException, MethodNotAllowed

import problems
import settings
from openapi.negotiation import wants_page
from problems import Problem, UnusableFile
from storage import errors as storage_errors
from wire import JobFailed
from wire import errors as wire_errors

LOG = logging.getLogger("sightline.api")

# The status and the code for each reason of a worker.
_FAILURES: Mapping[str, tuple[int, str]] = {
    "unsupported_type": (415, "unsupported_type"),
    "image_too_large": (422, "image_too_large"),
    "image_broken": (422, "image_broken"),
    "not_explainable": (422, "not_explainable"),
    "expired": (504, "deadline_exceeded"),
    "not_ready": (503, "not_ready"),
    "image_missing": (500, "image_missing"),
    "storage_unavailable": (503, "storage_unavailable"),
    "poison": (500, "poison"),
}
_WIRE_ERRORS: Mapping[type[wire_errors.WireError], tuple[int, str, str]] = {
    wire_errors.QueueUnavailable: (503, "redis_unavailable", "The queue cannot be reached."),
    wire_errors.DeadlineExceeded: (504, "deadline_exceeded", ""),
    wire_errors.Abandoned: (408, "client_gone", "The client disconnected before the answer was there."),
    wire_errors.OrderKeyReused: (
        422,
        "idempotency_key_reused",
        "This Idempotency-Key came with another order before.",
    ),
    wire_errors.UnknownJob: (404, "unknown_job", "There is no such job; answers are kept for two minutes."),
}
# An empty detail is that of the error.
_STORAGE_ERRORS: Mapping[type[storage_errors.StorageError], tuple[int, str, str]] = {
    storage_errors.StorageStuck: (503, "storage_stuck", ""),
    storage_errors.IndexUnfinished: (503, "storage_stuck", ""),
    storage_errors.StorageFull: (507, "storage_full", "The service's disk is full."),
    storage_errors.ReportsFull: (507, "storage_full", ""),
    storage_errors.StorageUnavailable: (503, "storage_unavailable", "The storage of images cannot be used now."),
    storage_errors.DatabaseUnavailable: (503, "database_unavailable", "The reports' database cannot be used now."),
    storage_errors.SchemaMismatch: (503, "database_schema", ""),
    storage_errors.KeyReused: (422, "idempotency_key_reused", "This Idempotency-Key came with another report before."),
}
# The framework's own errors; others are named by their status.
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
# Each kind of disk error is logged at most this often: every request would fail the same way.
LOG_DISK_EVERY_S = 10.0
_disk_logged_at: dict[int, float] = {}

Page = Callable[[Problem], str]


def install(app: Flask, pages: Mapping[str, Page]) -> None:
    """Answer every failure in `app`; `pages` maps endpoints to functions that render a failure as their own page."""

    def answer(error: Exception) -> Response:
        problem = problem_of(error)
        if problem is None:
            LOG.error("request %s failed", request_id(), exc_info=error)
            problem = Problem(500, "internal", "The service failed; its log has the reason, under this request_id.")
        request.environ["sightline.outcome"] = problem.code
        return _response(problem, pages)

    app.register_error_handler(Exception, answer)


def request_id() -> str:
    """Return the id of the current request, which its response carries."""
    return str(request.environ.get("sightline.request_id", ""))


def instance() -> str:
    """Return the path of the current request, as its client knows it."""
    return f"{request.script_root}{request.path}"


def problem_of(error: Exception) -> Problem | None:
    """Return the problem to send to the client; None where it is a fault of the service without a code of its own."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, wire_errors.WireError):
        return _of_wire(error)
    if isinstance(error, HTTPException):
        return _of_framework(error)
    if isinstance(error, ParseException | NoMoreData):
        return Problem(400, "malformed", "The request's body is not valid HTTP, or it ends too early.")
    if isinstance(error, storage_errors.StorageError):
        return _of_storage(error)
    return _of_disk(error) if isinstance(error, OSError) else None


def _of_wire(error: wire_errors.WireError) -> Problem | None:
    if isinstance(error, wire_errors.QueueFull):
        # 1 to 5 s.
        wait_s = math.ceil(error.retry_after_s) - 1 + problems.soon()
        return Problem(503, "queue_full", f"The service is busy: {error}.", retry_after_s=wait_s)
    if isinstance(error, wire_errors.NoWorker):
        reason = f" One could not start: {error.startup_error}" if error.startup_error else ""
        return Problem(503, "no_worker", f"No model worker is running.{reason}", retry_after_s=problems.soon())
    if isinstance(error, wire_errors.NotReplicated):
        return Problem(503, "not_replicated", f"The job was not accepted: {error}.", retry_after_s=problems.soon())
    if isinstance(error, JobFailed):
        status, code = _FAILURES.get(error.failure.code, (500, ""))
        detail = error.failure.detail
    else:
        status, code, detail = _WIRE_ERRORS.get(type(error), (500, "", ""))
    if advice := getattr(error, "advice", ""):
        detail = f"The queue cannot be used: {advice}."
    if not code:
        return None
    if not detail:
        timeout = f"{settings.REQUEST_TIMEOUT_S:g} s unless the client requests less"
        detail = f"No answer within the timeout, which is {timeout}."
    return Problem(status, code, detail, retry_after_s=problems.soon() if status in {503, 504} else None)


def _of_storage(error: storage_errors.StorageError) -> Problem | None:
    if isinstance(error, storage_errors.DecidedMeanwhile):
        label = f" as {error.label}" if error.label else ""
        detail = f"{error.reviewer} has decided about this report meanwhile: it is {error.status}{label}."
        return Problem(409, "decided_meanwhile", detail)
    status, code, detail = _STORAGE_ERRORS.get(type(error), (500, "", ""))
    if isinstance(error, storage_errors.StorageUnavailable):
        _log_now_and_then(0, error)
        if error.advice:
            detail = f"The storage of images cannot be used now: {error.advice}."
    if not code:
        return None
    waiting_s = {503: problems.soon(), 507: problems.STORAGE_RETRY_S}.get(status)
    return Problem(status, code, detail or str(error), retry_after_s=waiting_s)


def _of_disk(error: OSError) -> Problem | None:
    """Return the problem of a failing disk; None for an error that is not the disk's.

    Requests use nothing else of the operating system: the errors of Redis and of clients are handled elsewhere.
    """
    if error.errno is None or isinstance(error, ConnectionError | TimeoutError | socket.gaierror):
        return None
    _log_now_and_then(error.errno, error)
    retry_after_s = 30 + secrets.randbelow(30)
    if error.errno in _DISK_FULL:
        return Problem(507, "storage_full", "The service's disk is full.", retry_after_s=retry_after_s)
    detail = f"The service's storage cannot be used: {os.strerror(error.errno)}."
    return Problem(503, "storage_unavailable", detail, retry_after_s=retry_after_s)


def _log_now_and_then(kind: int, error: Exception) -> None:
    if time.monotonic() - _disk_logged_at.get(kind, -LOG_DISK_EVERY_S) >= LOG_DISK_EVERY_S:
        _disk_logged_at[kind] = time.monotonic()
        LOG.error("the storage failed: %s", error)


def _of_framework(error: HTTPException) -> Problem:
    status = error.code or 500
    code = _CODES.get(status, f"http_{status}")
    if status == 404:
        return Problem(404, code, "Not found: check the path.")
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted(error.valid_methods or ()))
        detail = f"{request.method} is not allowed here; allowed are {allowed}."
        return Problem(405, code, detail, headers={"Allow": allowed})
    if status == 413:
        return Problem(413, code, f"The request is too large; an image may have {settings.MAX_UPLOAD_BYTES} bytes.")
    return Problem(status, code, error.description or error.name)


def _response(problem: Problem, pages: Mapping[str, Page]) -> Response:
    headers = problem.headers()
    if request_ctx.url_adapter is None:
        # Of a host that is not trusted; pages have links all the same.
        request_ctx.url_adapter = current_app.url_map.bind("", script_name=request.root_path)
    page = pages.get(request.endpoint or "")
    if page is not None:
        return Response(page(problem), problem.status, headers)
    is_predict = request.endpoint == PREDICT
    if is_predict and isinstance(problem, UnusableFile) and not _accepts_problems():
        # The three keys of the contract and nothing else.
        return Response(problems.MALFORMED_BODY, 400, headers, mimetype="application/json")
    # A browser that navigates accepts HTML; programs do not ask for it.
    if not is_predict and request.blueprint != PROTOCOLS and wants_page(request):
        text = render_template("error.html", status=problem.status, message=problem.detail)
        return Response(text, problem.status, headers)
    body = problem.body(instance=instance(), request_id=request_id())
    return current_app.response_class(body, problem.status, headers, content_type=problems.MEDIA_TYPE)


def _accepts_problems() -> bool:
    return any(kind == problems.MEDIA_TYPE and quality > 0 for kind, quality in request.accept_mimetypes)
