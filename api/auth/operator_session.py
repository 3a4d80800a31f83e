"""The operator's session in a browser: a signed cookie, valid for half a day or until someone logs out with it.

Each session is also an empty file next to the reports, which all api processes share: a cookie without its file is
void, so that logging out ends every copy of the cookie. Only who shows the operator's key makes such a file, and there
are at most MAX_SESSIONS of them.
"""

import hashlib
import os
import re
import secrets
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from flask import Request, Response
from itsdangerous import BadData, URLSafeTimedSerializer

import settings
from server import path_prefix

COOKIE = "sightline_operator"
MAX_AGE_S = 12 * 3600
MAX_NAME = 60
MAX_SESSIONS = 100
FOLDER = ".operator_sessions"
_ID = re.compile(r"[0-9a-f]{32}")


class _Session(NamedTuple):
    """The content of a cookie: the reviewer's name, and the name of the session's file."""

    name: str
    id: str

    @property
    def path(self) -> Path:
        """Return the file that exists as long as the session does."""
        return _folder() / self.id


def begin(request: Request, response: Response, name: str) -> None:
    """Give a browser a session; no page of another site makes it send the cookie, and no script reads it."""
    session = _Session(name, secrets.token_hex(16))
    _folder().mkdir(parents=True, exist_ok=True)
    _make_room()
    session.path.touch(mode=0o600)
    # Finer than the file system's own clock, for the order of sessions.
    os.utime(session.path, ns=(time.time_ns(), time.time_ns()))
    response.set_cookie(
        COOKIE,
        _signer().dumps(session),
        max_age=MAX_AGE_S,
        path=path_prefix.cookie_path(request),
        httponly=True,
        samesite="Strict",
        secure=request.is_secure,
    )


def end(request: Request, response: Response) -> None:
    """End the session for every copy of its cookie, and delete the cookie."""
    session = _session_of(request)
    if session is not None:
        session.path.unlink(missing_ok=True)
    response.delete_cookie(COOKIE, path_prefix.cookie_path(request), httponly=True, samesite="Strict")


def name_of(request: Request) -> str | None:
    """Return the reviewer's name, None without a session; another operator's key makes every cookie void."""
    session = _session_of(request)
    return session.name if session is not None and session.path.exists() else None


def _session_of(request: Request) -> _Session | None:
    """Return the content of a valid cookie, whether or not its session has ended."""
    cookie = request.cookies.get(COOKIE)
    if not cookie or not settings.OPERATOR_KEY:
        return None
    try:
        signed = _signer().loads(cookie, max_age=MAX_AGE_S)
    except BadData:
        return None
    # An earlier release signed the name alone.
    if not isinstance(signed, list) or len(signed) != 2 or not all(isinstance(text, str) for text in signed):
        return None
    return _Session(*signed) if _ID.fullmatch(signed[1]) else None


def _make_room() -> None:
    """Remove the files of expired sessions, and the oldest of those that leave no room for one more."""
    began = []
    for path in _folder().iterdir():
        with suppress(FileNotFoundError):  # another process has just ended it
            began.append((path.stat(follow_symlinks=False).st_mtime, path))
    expired = time.time() - MAX_AGE_S
    for number, (began_at, path) in enumerate(sorted(began, reverse=True), 2):
        if began_at < expired or number > MAX_SESSIONS:
            path.unlink(missing_ok=True)


def _folder() -> Path:
    return Path(settings.FEEDBACK_FILEPATH).parent / FOLDER


def _signer() -> URLSafeTimedSerializer:
    key = hashlib.sha256(f"{settings.SECRET_KEY}\0{settings.OPERATOR_KEY}".encode()).digest()
    return URLSafeTimedSerializer(key, salt="sightline operator")
