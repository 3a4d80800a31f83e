"""The port of files on their way between the operator's browser and the trainer.

Nothing of it is kept: an archive holds images, so that it goes when one of them is erased, and after a day.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from io import BufferedReader
from pathlib import Path

_ID = re.compile(r"[0-9a-z-]{1,64}")


def is_id(text: str) -> bool:
    """Return whether a text may be the id of uploaded files, or the name of an archive."""
    return _ID.fullmatch(text) is not None


class Transfers(ABC):
    """Uploads and archives. Every method raises OSError or StorageError where the place does not serve."""

    @abstractmethod
    def receive(self, files: Mapping[str, bytes], min_free_bytes: int) -> str:
        """Store uploaded files under their plain names and return the id of all; raise StorageFull without room."""

    @abstractmethod
    def received(self, transfer_id: str) -> Path | None:
        """Return a folder with uploaded files; None where there is none of that id."""

    @abstractmethod
    def drop(self, transfer_id: str) -> None:
        """Remove uploaded files, which may be gone already."""

    @abstractmethod
    def archive(self, name: str) -> Path:
        """Return where an archive of this name is written, in a folder that is there now; older archives go."""

    @abstractmethod
    def publish(self, name: str) -> None:
        """Let an archive that has been written be opened, from any host that shares the place."""

    @abstractmethod
    def open_archive(self, name: str) -> BufferedReader | None:
        """Open an archive; None where there is none of this name, or no longer."""

    @abstractmethod
    def drop_archives(self) -> int:
        """Remove all archives, half ones too; return how many."""

    @abstractmethod
    def drop_old(self) -> int:
        """Remove what is older than a day, such as what a process that was killed has left; return how much."""
