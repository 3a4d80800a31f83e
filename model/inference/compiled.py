"""Compiled forms of a bundle's graph, kept beside it: an engine takes one in a fraction of the time of compiling."""

import contextlib
import hashlib
import secrets
from pathlib import Path

FOLDER = "compiled"
PROCESSOR = Path("/proc/cpuinfo")
_SUM_BYTES = hashlib.sha256().digest_size


def key(*parts: bytes | str) -> str:
    """A name that changes with whatever a compiled form depends on: the graph, the engine, and this processor."""
    digest = hashlib.sha256()
    for part in (*parts, _processor()):
        content = part.encode() if isinstance(part, str) else part
        digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()


def kept(bundle: Path | None, name: str) -> bytes | None:
    """The compiled form of this name, down to its last byte; None where there is none that is whole."""
    if bundle is None:
        return None
    try:
        content = (bundle / FOLDER / name).read_bytes()
    except OSError:
        return None
    form = content[_SUM_BYTES:]
    return form if hashlib.sha256(form).digest() == content[:_SUM_BYTES] else None


def keep(bundle: Path | None, name: str, form: bytes) -> None:
    """Keep a form where this process may write; a worker in a container may not, and compiles for itself."""
    if bundle is None:
        return
    path = bundle / FOLDER / name
    draft = path.with_name(f".{name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(exist_ok=True)
        draft.write_bytes(hashlib.sha256(form).digest() + form)
        draft.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink()


def _processor() -> str:
    """What this processor can do, as far as the system tells."""
    try:
        lines = PROCESSOR.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")
