"""Traces of requests, in OpenTelemetry's form; off unless OTEL_TRACES_EXPORTER names a destination.

Off, nothing of OpenTelemetry is even loaded. spans.py makes the spans.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Final

from flask import Flask, Response, request

import settings

if TYPE_CHECKING:
    from observability.spans import Spans

UNTRACED: Final = nullcontext()


class _State:
    """The maker of spans of this process; None while requests are not traced."""

    spans: "Spans | None" = None


# Callers test `state.spans` before they record anything.
state = _State()


def install(app: Flask) -> None:
    """Have the requests of `app` traced, if that is enabled, from `start` on."""
    if settings.OTEL_TRACES_EXPORTER != "none":
        inner: Any = app.wsgi_app

        def traced(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            spans = state.spans
            answered: Iterable[bytes] = (
                inner(environ, start_response) if spans is None else spans.serve(inner, environ, start_response)
            )
            return answered

        app.wsgi_app = traced  # type: ignore[method-assign]
        app.after_request(_keep_route)


def _keep_route(response: Response) -> Response:
    """Let the span know the route, which is forgotten by its end."""
    if request.url_rule is not None:
        request.environ["sightline.route"] = request.url_rule.rule
    return response


def start() -> None:
    """Start to create and send spans, if that is enabled."""
    if settings.OTEL_TRACES_EXPORTER != "none":
        from observability.spans import Spans  # noqa: PLC0415  loaded where it is wanted, and nowhere else

        state.spans = Spans()


def stop() -> None:
    """Send the last spans, and make no more."""
    spans, state.spans = state.spans, None
    if spans is not None:
        spans.stop()


def admission(traceparent: str, tracestate: str) -> AbstractContextManager[object]:
    """Return what to hold while a job is brought into the queue."""
    return UNTRACED if state.spans is None else state.spans.admission(traceparent, tracestate)
