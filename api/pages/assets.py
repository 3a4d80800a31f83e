"""The pages' own files: styles, scripts and images, at addresses that change with their content.

The address of a file has a digest of all files for a folder, in which the relative imports of scripts resolve. Browsers
keep such a file for a year. At an address without the digest, or with that of another version, the same file is
answered for now only: during a roll-out, a page of one version may get its files from a process of another.
"""

import functools
import gzip
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from flask import Flask, Response, request, url_for
from werkzeug.exceptions import NotFound

MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".webp": "image/webp",
    ".jpg": "image/jpeg",
}
FOR_A_YEAR = "public, max-age=31536000, immutable"
FOR_NOW = "no-cache"
# The endpoint that Flask's own static files would have; it needs no API key.
ENDPOINT = "static"
# Of the assets and the pages of the documentation.
MAX_COMPRESSED = 512
_DIGEST_CHARACTERS = 16
_DIGEST = re.compile(f"[0-9a-f]{{{_DIGEST_CHARACTERS}}}")
_IMPORT = re.compile(r'^(?:import|export)\b[^;]*?from "(\./[^"]+)";', re.MULTILINE)


class Asset(NamedTuple):
    """A file."""

    content: bytes
    media_type: str

    @property
    def compressed(self) -> bytes:
        """Return the content after gzip, empty where that is not smaller."""
        return _compressed(self.content)


class Assets:
    """The files of some folders, each by its name below the prefix of its folder, all of them in memory."""

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self._files = {
            f"{prefix}{path.relative_to(folder).as_posix()}": Asset(path.read_bytes(), MEDIA_TYPES[path.suffix])
            for prefix, folder in folders.items()
            for path in sorted(folder.rglob("*"))
            if path.suffix in MEDIA_TYPES
        }
        digest = hashlib.sha256()
        for name, asset in sorted(self._files.items()):
            digest.update(f"{name}\0{len(asset.content)}\0".encode() + asset.content)
        self._digest = digest.hexdigest()[:_DIGEST_CHARACTERS]

    def address(self, name: str) -> str:
        """Return the address of a file; raise KeyError where there is none of that name."""
        if name not in self._files:
            raise KeyError(name)
        return url_for(ENDPOINT, filename=f"{self._digest}/{name}")

    def find(self, path: str) -> tuple[Asset, str]:
        """Return the file at a path below the folder of all addresses, and for how long it may be kept.

        Raise NotFound where there is none.
        """
        digest, _, name = path.partition("/")
        if not _DIGEST.fullmatch(digest):
            digest, name = "", path
        asset = self._files.get(name)
        if asset is None:
            raise NotFound
        return asset, FOR_A_YEAR if digest == self._digest else FOR_NOW

    def imported(self, name: str) -> list[str]:
        """Return the addresses of all scripts that a script imports, directly or not, for a browser to preload."""
        found: list[str] = []
        waiting = [name]
        while waiting:
            script = PurePosixPath(waiting.pop(0))
            for path in _IMPORT.findall(self._files[str(script)].content.decode()):
                other = str(script.parent / path)
                if other not in found:
                    found.append(other)
                    waiting.append(other)
        return [self.address(other) for other in found if other != name]


def install(app: Flask, folders: Mapping[str, Path]) -> None:
    """Serve the files of some folders, and let the templates name them: `asset(name)` and `imported(script)`."""
    assets = Assets(folders)

    def serve(filename: str) -> Response:
        asset, caching = assets.find(filename)
        return response(asset, caching)

    app.add_url_rule("/assets/<path:filename>", ENDPOINT, serve)
    app.jinja_env.globals |= {"asset": assets.address, "imported": assets.imported}


@functools.lru_cache(MAX_COMPRESSED)  # when a file is first requested: a start does not wait for it
def _compressed(content: bytes) -> bytes:
    compressed = gzip.compress(content, mtime=0)
    return compressed if len(compressed) < len(content) else b""


def response(asset: Asset, caching: str) -> Response:
    """Return the response to a request for a file, compressed where the client accepts that."""
    is_compressed = bool(asset.compressed) and request.accept_encodings.quality("gzip") > 0
    answer = Response(asset.compressed if is_compressed else asset.content, content_type=asset.media_type)
    answer.headers["Cache-Control"] = caching
    if asset.compressed:
        answer.headers["Vary"] = "Accept-Encoding"
    if is_compressed:
        answer.headers["Content-Encoding"] = "gzip"
    answer.add_etag()
    answer.make_conditional(request)
    return answer
