"""The folder that a local run keeps its state in: one run at a time, one secret, one short socket path."""

import contextlib
import fcntl
import os
import time
from pathlib import Path

from launcher.errors import StateInUseError, StateUnusableError
from launcher.ports import describe_command

SECRET_KEY, OPERATOR_KEY, API_KEYS = "secret_key", "operator_key", "api_keys"
FOLDERS = ("bundles", "uploads", "feedback", "redis", "run")
# sun_path holds 108 bytes on Linux, the closing zero included.
LONGEST_SOCKET_PATH = 107
TIMEOUT_S = 15.0


def make_folders(state_dir: Path) -> None:
    """Make the state folder and what belongs in it; what is personal or secret is for this user alone."""
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        for name in FOLDERS:
            (state_dir / name).mkdir(mode=0o777 if name == "bundles" else 0o700, exist_ok=True)
    except OSError as error:
        raise StateUnusableError(
            f"STATE_DIR={str(state_dir)!r} cannot be used: {error.strerror}: {error.filename}. "
            "Choose a folder that you may write to."
        ) from error


def take(state_dir: Path) -> int:
    """Claim the folder for this run and return the lock's descriptor, which every process of the run inherits.

    The lock is free again only when the last of them has ended: what a killed run left behind is waited for.
    """
    descriptor = os.open(state_dir / "run" / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + TIMEOUT_S
    while not _locked(descriptor):
        holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
        command = describe_command(int(holder)) if holder.isdecimal() else ""
        if command or time.monotonic() > deadline:
            os.close(descriptor)
            user = f"pid {holder} ({command})" if command else "a program that an earlier run has left behind"
            raise StateInUseError(
                f"{state_dir} is in use by {user}. "
                "Stop that run with Ctrl-C, or choose another folder: make serve STATE_DIR=var2"
            )
        time.sleep(0.1)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def holder(state_dir: Path) -> int | None:
    """Return the process that runs the service on this folder; None where there is none."""
    path = state_dir / "run" / "lock"
    if not path.exists():
        return None
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if _locked(descriptor):
            return None
        text = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
        return int(text) if text.isdecimal() else 0
    finally:
        os.close(descriptor)


def secret_file(state_dir: Path, name: str) -> Path:
    """Return the file with a secret of this machine, made once; a reader never gets half of it."""
    path = state_dir / name
    if not path.exists():
        draft = state_dir / "run" / f"{name}.{os.urandom(8).hex()}"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(os.urandom(32).hex())
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(draft)
        draft.unlink()
    return path


def socket_path(state_dir: Path) -> Path:
    """Return where Redis listens: in the state folder, or in a private short folder if that path is too long."""
    path = state_dir / "run" / "redis.sock"
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
        return path
    import hashlib  # noqa: PLC0415  takes memory for as long as the service runs
    import tempfile  # noqa: PLC0415  as above

    digest = hashlib.sha256(os.fsencode(state_dir)).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"sightline-{os.getuid()}-{digest}"
    folder.mkdir(mode=0o700, exist_ok=True)
    owner = folder.lstat()
    if owner.st_uid != os.getuid() or owner.st_mode & 0o077 or folder.is_symlink():
        raise StateInUseError(f"{folder} is not a private folder of this user; remove it, or set a shorter STATE_DIR")
    return folder / "redis.sock"


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
