"""Access to the service: API keys, the operator's key, rate limits, and who may see which image.

Without API_KEYS_FILE and RATE_LIMIT, no request passes through here, except for the operator's routes, which always
need the operator's key.

Where API keys are used, the sender of an image is recorded next to the images. An image is named by its content, so
that several senders of the same bytes each may see it.
"""

import hmac
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from flask import Flask, Request, current_app, g, has_app_context, redirect, request, url_for
from werkzeug.wrappers import Response as AnyResponse

import settings
from auth import api_keys, operator_session
from auth.api_keys import ApiKey, KeyFile, KeyFileError
from openapi.negotiation import wants_page
from problems import Problem
from server import edge
from server.clients import network_of
from storage.images.port import ImageStore
from wire import RateLimiter
from wire.redis.address import address_of
from wire.settings_parser import SettingError

View = TypeVar("View", bound=Callable[..., Any])

OPERATOR = "operator"
# No key of the file can have this name.
OPERATOR_KEY = ApiKey("@operator", b"")
# Requests by these methods cost next to nothing, and a page sends many of them.
UNCOUNTED_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def open_to_all(view: View) -> View:
    """Mark a view that needs no API key, such as those that load balancers and supervisors request."""
    view.is_open_to_all = True  # type: ignore[attr-defined]
    return view


def costs_a_job(view: View) -> View:
    """Mark a view that counts for rate limits even by GET: a worker runs a job for it, or has run one."""
    view.costs_a_job = True  # type: ignore[attr-defined]
    return view


def install(app: Flask) -> None:
    """Guard `app` as the settings say; raise SettingError where they cannot be used."""
    try:
        limit = api_keys.parse_rate(settings.RATE_LIMIT) if settings.RATE_LIMIT else None
    except KeyFileError as error:
        raise SettingError(f"RATE_LIMIT={error}") from None
    try:
        keys = KeyFile(Path(settings.API_KEYS_FILE)) if settings.API_KEYS_FILE else None
    except KeyFileError as error:
        raise SettingError(f"API_KEYS_FILE={settings.API_KEYS_FILE!r} {error}") from None
    if keys is not None:
        app.before_request(lambda: _authenticate(keys))
    if keys is not None or limit is not None:
        limiter = RateLimiter(address_of(settings), settings.REDIS_QUEUE)
        app.extensions["sightline.rate_limit"] = limiter, limit
        app.before_request(_count_request)


def _authenticate(keys: KeyFile) -> None:
    """Refuse a request without a known key, where the view needs one."""
    # A preflight request of a browser cannot carry a key.
    if request.method == "OPTIONS" or request.endpoint in {None, "static"} or _is_marked("is_open_to_all"):
        return
    key = _key_of(request)
    is_operator = is_operator_key(key) or (not key and _has_operator_cookie())
    g.api_key = OPERATOR_KEY if is_operator else keys.find(key) if key else None
    if g.api_key is None:
        missing = "An API key is needed: send Authorization: Bearer <key>, or X-API-Key: <key>."
        raise Problem(401, "unauthorized", "The API key is not known." if key else missing)


def _count_request() -> None:
    """Count a request, unless its method costs next to nothing; raise Problem."""
    if request.method in UNCOUNTED_METHODS and (request.method == "OPTIONS" or not _is_marked("costs_a_job")):
        return
    _count(1)


def count_images(count: int) -> None:
    """Count each image of a request but the first, which the request itself counts as; raise Problem."""
    if count > 1 and "sightline.rate_limit" in current_app.extensions:
        _count(count - 1, images=count)


def _count(count: int, images: int = 1) -> None:
    """Refuse a caller above its rate limit: that of its key, or the default one for each key or address."""
    limiter, default = current_app.extensions["sightline.rate_limit"]
    key: ApiKey | None = g.get("api_key")
    if key is OPERATOR_KEY or (key is None and is_operator()):
        return
    limit = (key.rate if key is not None else None) or default
    if limit is None:
        return
    of_this = f"The limit of {limit.count} requests in {limit.period_s:g} s"
    if images > limit.count:
        detail = f"{of_this} has no room for {images} images, each of which counts as one. Send fewer at a time."
        raise Problem(429, "rate_limited", detail)
    wait_s = limiter.wait_s(f"key:{key.name}" if key is not None else network_of(request.remote_addr), limit, count)
    if wait_s > 0:
        raise Problem(429, "rate_limited", f"{of_this} is reached.", retry_after_s=math.ceil(wait_s))


def _is_marked(mark: str) -> bool:
    return bool(getattr(current_app.view_functions.get(request.endpoint or ""), mark, False))


def _key_of(request: Request) -> str:
    """Return the key of a request, empty for none; a browser prompts its user for it and sends it as a password."""
    given = request.authorization
    if given is None:
        return request.headers.get("X-API-Key", "")
    return (given.token or "") if given.type == "bearer" else (given.password or "")


def require_operator() -> AnyResponse | None:
    """Refuse a request without the operator's key or session; `before_request` of the operator's blueprints.

    A browser that navigates is redirected to the login page, which leads back here.
    """
    if is_operator():
        return None
    if request.method == "GET" and wants_page(request):
        return redirect(url_for("door.login", next=request.full_path.rstrip("?")))
    raise Problem(401, "operator_key_needed", "This needs the operator's key: send it as Authorization: Bearer <key>.")


def is_operator() -> bool:
    """Return whether the request comes with the operator's key or session."""
    return is_operator_key(_key_of(request)) or _has_operator_cookie()


def is_operator_key(key: str) -> bool:
    """Return whether this is the operator's key, in a time that does not depend on how much of it is right."""
    known = settings.OPERATOR_KEY
    return bool(known) and hmac.compare_digest(api_keys.digest_of(known), api_keys.digest_of(key))


def _has_operator_cookie() -> bool:
    """Return whether a session lets in; a request that changes something also has to come from our own page."""
    if operator_session.name_of(request) is None:
        return False
    return request.method in UNCOUNTED_METHODS or edge.comes_from_our_page(request)


def caller() -> str:
    """Return the name that owns the caller's images, jobs and predictions.

    It is empty without API keys, and in commands, which serve no request.
    """
    key: ApiKey | None = g.get("api_key") if has_app_context() else None
    return "" if key is None else key.name


def may_use_all() -> bool:
    """Return whether the caller may use what others have sent: the operator may, and everyone without API keys."""
    # A browser may send another key along with the operator's cookie.
    return g.get("api_key") in {None, OPERATOR_KEY} or _has_operator_cookie()


def may_use(owner: str) -> bool:
    """Return whether the caller may use what belongs to this owner."""
    return may_use_all() or owner == caller()


def record_owner(images: ImageStore, name: str) -> None:
    """Record the caller as a sender of a stored image."""
    owner = caller()
    if owner:
        images.add_owner(name, owner)


def may_see(images: ImageStore, name: str) -> bool:
    """Return whether the caller may see the image of a name: its senders may, and everyone without API keys."""
    return may_use_all() or images.has_owner(name, caller())
