"""Pictures that come as text: base64 in JSON."""

import base64
import binascii
from typing import Any

from flask import Request
from werkzeug.datastructures import FileStorage

import settings
from images import json_stream, uploads
from images.json_stream import LongString, MalformedJson
from images.multipart import MAX_PARTS
from images.uploads import UnusableFile

# Three bytes are four letters.
MAX_GROWTH = 4 / 3
MAX_PICTURES = MAX_PARTS
EXPECTED = f'Send {{"image": "<base64>"}}, or {{"images": ["<base64>", ...]}} with 1 to {MAX_PICTURES} images.'
BASE64 = "standard base64 without line breaks, with or without data:image/...;base64, before it"


def limit(request: Request) -> None:
    """Let a body be as long as the largest picture is in base64."""
    request.max_content_length = int(settings.MAX_UPLOAD_BYTES * MAX_GROWTH) + json_stream.MAX_REST_BYTES


def files_of(request: Request) -> tuple[list[FileStorage], bool]:
    """Give the pictures of `{"image": "…"}` or `{"images": ["…", …]}`, and whether it is the list; UnusableFile."""
    limit(request)
    try:
        document = json_stream.read(request.stream)
    except MalformedJson as error:
        raise UnusableFile(f"The body is not JSON that can be used: {error}.") from None
    images, is_list = _images(document)
    return uploads.as_files([decode(image) for image in images]), is_list


def _images(document: Any) -> tuple[list[Any], bool]:
    if not isinstance(document, dict):
        raise UnusableFile(f"The body is no JSON object. {EXPECTED}")
    if others := sorted(set(document) - {"image", "images"}):
        named = ", ".join(repr(name[:40]) for name in others[:5])
        raise UnusableFile(
            f"The JSON object has the unknown members {named}; options such as top_k belong in the query. {EXPECTED}"
        )
    if len(document) != 1:
        raise UnusableFile(f"The JSON object has {len(document)} of the members 'image' and 'images'. {EXPECTED}")
    if "image" in document:
        return [document["image"]], False
    images = document["images"]
    if not isinstance(images, list) or not 1 <= len(images) <= MAX_PICTURES:
        count = f"has {len(images)} elements" if isinstance(images, list) else "is no list"
        raise UnusableFile(f"'images' {count}. {EXPECTED}")
    return images, True


def decode(text: Any) -> bytes:
    """Give the bytes of base64, with or without the head of a data URL before it; raises UnusableFile."""
    if isinstance(text, LongString):
        return text.content
    if not isinstance(text, str):
        raise UnusableFile(f"An image in JSON is a string of {BASE64}; one of them is no string.")
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise UnusableFile(f"An image in JSON is {BASE64}; one of them is something else.") from None
