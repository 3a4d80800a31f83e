"""The edge of the application: request ids, security headers, requests of other sites, and the session cookie."""

import json
import os
import re
import time
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

from flask import Flask, Request, Response, flash, request, session
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionMixin
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.routing import MapAdapter, Rule

import settings
from problems import Problem
from server import cors, path_prefix
from server.messages import DEFAULT_HEADERS, SECURITY_HEADERS

_DEFAULTS = {header[0].lower(): header for header in DEFAULT_HEADERS}
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_USUAL_HOST = re.compile(r"[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})*(?::[0-9]+)?")
# Of messages for the next page: in JSON, which base64 makes longer by a third; and of each.
MAX_FLASHED_BYTES = 2400
MAX_FLASHED_CHARACTERS = 300
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN_SITE = frozenset({"same-origin", "none"})

Environ = dict[str, Any]
Headers = list[tuple[str, str]]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]


def install(app: Flask) -> None:
    """Protect `app`, after everything else that wraps its WSGI application; raise SettingError."""
    cors.allowed_origins()
    app.session_interface = SessionBelowPath() if path_prefix.is_possible() else LazySession()
    app.before_request(_refuse_other_sites)
    count = settings.TRUSTED_PROXIES
    protected: Any = SecurityHeaders(app.wsgi_app)
    # Without proxies, any client may have written their headers.
    app.wsgi_app = ProxyFix(protected, x_for=count, x_proto=count, x_host=count) if count else protected  # type: ignore[method-assign]


class LazyRule(Rule):
    """A route that compiles its builders of addresses when they are first called; most of them never are.

    To compile all of them took a tenth of the processor time of loading the application.
    """

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        compiled = cache(super()._compile_builder)

        def build(rule: Rule, /, **values: Any) -> tuple[str, str]:
            return compiled(append_unknown)(rule, **values)

        return build


class Site(Flask):
    """Flask, without what it does for hosts and protocols that no route here depends on."""

    url_rule_class = LazyRule

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Return the routes for a request; raise SecurityError for a host that is not to be answered to.

        An unusual host is left to the framework.
        """
        if request is None:
            return super().create_url_adapter(request)
        request.trusted_hosts = self.config["TRUSTED_HOSTS"]
        host, environ = request.host, request.environ
        if not _USUAL_HOST.fullmatch(host):
            return super().create_url_adapter(request)
        # The environment has a character for each byte.
        path = environ.get("PATH_INFO", "").encode("latin-1").decode(errors="replace")
        query = environ.get("QUERY_STRING", "").encode("latin-1").decode(errors="replace")
        root = environ.get("SCRIPT_NAME", "").encode("latin-1").decode(errors="replace")
        scheme, method = environ["wsgi.url_scheme"], environ["REQUEST_METHOD"]
        return MapAdapter(self.url_map, host.lower(), root, "", scheme, path, method, query)


class SecurityHeaders:
    """WSGI middleware: gives each request an id and each response the security headers."""

    def __init__(self, application: Application) -> None:
        self._application = application

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Serve one request."""
        given = environ.get("HTTP_X_REQUEST_ID", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else os.urandom(16).hex()
        environ["sightline.request_id"] = request_id
        environ["sightline.started"] = time.perf_counter()

        def start(status: str, headers: Headers, *exc_info: Any) -> Any:
            missing = dict(_DEFAULTS)
            for name, _ in headers:
                missing.pop(name.lower(), None)
            headers.extend(SECURITY_HEADERS)
            headers.extend(missing.values())
            headers.append(("X-Request-Id", request_id))
            if settings.CORS_ORIGINS:
                headers.extend(cors.headers(environ.get("HTTP_ORIGIN"), environ["REQUEST_METHOD"]))
            return start_response(status, headers, *exc_info)

        return self._application(environ, start)


class LazySession(SecureCookieSessionInterface):
    """Opens the signed session cookie only where there is one; programs send none."""

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        """Return the session of a request."""
        if "HTTP_COOKIE" not in request.environ or self.get_cookie_name(app) not in request.cookies:
            return self.session_class()
        return super().open_session(app, request)

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Set the cookie, unless the session is empty and was never read."""
        if session or session.accessed or session.modified:
            super().save_session(app, session, response)


def flash_all(lines: Sequence[str]) -> None:
    """Show messages on the next page, as many as the session's cookie has room for, and how many more there are.

    A browser drops a cookie of more than 4 KB, and with it all messages.
    """
    left = MAX_FLASHED_BYTES - sum(map(_flashed_bytes, session.get("_flashes", ())))
    for number, line in enumerate(lines):
        shown = line if len(line) <= MAX_FLASHED_CHARACTERS else f"{line[: MAX_FLASHED_CHARACTERS - 1]}…"
        left -= _flashed_bytes(shown)
        if left < 0:
            flash(f"And {len(lines) - number} more.")
            break
        flash(shown)


def _flashed_bytes(content: object) -> int:
    return len(json.dumps(["message", content]))


class SessionBelowPath(LazySession):
    """The same of a service that may be found below a path."""

    def get_cookie_path(self, app: Flask) -> str:
        """Return the path that the cookie is for."""
        return path_prefix.cookie_path(request)


def _refuse_other_sites() -> None:
    """Raise Problem where a page of another site sent the request, unless CORS_ORIGINS allows it.

    Any page may act for itself where that is `*`, but not with what the visitor's browser has authenticated.
    """
    environ = request.environ
    if environ["REQUEST_METHOD"] in _SAFE_METHODS:
        return
    site, origin = environ.get("HTTP_SEC_FETCH_SITE"), environ.get("HTTP_ORIGIN")
    if site in _OWN_SITE or (site is None and origin is None):
        return
    allowed = cors.allowed_origins()
    if origin in allowed and not (allowed.is_any and _has_basic_credentials(request)):
        return
    # Without Sec-Fetch-Site: an older browser, or any browser where the page was loaded over plain HTTP.
    if site is not None or (origin or "").partition("://")[2] != request.host:
        raise Problem(403, "cross_site", "Requests from the pages of another site are refused.")


def _has_basic_credentials(request: Request) -> bool:
    """Return whether a request has credentials that a browser adds by itself, whichever page sends the request."""
    return request.authorization is not None and request.authorization.type == "basic"


def comes_from_our_page(request: Request) -> bool:
    """Return whether a browser sent the request from a page of ours: required where a cookie alone authorizes."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin", "")
    if site is not None:
        return site == "same-origin"
    return origin.partition("://")[2] == request.host
