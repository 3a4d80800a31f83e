"""Who is let in, and how often: API keys, the operator's key, and rates for each key or address.

All of it is off unless told: without API_KEYS_FILE and RATE_LIMIT, no request passes through here. The operator's
routes are the exception: they need the operator's key, always.
"""

import hmac
import ipaddress
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from flask import Flask, Request, current_app, g, has_app_context, redirect, request, url_for
from werkzeug.wrappers import Response as AnyResponse

import settings
from auth import api_keys, operator_session
from auth.api_keys import ApiKey, KeyFile, KeyFileError
from problems import Problem
from server import edge
from wire.rate_limit import Rate, RateLimiter
from wire.redis.connection import Address
from wire.settings import SettingError

View = TypeVar("View", bound=Callable[..., Any])

OPERATOR = "operator"
# No key of the file can have this name.
OPERATOR_KEY = ApiKey("@operator", b"")
# What these ask for costs next to nothing, and a page makes many of them.
UNCOUNTED_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# Whoever has one address of IPv6 has this many bits of them.
IPV6_NETWORK_BITS = 64


def open_to_all(view: View) -> View:
    """Mark a view that needs no API key, such as those that load balancers and supervisors request."""
    view.is_open_to_all = True  # type: ignore[attr-defined]
    return view


def costs_a_job(view: View) -> View:
    """Mark a view that counts for rate limits even by GET: a worker runs a job for it, or has run one."""
    view.costs_a_job = True  # type: ignore[attr-defined]
    return view


def caller() -> str:
    """Return the name under which the caller's pictures, jobs and predictions are kept.

    It is empty without API keys, and for a command, which no request has called.
    """
    key: ApiKey | None = g.get("api_key") if has_app_context() else None
    return "" if key is None else key.name


def may_use_all() -> bool:
    """Return whether the caller may use what others have sent: the operator may, and everybody without API keys."""
    # A browser may bring another key with the operator's cookie: it sends on what it was asked for on the page.
    return g.get("api_key") in {None, OPERATOR_KEY} or _has_operator_cookie()


def may_use(owner: str) -> bool:
    """Return whether the caller may use what belongs to this owner."""
    return may_use_all() or owner == caller()


def require_operator() -> AnyResponse | None:
    """Refuse who does not bring the operator's key, or a cookie; `before_request` of the operator's blueprints.

    A browser that goes somewhere is led to where it can show the key.
    """
    if is_operator_key(_key_of(request)) or _has_operator_cookie():
        return None
    if request.method == "GET" and "text/html" in request.headers.get("Accept", ""):
        return redirect(url_for("door.login"))
    raise Problem(401, "operator_key_needed", "This is for the operator: send the operator's key.")


def _has_operator_cookie() -> bool:
    """Say whether a cookie lets in; where something is changed, only if our own page surely sent the request."""
    if operator_session.name_of(request) is None:
        return False
    return request.method in UNCOUNTED_METHODS or edge.comes_from_our_page(request)


def install(app: Flask) -> None:
    """Guard `app` as the settings say; raises SettingError where they cannot be used."""
    rate = _told_rate()
    keys = _told_keys()
    if keys is not None:
        app.before_request(lambda: _authenticate(keys))
    if keys is not None or rate is not None:
        limiter = app.extensions["sightline.limiter"] = RateLimiter(_address(), settings.REDIS_QUEUE)
        app.before_request(lambda: _count(limiter, rate))


def _told_rate() -> Rate | None:
    try:
        return api_keys.parse_rate(settings.RATE_LIMIT) if settings.RATE_LIMIT else None
    except KeyFileError as error:
        raise SettingError(f"RATE_LIMIT={error}") from None


def _told_keys() -> KeyFile | None:
    try:
        return KeyFile(Path(settings.API_KEYS_FILE)) if settings.API_KEYS_FILE else None
    except KeyFileError as error:
        raise SettingError(f"API_KEYS_FILE={settings.API_KEYS_FILE!r} {error}") from None


def _address() -> Address:
    return Address(
        settings.REDIS_IP,
        settings.REDIS_PORT,
        settings.REDIS_DB_ID,
        settings.REDIS_SOCKET,
        settings.REDIS_USERNAME,
        settings.REDIS_PASSWORD,
    )


def _authenticate(keys: KeyFile) -> None:
    """Refuse who brings no key, or a wrong one, where one is needed."""
    if _needs_no_key():
        return
    key = _key_of(request)
    is_operator = is_operator_key(key) or (not key and _has_operator_cookie())
    g.api_key = OPERATOR_KEY if is_operator else keys.find(key) if key else None
    if g.api_key is None:
        said = "The key is not known." if key else "A key is needed: Authorization: Bearer <key>, or X-API-Key: <key>."
        raise Problem(401, "unauthorized", said)


def _needs_no_key() -> bool:
    """Say whether a view is for everybody; a browser that asks whether it may ask has no key to show yet."""
    if request.method == "OPTIONS" or request.endpoint in {None, "static"}:
        return True
    return _is_marked("is_open_to_all")


def _is_marked(mark: str) -> bool:
    return bool(getattr(current_app.view_functions.get(request.endpoint or ""), mark, False))


def _key_of(request: Request) -> str:
    """Give the key that came along, empty for none; a browser asks a person for it and sends it as a password."""
    given = request.authorization
    if given is None:
        return request.headers.get("X-API-Key", "")
    return (given.token or "") if given.type == "bearer" else (given.password or "")


def is_operator_key(key: str) -> bool:
    """Say whether this is the operator's key; how long it takes says nothing about how much of it was right."""
    known = settings.OPERATOR_KEY
    return bool(known) and hmac.compare_digest(api_keys.digest_of(known), api_keys.digest_of(key))


def _count(limiter: RateLimiter, usual: Rate | None) -> None:
    """Refuse who has asked too much; who has a key is counted by it, everybody else by address."""
    if request.method in UNCOUNTED_METHODS and (request.method == "OPTIONS" or not _is_marked("costs_a_job")):
        return
    key: ApiKey | None = g.get("api_key")
    if key is OPERATOR_KEY or (key is None and (is_operator_key(_key_of(request)) or _has_operator_cookie())):
        return
    rate = (key.rate if key is not None else None) or usual
    if rate is None:
        return
    wait_s = limiter.wait_s(f"key:{key.name}" if key is not None else _network_of(request.remote_addr), rate)
    if wait_s > 0:
        said = f"{rate.count} requests in {rate.period_s:g} s are allowed, and they are used up."
        raise Problem(429, "rate_limited", said, retry_after_s=math.ceil(wait_s))


def _network_of(address: str | None) -> str:
    """Give what belongs to one client: an address, or the network of one of IPv6."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is None:
        return str(ipaddress.ip_network((parsed, IPV6_NETWORK_BITS), strict=False))
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)
