"""Cross-origin requests (CORS): the origins of CORS_ORIGINS, and what their pages may send and read."""

import re
from functools import lru_cache
from typing import Final, Self
from urllib.parse import SplitResult, urlsplit

import settings
from openapi.response_headers import RESPONSE_HEADERS
from wire.settings_parser import SettingError

ANY = "*"
# What a browser sends for a page without an origin: a file, or a sandboxed frame.
NULL = "null"
SENT_HEADERS: Final = (
    "Authorization",
    "Content-Encoding",
    "Content-Type",
    "Idempotency-Key",
    "If-None-Match",
    "Inference-Header-Content-Length",
    "Prefer",
    "traceparent",
    "tracestate",
    "X-API-Key",
    "X-Request-Id",
    "X-Request-Timeout-Ms",
)
_EXPOSED = ("Access-Control-Expose-Headers", ", ".join(RESPONSE_HEADERS))
_PREFLIGHT = (
    ("Access-Control-Allow-Methods", "DELETE, GET, POST, PUT"),
    ("Access-Control-Allow-Headers", ", ".join(SENT_HEADERS)),
    ("Access-Control-Max-Age", "600"),
)
_DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"(?:\*\.)?(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])")


class AllowedOrigins:
    """The origins that a setting lists: `*`, `https://app.example.org`, or `https://*.example.org` below a name."""

    def __init__(self, exact: frozenset[str], below: tuple[tuple[str, str], ...]) -> None:
        self._exact = exact
        self._below = below
        self.is_any = ANY in exact

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the setting; raise SettingError for an entry that is no origin."""
        exact, below = set(), []
        for entry in text.replace(",", " ").split():
            origin = entry if entry in {ANY, NULL} else _normalized(entry)
            if origin is None:
                wanted = "https://app.example.org, https://*.example.org, or * for any"
                raise SettingError(f"CORS_ORIGINS={text!r}: {entry!r} is no origin; write {wanted}.")
            scheme, wildcard, rest = origin.partition("://*")
            if wildcard:
                below.append((f"{scheme}://", rest))
            else:
                exact.add(origin)
        return cls(frozenset(exact), tuple(below))

    def __contains__(self, origin: str | None) -> bool:
        """Return whether the pages of an origin may call the service."""
        if not origin:
            return False
        return (
            self.is_any
            or origin in self._exact
            or any(
                origin.startswith(scheme) and origin.endswith(rest) and len(origin) > len(scheme + rest)
                for scheme, rest in self._below
            )
        )


def _normalized(entry: str) -> str | None:
    """Return an origin as browsers write it; None where it is none."""
    try:
        parts = urlsplit(entry.removesuffix("/"))
        host, port = parts.hostname or "", parts.port
        host = f"[{host}]" if ":" in host else host.encode("idna").decode()
    except ValueError:
        return None
    is_bare = parts == SplitResult(parts.scheme, parts.netloc, "", "", "") and "@" not in parts.netloc
    if not (parts.scheme and is_bare and _HOST.fullmatch(host)):
        return None
    is_usual = port is None or port == _DEFAULT_PORTS.get(parts.scheme)
    return f"{parts.scheme}://{host}" if is_usual else f"{parts.scheme}://{host}:{port}"


@lru_cache(maxsize=1)
def _parsed(text: str) -> AllowedOrigins:
    return AllowedOrigins.parse(text)


def allowed_origins() -> AllowedOrigins:
    """Return the origins of CORS_ORIGINS; raise SettingError."""
    return _parsed(settings.CORS_ORIGINS)


def headers(origin: str | None, method: str) -> list[tuple[str, str]]:
    """Return the headers by which a browser lets the pages of an allowed origin send requests and read responses."""
    allowed = allowed_origins()
    added = [] if allowed.is_any else [("Vary", "Origin")]
    if origin in allowed:
        added += [("Access-Control-Allow-Origin", ANY if allowed.is_any else str(origin)), _EXPOSED]
        added += _PREFLIGHT if method == "OPTIONS" else ()
    return added
