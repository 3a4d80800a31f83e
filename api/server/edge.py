"""The edge of the application: a request id, the security headers on every answer, and whose requests are let in."""

import re
import secrets
import time
from collections.abc import Callable, Iterable
from typing import Any

from flask import Flask, Request, Response, request
from werkzeug.middleware.proxy_fix import ProxyFix

import settings
from problems import Problem
from server.security_headers import DEFAULT_HEADERS, SECURITY_HEADERS

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN_SITE = frozenset({"same-origin", "none"})

Environ = dict[str, Any]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]


class Edge:
    """WSGI: what every answer carries, whatever made it; below the framework's cost for the same."""

    def __init__(self, application: Application) -> None:
        self._application = application

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Serve one request."""
        given = environ.get("HTTP_X_REQUEST_ID", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(16)
        environ["sightline.request_id"] = request_id
        environ["sightline.started"] = time.perf_counter()

        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            names = {name.lower() for name, _ in headers}
            headers.extend(SECURITY_HEADERS)
            headers.extend(header for header in DEFAULT_HEADERS if header[0].lower() not in names)
            headers.append(("X-Request-Id", request_id))
            return start_response(status, headers, *exc_info)

        return self._application(environ, start)


def install(app: Flask) -> None:
    """Guard `app`."""
    app.before_request(_refuse_other_sites)
    app.after_request(_open_to_told_origins)
    count = settings.TRUSTED_PROXIES
    edge: Any = Edge(app.wsgi_app)
    # Without proxies, what their headers say comes from anybody.
    app.wsgi_app = ProxyFix(edge, x_for=count, x_proto=count, x_host=count) if count else edge  # type: ignore[method-assign]


def _refuse_other_sites() -> None:
    if request.method not in _SAFE_METHODS and not _comes_from_here(request):
        raise Problem(403, "cross_site", "Requests from the pages of another site are refused.")


def _comes_from_here(request: Request) -> bool:
    """Say whether no browser, our own page, or a page of an origin told in CORS_ORIGINS sent the request."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site in _OWN_SITE:
        return True
    if origin is not None and origin in _told_origins():
        return True
    if site is not None:
        return False
    # Browsers without Sec-Fetch-Site, and any browser where the page came over plain HTTP.
    return origin is None or origin.partition("://")[2] == request.host


def comes_from_our_page(request: Request) -> bool:
    """Say whether a browser sent the request, from a page of ours: for what a cookie alone allows."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin", "")
    if site is not None:
        return site == "same-origin"
    return origin.partition("://")[2] == request.host


def _told_origins() -> frozenset[str]:
    return frozenset(settings.CORS_ORIGINS.replace(",", " ").split())


def _open_to_told_origins(response: Response) -> Response:
    if not settings.CORS_ORIGINS:
        return response
    response.vary.add("Origin")
    origin = request.headers.get("Origin")
    if origin in _told_origins():
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Expose-Headers"] = (
            "X-Request-Id, X-Prediction-Id, X-Model-Version, X-Cache, X-Error-Code, X-Error-Detail, "
            "Server-Timing, Retry-After"
        )
        if request.method == "OPTIONS":
            response.headers["Access-Control-Allow-Methods"] = "DELETE, GET, POST, PUT"
            response.headers["Access-Control-Allow-Headers"] = (
                "Authorization, Content-Type, Prefer, X-API-Key, X-Request-Id, X-Request-Timeout-Ms"
            )
            response.headers["Access-Control-Max-Age"] = "600"
    return response
