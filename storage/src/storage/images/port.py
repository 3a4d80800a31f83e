"""The port of stored images: what api and model ask of them, wherever they are kept."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator
from io import BufferedReader
from typing import TypeAlias

from storage.errors import ImageMissing, ImageTooLarge
from wire.process.limits import MAX_IMAGE_BYTES

# What stays the same as long as a name has the content that it had.
Identity: TypeAlias = Hashable
Check: TypeAlias = Callable[[], None]


class ImageStore(ABC):
    """Images under names that are made of their bytes (storage.images.names).

    A name never passes from one content to another while a job may read it, and a reader never gets half an image.
    Every method raises OSError or StorageError where the place does not serve. Where `is_remote`, each read waits for
    the network, so that several are better made in parallel.
    """

    is_remote = False

    @abstractmethod
    def put(self, name: str, data: bytes, check: Check | None = None) -> str:
        """Store the bytes under their hash name and return the name that they have.

        An image that exists already is kept and counts as used now. Where the name belongs to other bytes of the same
        MD5, the image gets its collision name. Where nothing can be written, an image that exists under another suffix
        may be found there. Raise StorageFull where there is no room, and what `check` raises: it is called before an
        image is written that does not exist yet.
        """

    @abstractmethod
    def identify(self, name: str, sha256: str) -> Identity:
        """Return the identity of an image that was just stored, whose bytes have this SHA-256."""

    @abstractmethod
    def renew(self, name: str, identity: Identity) -> Identity | None:
        """Count an image as used now; return its identity, None where the name has no content or another one."""

    @abstractmethod
    def open(self, name: str) -> BufferedReader | None:
        """Open an image; None where there is none of that name."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Return the bytes of an image; raise ImageMissing or ImageTooLarge, which name it."""

    @abstractmethod
    def names(self) -> Iterator[str]:
        """Yield the names of all images, in any order."""

    @abstractmethod
    def location(self, name: str) -> str:
        """Return where an image is kept, as a report names it."""

    @abstractmethod
    def keep(self, name: str) -> None:
        """Keep an image permanently, as long as a report is about it; one that is not there stays so."""

    @abstractmethod
    def erase(self, name: str) -> bool:
        """Remove an image, even one with reports, and the record of its senders; return False where there is none."""

    @abstractmethod
    def add_owner(self, name: str, owner: str) -> None:
        """Record an owner as a sender of an image; an image has each of its senders."""

    @abstractmethod
    def has_owner(self, name: str, owner: str) -> bool:
        """Return whether an owner has sent an image."""

    @abstractmethod
    def check_writable(self) -> None:
        """Raise what storing an image would raise now."""

    def read_same(self, name: str, sha256: str = "") -> bytes | None:
        """Return the bytes of an image; None where it cannot be read, or where its SHA-256 is another than this one."""
        try:
            content = self.read(name)
        except (ImageMissing, ImageTooLarge):
            return None
        return content if not sha256 or hashlib.sha256(content).hexdigest() == sha256 else None


def check_size(name: str, size: int) -> None:
    """Raise ImageTooLarge for an image that has more bytes than any upload may have."""
    if size > MAX_IMAGE_BYTES:
        raise ImageTooLarge(f"{name!r} cannot be read: it has {size} bytes; at most {MAX_IMAGE_BYTES} are read")
