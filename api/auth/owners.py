"""Who has sent which picture, where API keys are used: an empty file for each sender and picture, beside the pictures.

A picture's name is made of its content, so a sender is recorded again each time it sends the same bytes, and several
senders of the same bytes each may see them. Without API keys nothing is recorded and a name is all that is needed.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from auth import access

FOLDER = ".owners"


def record(folder: Path, name: str) -> None:
    """Record that the caller has sent a stored picture."""
    caller = access.caller()
    if not caller:
        return
    path = _record_of(folder, name, caller)
    if os.path.exists(path):  # noqa: PTH110  a third of the time, on the way of every upload
        return
    # A picture that is stored already is answered even where nothing can be written; its sender cannot see it then.
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o640)


def may_see(folder: Path, name: str) -> bool:
    """Return whether the caller may see the picture of a name: it has sent it, or whoever knows the name may."""
    if access.may_use_all():
        return True
    return "/" not in name and os.path.isfile(_record_of(folder, name, access.caller()))  # noqa: PTH113  no errors


def forget_gone(folder: Path) -> None:
    """Remove the records of pictures that are gone."""
    for record in _records(folder):
        if not (folder / record.name).exists():
            record.unlink(missing_ok=True)


def _records(folder: Path) -> Iterator[Path]:
    return (folder / FOLDER).glob("*/*")


def _record_of(folder: Path, name: str, owner: str) -> Path:
    # Not by the name itself, which a file system may take for that of another key in capitals.
    return folder / FOLDER / hashlib.sha256(owner.encode()).hexdigest()[:32] / name
