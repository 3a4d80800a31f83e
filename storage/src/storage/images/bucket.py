"""Images in a bucket: `images/NAME`, and `reported/NAME` for those that reports are about.

What is below `images/` expires by a lifecycle rule of the bucket, so an image that is sent again after a day is written
again. Reports keep theirs by a copy below `reported/`, which no rule removes. `owners/` has an empty object for each
sender of an image.
"""

import hashlib
import io
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from io import BufferedReader
from typing import cast

from storage.errors import ImageMissing, StorageUnavailable
from storage.images.names import SUFFIXES, collision_name, is_plain
from storage.images.port import Check, Identity, ImageStore, check_size
from storage.s3 import Bucket, Facts

IMAGES, REPORTED, OWNERS, PROBE = "images", "reported", "owners", "probe"
# An image that is known to have been there so lately is not requested again.
TRUSTED_S = 60.0
# Lifecycle rules count in days: one that was written longer ago is written again, so that it lives on.
REWRITE_S = 86_400.0
# The probe is left out where an image was stored so lately.
PROBE_EVERY_S = 5.0


class ImageBucket(ImageStore):
    """The images of a bucket."""

    is_remote = True

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._written_at = float("-inf")

    def __str__(self) -> str:
        return self._bucket.place

    def put(self, name: str, data: bytes, check: Check | None = None) -> str:
        """Store the bytes by a conditional write; what has the name already is compared by its SHA-256."""
        sha256 = hashlib.sha256(data).hexdigest()
        for each in (name, collision_name(name, data)):
            if self._place(f"{IMAGES}/{each}", data, sha256, check):
                self._written_at = time.monotonic()
                return each
        raise StorageUnavailable(f"both names of image {name!r} are taken by other objects")

    def identify(self, name: str, sha256: str) -> Identity:
        """Return the content, and when it was last known to be there."""
        return sha256, time.monotonic()

    def renew(self, name: str, identity: Identity) -> Identity | None:
        """Ask the bucket, unless that was done lately."""
        sha256, known_at = cast(tuple[str, float], identity)
        if time.monotonic() - known_at < TRUSTED_S:
            return identity
        facts = self._bucket.facts(f"{IMAGES}/{name}")
        if facts is None or facts.sha256 != sha256 or _is_old(facts):
            return None  # it is stored again, which compares and renews it
        return self.identify(name, sha256)

    def open(self, name: str) -> BufferedReader | None:
        """Fetch the whole image."""
        if not is_plain(name):
            return None
        with suppress(ImageMissing):
            return BufferedReader(cast(io.RawIOBase, io.BytesIO(self.read(name))))
        return None

    def read(self, name: str) -> bytes:
        """Fetch an image, from among the reported ones where it has expired."""
        if "/" in name or "\0" in name:
            raise ImageMissing(f"{name!r} cannot be read: it is not the name of an image")
        check = partial(check_size, name)
        for folder in (IMAGES, REPORTED):
            found = self._bucket.get(f"{folder}/{name}", check)
            if found is not None:
                return found[0]
        raise ImageMissing(f"{name!r} cannot be read: it is not in {self._bucket.place}")

    def names(self) -> Iterator[str]:
        """Yield the names of all images that have not expired."""
        reported = set(self._bucket.keys(REPORTED))
        yield from filter(_is_image, reported)
        yield from (name for name in self._bucket.keys(IMAGES) if _is_image(name) and name not in reported)

    def location(self, name: str) -> str:
        """Return the address of the object."""
        return self._bucket.location(f"{IMAGES}/{name}")

    def keep(self, name: str) -> None:
        """Copy an image to where nothing expires, once."""
        kept = f"{REPORTED}/{name}"
        if is_plain(name) and self._bucket.facts(kept) is None:
            self._bucket.copy(f"{IMAGES}/{name}", kept)

    def erase(self, name: str) -> bool:
        """Remove the image, its copy for reports, and the records of its senders."""
        if not is_plain(name):
            return False
        for key in [key for key in self._bucket.keys(OWNERS) if key.endswith(f"/{name}")]:
            self._bucket.delete(f"{OWNERS}/{key}")
        removed = [self._bucket.delete(f"{folder}/{name}") for folder in (IMAGES, REPORTED)]
        return any(removed)

    def add_owner(self, name: str, owner: str) -> None:
        """Write an empty object."""
        key = _owner_record(name, owner)
        facts = self._bucket.facts(key)
        if facts is None or _is_old(facts):
            self._bucket.put(key, b"")

    def has_owner(self, name: str, owner: str) -> bool:
        """Return whether there is that object."""
        return "/" not in name and self._bucket.facts(_owner_record(name, owner)) is not None

    def check_writable(self) -> None:
        """Write a small object, unless an image was stored a moment ago."""
        if time.monotonic() - self._written_at > PROBE_EVERY_S:
            self._bucket.put(PROBE, b"\0")
            self._written_at = time.monotonic()

    def _place(self, key: str, data: bytes, sha256: str, check: Check | None) -> bool:
        """Make the key hold these bytes; return False where it holds others, which stay."""
        if check is not None and self._bucket.facts(key) is None:
            check()
        if self._bucket.put_new(key, data, sha256):
            return True
        facts = self._bucket.facts(key)
        if facts is None:  # it has just expired
            return self._bucket.put_new(key, data, sha256)
        if not self._is_same(key, facts, data, sha256):
            return False
        if _is_old(facts) or not facts.sha256:
            self._bucket.replace(key, data, facts.etag, sha256)
        return True

    def _is_same(self, key: str, facts: Facts, data: bytes, sha256: str) -> bool:
        if facts.sha256:
            return facts.sha256 == sha256
        # Another program has put it there, or copied it without its metadata.
        found = self._bucket.get(key) if facts.size == len(data) else None
        return found is not None and found[0] == data


def _is_old(facts: Facts) -> bool:
    return (datetime.now(UTC) - facts.modified).total_seconds() > REWRITE_S


def _is_image(name: str) -> bool:
    return "/" not in name and name[name.rfind(".") :].lower() in SUFFIXES


def _owner_record(name: str, owner: str) -> str:
    return f"{OWNERS}/{hashlib.sha256(owner.encode()).hexdigest()[:32]}/{name}"
