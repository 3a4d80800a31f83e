"""Compiled forms of a bundle's graph, stored next to it: an engine loads one in a fraction of the time of compiling.

Features that a graph gave synthetic images are kept in the same way. A form is a program that no SHA-256 of the bundle
covers, so the source of a bundle must not be able to supply one. Each begins with its HMAC under a key that stands
in the folder of all bundles, outside each of them, and that a process of this installation has made.
"""

import contextlib
import hashlib
import hmac
import mmap
import os
import secrets
from pathlib import Path

from inference import files, memory, processor
from inference.errors import BundleError

FOLDER, KEY_FILE = "compiled", ".compiled-key"
# A folder for the forms of all bundles and their key, instead of one next to each; see keep_in.
_elsewhere: list[Path] = []
MAX_FORM_BYTES = 2**31
PRIVATE = 0o600
_KEY_BYTES = 32
_SUM_BYTES = hashlib.sha256().digest_size


def key(*parts: bytes | str) -> str:
    """Return a name that changes with these parts, such as the graph and the engine, and with the processor."""
    digest = hashlib.sha256()
    for part in (*parts, processor.feature_line()):
        content = part.encode() if isinstance(part, str) else part
        digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()


def keep_in(folder: Path | None) -> None:
    """Keep all forms in this folder from now on, where bundles cannot be written; None: next to each bundle."""
    _elsewhere[:] = [] if folder is None else [folder]


def _folder_of(bundle: Path) -> Path:
    return _elsewhere[0] if _elsewhere else bundle / FOLDER


def kept(bundle: Path | None, name: str) -> bytes | None:
    """Return the compiled form of this name; None where there is none that was made by this installation."""
    secret = None if bundle is None else _secret(bundle)
    if bundle is None or secret is None:
        return None
    try:
        content = files.read(_folder_of(bundle) / name, MAX_FORM_BYTES)
    except (OSError, BundleError):
        return None
    form = content[_SUM_BYTES:]
    return form if hmac.compare_digest(_signature(secret, name, form), content[:_SUM_BYTES]) else None


def keep(bundle: Path | None, name: str, form: bytes) -> None:
    """Keep a form where this process may write; where it may not, as in a container, each worker compiles it again."""
    if bundle is None:
        return
    with contextlib.suppress(OSError):
        _folder_of(bundle).mkdir(parents=True, exist_ok=True)
        secret = _secret(bundle) or _new_secret(bundle)
        files.replace(_folder_of(bundle) / name, _signature(secret, name, form) + form, PRIVATE)


def mapped(bundle: Path | None, form: bytes) -> mmap.mmap | None:
    """Return a form in memory that the system can take back and read again; None where it cannot be stored so.

    It is a copy: an engine reads it for as long as it is in use, and the form's own file may be overwritten meanwhile.
    """
    if bundle is None:
        return None
    try:
        _folder_of(bundle).mkdir(parents=True, exist_ok=True)
        copy = files.mapped_copy(form, _folder_of(bundle))
    except OSError:  # a file system that is read-only, full, or knows no files without a name
        return None
    memory.note_mapped(copy)
    return copy


def _signature(secret: bytes, name: str, form: bytes) -> bytes:
    return hmac.digest(secret, name.encode() + b"\0" + hashlib.sha256(form).digest(), "sha256")


def _secret(bundle: Path) -> bytes | None:
    """Return the key; None where there is none that only this user (or root) can have written and can read."""
    path = _key_path(bundle)
    try:
        facts = path.lstat()
        is_ours = facts.st_uid in (os.geteuid(), 0) and not facts.st_mode & 0o077
        secret = files.read(path, _KEY_BYTES) if is_ours else b""
    except (OSError, BundleError):
        return None
    return secret if len(secret) == _KEY_BYTES else None


def _new_secret(bundle: Path) -> bytes:
    """Make a key in place of one that is absent or not to be trusted; raise OSError."""
    secret = secrets.token_bytes(_KEY_BYTES)
    files.replace(_key_path(bundle), secret, PRIVATE)
    return secret


def _key_path(bundle: Path) -> Path:
    return (_elsewhere[0] if _elsewhere else bundle.absolute().parents[1]) / KEY_FILE
