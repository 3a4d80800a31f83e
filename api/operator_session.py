"""Who has shown the operator's key in a browser: a signed cookie, which says it again for half a day."""

import hashlib

from flask import Request, Response
from itsdangerous import BadData, URLSafeTimedSerializer

import settings

COOKIE = "sightline_operator"
LONGEST_S = 12 * 3600
MAX_NAME = 60


def begin(request: Request, response: Response, name: str) -> None:
    """Give the cookie to a browser; no other site's page makes it come along, and no script reads it."""
    response.set_cookie(
        COOKIE, _signer().dumps(name), max_age=LONGEST_S, httponly=True, samesite="Strict", secure=request.is_secure
    )


def end(response: Response) -> None:
    """Take the cookie away."""
    response.delete_cookie(COOKIE, httponly=True, samesite="Strict")


def name_of(request: Request) -> str | None:
    """Give the reviewer's name, None for everybody else; another operator's key makes every cookie void."""
    cookie = request.cookies.get(COOKIE)
    if not cookie or not settings.OPERATOR_KEY:
        return None
    try:
        return str(_signer().loads(cookie, max_age=LONGEST_S))
    except BadData:
        return None


def _signer() -> URLSafeTimedSerializer:
    key = hashlib.sha256(f"{settings.SECRET_KEY}\0{settings.OPERATOR_KEY}".encode()).digest()
    return URLSafeTimedSerializer(key, salt="sightline operator")
