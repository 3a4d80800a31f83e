"""The documentation site below /help, where `make docs` has built it.

Its files are read when they are requested, so that a site appears, and changes, without a restart.
"""

import functools
import re
from pathlib import Path

from flask import Flask, Response, url_for
from werkzeug.exceptions import NotFound
from werkzeug.security import safe_join

import offload
import settings
from pages import assets
from pages.assets import FOR_A_YEAR, FOR_NOW, Asset

ENDPOINT = "help.documentation_file"
START = "index.html"
# Other files of a site, such as source maps, are of no use to a reader.
MEDIA_TYPES = assets.MEDIA_TYPES | {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    **dict.fromkeys((".txt", ".csv", ".yml", ".yaml"), "text/plain; charset=utf-8"),
}
# A diagram has its colours in a style of its own, which PAGE_POLICY would refuse where it is opened by itself.
DIAGRAM_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox; frame-ancestors 'none'"
# Kept in memory, compressed: more than the pages of the site.
CACHED_FILES = 128
# MkDocs' theme names these by their content.
_DIGEST = re.compile(r"\.[0-9a-f]{8}\.min\.(?:js|css)$")


def install(app: Flask) -> None:
    """Let the templates link pages of the site: `documentation(page)`."""
    app.jinja_env.globals["documentation"] = address


def address(page: str = START) -> str | None:
    """Return the address of a page of the site, None where no site is built."""
    is_built = (Path(settings.DOCUMENTATION_FOLDER) / START).is_file()
    return url_for(ENDPOINT, filename=page) if is_built else None


def file_response(filename: str) -> Response:
    """Return a file by its path in the site; raise NotFound."""
    caching = FOR_A_YEAR if _DIGEST.search(filename) else FOR_NOW
    response = assets.response(offload.run(lambda: _find(filename)), caching)
    if filename.endswith(".svg"):
        response.headers["Content-Security-Policy"] = DIAGRAM_POLICY
    return response


def _find(filename: str) -> Asset:
    folder = Path(settings.DOCUMENTATION_FOLDER).resolve()
    joined = safe_join(str(folder), filename)
    if joined is None:
        raise NotFound
    try:
        path = Path(joined).resolve()  # a link may lead out of the folder
        status = path.stat()
        if path.suffix not in MEDIA_TYPES or not path.is_relative_to(folder):
            raise NotFound
        return _read(path, status.st_mtime_ns, status.st_size)
    except (OSError, ValueError):  # no file, or no file's name
        raise NotFound from None


@functools.lru_cache(CACHED_FILES)
def _read(path: Path, changed_ns: int, size: int) -> Asset:
    """Return a file as it was at a time; the arguments other than the path belong to the key of the cache."""
    return Asset(path.read_bytes(), MEDIA_TYPES[path.suffix])
