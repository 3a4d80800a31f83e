"""Small images within all limits that take hundreds of times as long to decode as a photograph; an attack by them."""

from __future__ import annotations

import http.client
import itertools
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache

from PIL import Image

from sightline_testing.hostile import jpegs
from sightline_testing.hostile.attacks import CONNECT_TIMEOUT_S, Target, repeat
from sightline_testing.sample_images import encode, png, run_length_bmp

SIDE = 5_000
CONNECTIONS = 8
MAKERS: Mapping[str, Callable[[], bytes]] = {
    "scans.jpg": lambda: jpegs.refining_scans(SIDE, SIDE, 43),
    "deep.png": lambda: png((SIDE, SIDE), 16, 6, bytes(8 * SIDE * SIDE)),
    "runs.bmp": lambda: run_length_bmp(SIDE, SIDE, (b"\1\7\1\5" * 8 + b"\0\0") * SIDE),
}
# Just short of what counts as expensive, on the reference processor.
MEDIUM_MAKERS: Mapping[str, Callable[[], bytes]] = {
    "scans.jpg": lambda: jpegs.narrow_scans(SIDE, SIDE, 50),
    "deep.png": lambda: png((3_000, 1_600), 16, 6, bytes(8 * 3_000 * 1_600)),
    "flat.webp": lambda: encode(Image.new("RGB", (4_000, 3_500)), "WEBP", lossless=True, method=0),
}


@cache
def expensive(name: str) -> bytes:
    """Return one of them by its name in MAKERS."""
    return MAKERS[name]()


def small_expensive_images(target: Target, until: float) -> None:
    """Ask for expensive images on eight connections."""
    _ask_for([expensive(name) for name in MAKERS], target, until)


def small_medium_images(target: Target, until: float) -> None:
    """Ask for images that are nearly expensive on eight connections."""
    _ask_for([make() for make in MEDIUM_MAKERS.values()], target, until)


def _ask_for(contents: Sequence[bytes], target: Target, until: float) -> None:
    """Ask for them in turn, for another image each time so that no answer is known already."""
    images = itertools.cycle(contents)
    own = threading.local()

    def step() -> None:
        connection: http.client.HTTPConnection | None = getattr(own, "connection", None)
        if connection is None:
            connection = own.connection = http.client.HTTPConnection(
                target.host, target.port, timeout=CONNECT_TIMEOUT_S
            )
        headers = {**target.headers, "Content-Type": "application/octet-stream"}
        try:
            # Decoders ignore what follows the image.
            connection.request("POST", "/predict", next(images) + os.urandom(8), headers)
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            with suppress(OSError):
                connection.close()
            own.connection = None

    repeat(until, step, CONNECTIONS)
