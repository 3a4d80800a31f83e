"""One-shot of docker-compose: gives the mounted folders to the services' user, and the model its default bundle."""

import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

OWNER = 10001  # as in api/Dockerfile and model/Dockerfile
DELIVERED_BUNDLES = Path("/opt/bundles")


def main(folders: list[str]) -> None:
    """Prepare each folder; safe to run at every start."""
    for folder in map(Path, folders):
        folder.mkdir(parents=True, exist_ok=True)
        if folder.name == "bundles":
            deliver_bundles(folder)
        if folder.name == "secrets":
            make_secret_key(folder / "secret_key")
        for path in owned_by_others(folder):
            os.chown(path, OWNER, OWNER, follow_symlinks=False)


def deliver_bundles(folder: Path) -> None:
    """Copy what the image carries and the folder lacks or has differently; a bundle appears only when it is whole."""
    for delivered in sorted(DELIVERED_BUNDLES.glob("*/*/bundle.toml")):
        target = folder / delivered.parent.relative_to(DELIVERED_BUNDLES)
        if not is_same(delivered, target / delivered.name):
            draft = target.with_name(f".{target.name}.draft")
            shutil.rmtree(draft, ignore_errors=True)
            shutil.copytree(delivered.parent, draft)
            shutil.rmtree(target, ignore_errors=True)
            draft.rename(target)
    active = folder / "active"
    if not active.exists():
        active.write_bytes((DELIVERED_BUNDLES / "active").read_bytes())


def is_same(delivered: Path, present: Path) -> bool:
    """Return whether two bundle descriptions agree; they carry the SHA-256 of every file."""
    return present.exists() and present.read_bytes() == delivered.read_bytes()


def make_secret_key(path: Path) -> None:
    """Make the key that signs the page's cookie, once."""
    if not path.exists():
        draft = path.with_suffix(".draft")
        draft.write_text(secrets.token_hex(32))
        draft.chmod(0o400)
        draft.rename(path)


def owned_by_others(folder: Path) -> Iterator[Path]:
    """Walk the folder without following links."""
    for path in (folder, *folder.rglob("*")):
        if path.lstat().st_uid != OWNER:
            yield path


if __name__ == "__main__":
    main(sys.argv[1:])
