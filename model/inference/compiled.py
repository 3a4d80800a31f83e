"""Compiled forms of a bundle's graph, kept beside it: an engine loads one in a fraction of the time of compiling.

A form is a program that no SHA-256 of the bundle covers, so whoever delivers a bundle must not be able to deliver one.
Each begins with its HMAC under a key that stands in the folder of all bundles, outside each of them, and that a process
of this installation has made.
"""

import contextlib
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from inference import files
from inference.errors import BundleError

FOLDER, KEY_FILE = "compiled", ".compiled-key"
PROCESSOR = Path("/proc/cpuinfo")
MAX_FORM_BYTES = 2**31
_KEY_BYTES = 32
_SUM_BYTES = hashlib.sha256().digest_size


def key(*parts: bytes | str) -> str:
    """Return a name that changes with these parts, such as the graph and the engine, and with the processor."""
    digest = hashlib.sha256()
    for part in (*parts, _processor()):
        content = part.encode() if isinstance(part, str) else part
        digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()


def kept(bundle: Path | None, name: str) -> bytes | None:
    """Return the compiled form of this name; None where there is none that was made by this installation."""
    secret = None if bundle is None else _secret(bundle)
    if bundle is None or secret is None:
        return None
    try:
        content = files.read(bundle / FOLDER / name, MAX_FORM_BYTES)
    except (OSError, BundleError):
        return None
    form = content[_SUM_BYTES:]
    return form if hmac.compare_digest(_signature(secret, name, form), content[:_SUM_BYTES]) else None


def keep(bundle: Path | None, name: str, form: bytes) -> None:
    """Keep a form where this process may write; where it may not, as in a container, each worker compiles anew."""
    if bundle is None:
        return
    with contextlib.suppress(OSError):
        secret = _secret(bundle) or _new_secret(bundle)
        (bundle / FOLDER).mkdir(exist_ok=True)
        _write(bundle / FOLDER / name, _signature(secret, name, form) + form)


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
    _write(_key_path(bundle), secret)
    return secret


def _write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, readable by this user alone; raise OSError."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


def _key_path(bundle: Path) -> Path:
    return bundle.absolute().parents[1] / KEY_FILE


def _processor() -> str:
    """Return the features of this processor, as far as the system lists them."""
    try:
        lines = PROCESSOR.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")
