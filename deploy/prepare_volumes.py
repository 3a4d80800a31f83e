"""One-shot of docker-compose: gives the mounted folders to the services' user, and each service what it has to have.

That is the default bundle for the model, the api's keys, and for every user of Redis a password of its own.
"""

import hashlib
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

OWNER = 10001  # as in api/Dockerfile and model/Dockerfile
DELIVERED_BUNDLES = Path("/opt/bundles")
REDIS_USERS = Path("/opt/users.acl")
# Each service sees the folder with its own secrets alone.
SECRETS = {"api": ("secret_key", "operator_key", "redis_password")} | dict.fromkeys(
    ("worker", "operator"), ("redis_password",)
)


def main(folders: list[str]) -> None:
    """Prepare each folder; safe to run at every start."""
    for folder in map(Path, folders):
        mounted = [folder]
        if folder.name == "bundles":
            deliver_bundles(folder)
        if folder.name == "secrets":
            make_secrets(folder, os.environ.get("REDIS_QUEUE", "sightline"))
            mounted = list(folder.iterdir())  # a volume for each service; what holds them is the container's own
        for path in (path for each in mounted for path in owned_by_others(each)):
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


def make_secrets(folder: Path, queue: str, template: Path = REDIS_USERS) -> None:
    """Make every secret once, and the list of Redis' users anew: it knows their passwords by hash alone."""
    for service, names in SECRETS.items():
        for name in names:
            make_secret(folder / service / name)
    users = template.read_text().replace("{QUEUE}", "{" + queue + "}")
    for service in SECRETS:
        digest = hashlib.sha256((folder / service / "redis_password").read_bytes()).hexdigest()
        users = users.replace(f"user sightline-{service} on", f"user sightline-{service} on #{digest}")
    write(folder / "redis" / "users.acl", users, mode=0o444)


def make_secret(path: Path) -> None:
    """Make a random secret, once."""
    if not path.exists():
        write(path, secrets.token_hex(32), mode=0o400)


def write(path: Path, content: str, mode: int) -> None:
    """Write a file that appears when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    draft.unlink(missing_ok=True)
    draft.write_text(content)
    draft.chmod(mode)
    draft.rename(path)


def owned_by_others(folder: Path) -> Iterator[Path]:
    """Walk the folder without following links."""
    for path in (folder, *folder.rglob("*")):
        if path.lstat().st_uid != OWNER:
            yield path


if __name__ == "__main__":
    main(sys.argv[1:])
