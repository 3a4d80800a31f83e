"""Pictures that come as text: base64 in JSON."""

import base64
import binascii
import json
from typing import Any

from flask import Request

import blocking
import settings
from forms import MAX_OVERHEAD_BYTES, MAX_PARTS
from uploads import BLOCKING_BYTES, UnusableFile

# Three bytes are four letters.
MAX_GROWTH = 4 / 3
MAX_PICTURES = MAX_PARTS


def limit(request: Request) -> None:
    """Let a body be as long as the largest picture is in base64."""
    request.max_content_length = int(settings.MAX_UPLOAD_BYTES * MAX_GROWTH) + MAX_OVERHEAD_BYTES


def pictures_of(request: Request) -> tuple[list[bytes], bool]:
    """Give the pictures of `{"image": "…"}` or `{"images": ["…", …]}`, and whether it is the list; UnusableFile."""
    limit(request)
    body = request.stream.read()
    return blocking.run(lambda: _parsed(body)) if len(body) > BLOCKING_BYTES else _parsed(body)


def _parsed(body: bytes) -> tuple[list[bytes], bool]:
    try:
        document: Any = json.loads(body)
    except (ValueError, RecursionError):
        raise UnusableFile("The body is not JSON.") from None
    if not isinstance(document, dict):
        raise UnusableFile('The body is no JSON object: send {"image": "<base64>"}.')
    if set(document) == {"image"}:
        return [decode(document["image"])], False
    images = document["images"] if set(document) == {"images"} else None
    if not isinstance(images, list) or not 1 <= len(images) <= MAX_PICTURES:
        raise UnusableFile(f'Send {{"image": "<base64>"}}, or {{"images": […]}} with 1 to {MAX_PICTURES} of them.')
    return [decode(image) for image in images], True


def decode(text: Any) -> bytes:
    """Give the bytes of base64, with or without the head of a data URL before it; raises UnusableFile."""
    if not isinstance(text, str):
        raise UnusableFile("A picture in JSON is a string of base64.")
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise UnusableFile("A picture in JSON is a string of base64, and this one is none.") from None
