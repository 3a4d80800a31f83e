"""The operator's session in a browser: a signed cookie, good for half a day or until somebody logs out with it.

Each session is also an empty file beside the reports, which all api processes share and which outlives them: a cookie
without its file is void, so that logging out ends every copy of the cookie. Only whoever shows the operator's key makes
such a file, and there are at most MOST_SESSIONS of them.
"""

import hashlib
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from flask import Request, Response
from itsdangerous import BadData, URLSafeTimedSerializer

import settings

COOKIE = "sightline_operator"
LONGEST_S = 12 * 3600
MAX_NAME = 60
MOST_SESSIONS = 100
FOLDER = ".operator_sessions"
_ID = re.compile(r"[0-9a-f]{32}")


class _Session(NamedTuple):
    """What a cookie says: who it was that showed the key, and which file stands for it."""

    name: str
    id: str

    @property
    def path(self) -> Path:
        """The file that exists as long as the session does."""
        return _folder() / self.id


def begin(request: Request, response: Response, name: str) -> None:
    """Give the cookie to a browser; no other site's page makes it come along, and no script reads it."""
    session = _Session(name, secrets.token_hex(16))
    _folder().mkdir(parents=True, exist_ok=True)
    _make_room()
    session.path.touch(mode=0o600)
    # Finer than the file system's own clock, for the order of sessions.
    os.utime(session.path, ns=(time.time_ns(), time.time_ns()))
    response.set_cookie(
        COOKIE, _signer().dumps(session), max_age=LONGEST_S, httponly=True, samesite="Strict", secure=request.is_secure
    )


def end(request: Request, response: Response) -> None:
    """End the session for every copy of its cookie, and take the cookie away."""
    session = _session_of(request)
    if session is not None:
        session.path.unlink(missing_ok=True)
    response.delete_cookie(COOKIE, httponly=True, samesite="Strict")


def name_of(request: Request) -> str | None:
    """Give the reviewer's name, None for everybody else; another operator's key makes every cookie void."""
    session = _session_of(request)
    return session.name if session is not None and session.path.exists() else None


def _session_of(request: Request) -> _Session | None:
    """Return what a cookie of ours says that is not too old, whether or not its session has ended."""
    cookie = request.cookies.get(COOKIE)
    if not cookie or not settings.OPERATOR_KEY:
        return None
    try:
        told = _signer().loads(cookie, max_age=LONGEST_S)
    except BadData:
        return None
    # An earlier release signed the name alone.
    if not isinstance(told, list) or len(told) != 2 or not all(isinstance(text, str) for text in told):
        return None
    return _Session(*told) if _ID.fullmatch(told[1]) else None


def _make_room() -> None:
    """Remove the files of sessions that are over, and the oldest of those that are too many for one more."""
    oldest = time.time() - LONGEST_S
    for number, (began_at, path) in enumerate(sorted(_began(), reverse=True), 2):
        if began_at < oldest or number > MOST_SESSIONS:
            path.unlink(missing_ok=True)


def _began() -> Iterator[tuple[float, Path]]:
    """Give when each session began, and its file."""
    for path in _folder().iterdir():
        with suppress(FileNotFoundError):  # another process has just ended it
            yield path.stat(follow_symlinks=False).st_mtime, path


def _folder() -> Path:
    return Path(settings.FEEDBACK_FILEPATH).parent / FOLDER


def _signer() -> URLSafeTimedSerializer:
    key = hashlib.sha256(f"{settings.SECRET_KEY}\0{settings.OPERATOR_KEY}".encode()).digest()
    return URLSafeTimedSerializer(key, salt="sightline operator")
