"""The path below which clients find the service: SCRIPT_NAME, or X-Forwarded-Prefix of trusted proxies.

A proxy passes on the path as it is, or without the prefix; both lead to the same routes, and so do the requests of
health checks, which reach this process without a proxy. All addresses that the application writes have to begin with
the prefix: `url_for` adds it.
"""

from collections.abc import Callable, Iterable
from typing import Any

from flask import Flask, Request

import settings
from wire.settings_parser import is_path_prefix

Environ = dict[str, Any]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]


def install(app: Flask) -> None:
    """Let `app` be found below a path, where the settings allow it, after everything else that wraps it."""
    if is_possible():
        app.wsgi_app = PathPrefix(app.wsgi_app, settings.SCRIPT_NAME, settings.TRUSTED_PROXIES)  # type: ignore[method-assign]


def is_possible() -> bool:
    """Return whether the settings let a request come below a path; most services have none."""
    return bool(settings.SCRIPT_NAME or settings.TRUSTED_PROXIES)


class PathPrefix:
    """WSGI middleware: writes the prefix of each request into SCRIPT_NAME, and the rest of its path into PATH_INFO.

    `prefix` is that of requests without a header; the header counts as far as `proxies` have written it.
    """

    def __init__(self, application: Application, prefix: str, proxies: int) -> None:
        self._application = application
        self._prefix = prefix
        self._proxies = proxies

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Serve one request."""
        environ["SCRIPT_NAME"] = self._forwarded(environ) or self._prefix
        path = environ["PATH_INFO"]
        if self._prefix and f"{path}/".startswith(f"{self._prefix}/"):
            environ["PATH_INFO"] = path[len(self._prefix) :] or "/"
        return self._application(environ, start_response)

    def _forwarded(self, environ: Environ) -> str:
        """Return what the trusted proxies have removed from the path, the outermost first; empty for nothing."""
        given = environ.get("HTTP_X_FORWARDED_PREFIX", "") if self._proxies else ""
        prefix = "".join(each.strip().rstrip("/") for each in given.split(",")[-self._proxies :])
        return prefix if is_path_prefix(prefix) else ""


def cookie_path(request: Request) -> str:
    """Return the path that a cookie is for: all of the service, and no other application of the same host."""
    return request.script_root or "/"
