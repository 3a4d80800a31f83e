"""Which model is served under a name that a client of another system requests."""

from collections.abc import Callable
from typing import Any

from flask import Blueprint, url_for

from openapi.operation import OF_THE_QUEUE
from predict import job_queue
from problems import Problem
from wire import QueueSnapshot
from wire.errors import NoWorker

# A name that matches any served model, for clients that have to name a model.
ANY_MODEL = "default"
OF_A_VERSION = "/versions/<version>"
OF_A_MODEL = (404, *OF_THE_QUEUE)


def route(
    router: Blueprint, path: str, name: str, view: Callable[..., Any], *methods: str, version: str = OF_A_VERSION
) -> None:
    """Add a view at a path in which {} is the place of a version: without one, and with one."""
    for suffix, part in (("", ""), ("_of_version", version)):
        router.add_url_rule(path.format(part), name + suffix, view, methods=methods or ("GET",))


def serving(model: str, version: str = "") -> QueueSnapshot:
    """Return what is served under this name, read from Redis now; raise the errors of `wire`, or Problem."""
    state = job_queue.refresh_queue_state()
    if not state.workers:
        raise NoWorker(state.startup_error)
    _check(state, model, version)
    return state


def served(model: str, version: str = "") -> QueueSnapshot:
    """Return what is served under this name, or was before the workers went; raise as `serving` does."""
    state = job_queue.queue_state()
    if state is None or not state.model:
        return serving(model, version)
    _check(state, model, version)
    return state


def _check(state: QueueSnapshot, model: str, version: str) -> None:
    if model not in {state.model, ANY_MODEL}:
        known = url_for(".metadata", model=state.model)
        raise Problem(404, "unknown_model", f"No model {model[:80]!r} is served; {state.model!r} is, at {known}.")
    if version not in {"", state.version}:
        raise Problem(404, "unknown_model", f"{state.model!r} is served as {state.version!r}, not {version[:80]!r}.")
