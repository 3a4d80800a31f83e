"""API keys: a file of names, hashes and rate limits, and the look-up of a key. No framework.

A line is `<name> <SHA-256 of the key> [<rate>]`; `#` begins a comment. A name may be there twice, so that a key can be
replaced while both work. Keys are 256 random bits (see commands.manage_keys), which is why a plain hash is enough.
"""

import hashlib
import hmac
import logging
import re
import time
from pathlib import Path
from typing import NamedTuple

from wire.rate_limit import Rate

LOG = logging.getLogger("sightline.access")

PERIODS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86_400.0}
# How soon a change of the file is noticed.
CHECK_EVERY_S = 1.0
MAX_KEY_LENGTH = 512
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_RATE = re.compile(r"([1-9][0-9]{0,8})/(second|minute|hour|day)")


class KeyFileError(ValueError):
    """The file of keys, or a rate limit, is invalid; the message names the place."""


class ApiKey(NamedTuple):
    """A caller and its rate limit; `rate` is None where the default applies."""

    name: str
    digest: bytes
    rate: Rate | None = None


def digest_of(key: str) -> bytes:
    """Return the hash that is stored in place of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def parse_rate(text: str) -> Rate:
    """Parse a rate limit such as 60/minute; raise KeyFileError."""
    match = _RATE.fullmatch(text.strip())
    if match is None:
        raise KeyFileError(f"{text!r} is not a rate limit: write it as 60/minute ({', '.join(PERIODS)})")
    return Rate(int(match[1]), PERIODS[match[2]])


def parse(text: str) -> tuple[ApiKey, ...]:
    """Parse a file of keys; raise KeyFileError, which names the line."""
    keys = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if words:
            keys.append(_key_of(words, number))
    return tuple(keys)


def _key_of(words: list[str], number: int) -> ApiKey:
    name, digest, rate = [*words, "", ""][:3]
    if len(words) > 3 or not _NAME.fullmatch(name) or not _DIGEST.fullmatch(digest):
        raise KeyFileError(f"line {number} is not `<name> <64 hexadecimal digits of SHA-256> [<rate>]`")
    try:
        return ApiKey(name, bytes.fromhex(digest), parse_rate(rate) if rate else None)
    except KeyFileError as error:
        raise KeyFileError(f"line {number}: {error}") from None


def find(keys: tuple[ApiKey, ...], key: str) -> ApiKey | None:
    """Return the entry of a key, None if there is none; the time taken does not depend on how much is right."""
    digest, found = digest_of(key[:MAX_KEY_LENGTH]), None
    for entry in keys:
        if hmac.compare_digest(entry.digest, digest):
            found = entry
    return found


class KeyFile:
    """The keys of a file, read again when it changes; the previous keys stay if it cannot be read then."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._keys, self._stamp = self._read()
        self._check_at = time.monotonic() + CHECK_EVERY_S

    def find(self, key: str) -> ApiKey | None:
        """Return the entry of a key; None if there is none."""
        if time.monotonic() > self._check_at:
            self._check_at = time.monotonic() + CHECK_EVERY_S
            self._read_again()
        return find(self._keys, key)

    def _read(self) -> tuple[tuple[ApiKey, ...], tuple[int, int]]:
        try:
            status = self._path.stat()
            return parse(self._path.read_text(encoding="utf-8-sig")), (status.st_mtime_ns, status.st_size)
        except (OSError, UnicodeDecodeError) as error:
            raise KeyFileError(f"cannot be read: {error}") from None

    def _read_again(self) -> None:
        try:
            status = self._path.stat()
            if (status.st_mtime_ns, status.st_size) != self._stamp:
                self._keys, self._stamp = self._read()
                LOG.info("%s has changed: it holds %d keys", self._path, len(self._keys))
        except (OSError, KeyFileError) as error:
            LOG.error("%s: %s; the previous keys stay in use", self._path, error)
