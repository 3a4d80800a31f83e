"""The folder of bundles: what is whole stays, what is new appears all at once."""

import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from default_model.errors import BuildError
from default_model.recipe import DESCRIPTION_FILE, Recipe

ACTIVE_FILE = "active"


@contextmanager
def alone_in(bundles: Path) -> Iterator[None]:
    """Hold the folder's lock, so that two set-ups at once make each bundle once."""
    bundles.mkdir(parents=True, exist_ok=True)
    with (bundles / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def is_whole(bundles: Path, recipe: Recipe) -> bool:
    """Return whether the bundle is there, as this version of the project makes it, down to the last byte."""
    folder = bundles / recipe.identity
    try:
        described = (folder / DESCRIPTION_FILE).read_text(encoding="utf-8")
        return described == recipe.description() and not wrong_files(folder, recipe)
    except (OSError, UnicodeDecodeError):
        return False


def wrong_files(folder: Path, recipe: Recipe) -> list[str]:
    """Return a line for each file whose SHA-256 is not the recipe's."""
    expected = recipe.files()
    found = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in expected}
    wrong = [name for name in expected if found[name] != expected[name]]
    return [f"{name} has SHA-256 {found[name]}, expected {expected[name]}" for name in wrong]


def put(bundles: Path, recipe: Recipe, files: Mapping[str, bytes]) -> None:
    """Write the bundle beside its place, check it there, and rename it into place."""
    target = bundles / recipe.identity
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(target)
    fresh = _beside(target)
    fresh.mkdir()
    try:
        for name, content in files.items():
            (fresh / name).write_bytes(content)
        if wrong := wrong_files(fresh, recipe):
            raise BuildError(f"{recipe.identity} did not come out as it must: {'; '.join(wrong)}")
        _replace(target, fresh)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _remove_leftovers(target: Path) -> None:
    # Of a set-up that was killed; nobody else is writing, because this one holds the lock.
    for leftover in target.parent.glob(f".{target.name}.*"):
        shutil.rmtree(leftover)


def _replace(target: Path, fresh: Path) -> None:
    # A folder cannot be renamed over a folder that is not empty: the old one steps aside first.
    old = _beside(target)
    if target.exists():
        target.rename(old)
    fresh.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def is_active_set(bundles: Path) -> bool:
    """Return whether a bundle is named in `active`."""
    return (bundles / ACTIVE_FILE).exists()


def activate(bundles: Path, recipe: Recipe) -> None:
    """Name the bundle in `active`."""
    active = bundles / ACTIVE_FILE
    fresh = _beside(active)
    fresh.write_text(f"{recipe.identity}\n", encoding="utf-8")
    fresh.replace(active)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
