"""Requests that count once however often they are sent: reports, and orders to the trainer.

A program sends the header `Idempotency-Key`. The forms of our pages have a field of the same meaning, which is
different each time a page is sent: reloading the response to a form, or pressing its button twice, changes nothing.
"""

import hashlib
import re
import secrets

from flask import Flask, Request

from auth import access
from openapi.operation import Text
from problems import Problem

KEY = Text(
    "Idempotency-Key",
    "header",
    "chosen by the client; a repeated request with the same key counts once",
    "8e03978e-40d5-43e8-bc93-6894a57f9324",
    r"[\x21-\x7e]{1,255}",
)
FIELD = "idempotency_key"
FIELD_MEANING = "chosen by the page; the same form with the same key counts once"
_FIELD_FORM = re.compile(r"[0-9a-f]{32}")
DIGEST_BYTES = 16


def install(app: Flask) -> None:
    """Let the templates call `new_key()`."""
    app.jinja_env.globals["new_key"] = lambda: secrets.token_hex(DIGEST_BYTES)


def key_of(request: Request) -> str:
    """Return the key under which a request counts once, empty for none; each API key has its own.

    A form that comes again with other content is another request: a browser may have kept its page. Raise Problem where
    the key has another form. The request's limit must be set before.
    """
    given = KEY.read(request)
    if given is None:
        given = "" if request.is_json else _of_form(request)
    return f"{access.caller()}\0{given}" if given else ""


def _of_form(request: Request) -> str:
    token = request.form.get(FIELD, "")
    if not token:
        return ""
    if not _FIELD_FORM.fullmatch(token):
        raise Problem(400, "invalid_parameter", f"{FIELD}={token[:40]!r} does not match {_FIELD_FORM.pattern}.")
    fields = sorted(request.form.items(multi=True))
    files = [(name, file.filename or "") for name, file in request.files.items(multi=True)]
    return f"page\0{token}\0{digest(*(text for pair in (*fields, *files) for text in pair)).hex()}"


def digest(*texts: str | bytes) -> bytes:
    """Return a digest of texts in their order."""
    parts = [text if isinstance(text, bytes) else text.encode("utf-8", "replace") for text in texts]
    return hashlib.sha256(b"\0".join(parts)).digest()[:DIGEST_BYTES]
