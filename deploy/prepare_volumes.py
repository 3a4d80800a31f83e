"""One-shot of docker-compose: gives the mounted folders to the services' user, and each service what it has to have.

That is the bundles of the image for the model, the api's keys, and for every user of Redis a password of its own.
"""

import hashlib
import os
import secrets
import shutil
import sys
from contextlib import suppress
from itertools import chain
from pathlib import Path

OWNER = 10001  # as in api/Dockerfile and model/Dockerfile
DELIVERED_BUNDLES = Path("/opt/bundles")
REDIS_USERS = Path("/opt/users.acl")
# Each service mounts the folder with its own secrets alone.
SECRETS = {"api": ("secret_key", "operator_key", "redis_password")} | dict.fromkeys(
    ("worker", "operator", "trainer"), ("redis_password",)
)


def main(folders: list[str]) -> None:
    """Prepare each folder; safe to run at every start."""
    for folder in map(Path, folders):
        mounted = [folder]
        if folder.name == "bundles":
            deliver_bundles(folder)
            if model := os.environ.get("MODEL", "").strip().lower():
                choose_model(folder, model)
        if folder.name == "secrets":
            named = (os.environ.get("REDIS_QUEUE", "sightline"), os.environ.get("MODEL_CLASS", ""))
            make_secrets(folder, ".".join(filter(None, named)))
            mounted = list(folder.iterdir())  # a volume for each service; what holds them is the container's own
        for each in mounted:
            give(each)


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
        write(active, (DELIVERED_BUNDLES / "active").read_text(), mode=0o644)


def choose_model(folder: Path, model: str) -> None:
    """Have this model served from now on, if another one was."""
    version = f"efficientnet-{model}/1-int8"
    if not (folder / version).is_dir():
        sys.exit(f"MODEL={model!r}: the image carries another model. Build it: MODEL={model} docker-compose up --build")
    from registry import activation  # type: ignore[import-not-found]  # noqa: PLC0415  the image has it

    activation.switch(folder, version)


def is_same(delivered: Path, present: Path) -> bool:
    """Return whether two bundle descriptions agree; they carry the SHA-256 of every file."""
    return present.exists() and present.read_bytes() == delivered.read_bytes()


def make_secrets(folder: Path, queue: str, template: Path = REDIS_USERS) -> None:
    """Make every secret once, and rewrite the list of Redis' users, which has only hashes of their passwords."""
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
    """Write a file that appears when it is whole, and on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    draft.unlink(missing_ok=True)
    with draft.open("w") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.chmod(mode)
    draft.rename(path)


def give(folder: Path, owner: int = OWNER) -> None:
    """Give a folder and all below it to a user, without following links; the service may be at work in it."""
    below = ((Path(parent), (*folders, *files)) for parent, folders, files in os.walk(folder))
    for path in chain([folder], (parent / name for parent, names in below for name in names)):
        with suppress(FileNotFoundError):  # it was a temporary file
            if path.lstat().st_uid != owner:
                os.chown(path, owner, owner, follow_symlinks=False)


if __name__ == "__main__":
    main(sys.argv[1:])
