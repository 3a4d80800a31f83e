"""The service with one of its protections taken out: what a fault test has to notice."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from sightline_testing.service import REPOSITORY

IGNORED = shutil.ignore_patterns("__pycache__", "tests", ".hypothesis")


class Patch(NamedTuple):
    """A piece of a file, which stands there once, and what is to stand there instead."""

    file: str
    old: str
    new: str

    def apply(self, source: Path) -> None:
        """Break the file; LookupError where the piece is not there any more."""
        file = source / self.file
        text = file.read_text(encoding="utf-8")
        found = text.count(self.old)
        if found != 1:
            message = f"{self.file} holds {self.old!r} {found} times, where it should stand once: mend this sabotage"
            raise LookupError(message)
        file.write_text(text.replace(self.old, self.new), encoding="utf-8")


@dataclass(frozen=True)
class Sabotage:
    """What to take out, by settings or by patches, and a pattern of what a test then has to say."""

    what: str
    says: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    patches: Sequence[Patch] = ()

    def source(self, folder: Path) -> Path:
        """The repository to run: the real one, or a copy in `folder` where something of it has to be broken."""
        return self.copy(folder) if self.patches else REPOSITORY

    def copy(self, folder: Path) -> Path:
        """Copy what a service runs on into a folder, break it there, and return that place."""
        copy = folder / "source"
        for part in ("api", "model", "deploy"):
            shutil.copytree(REPOSITORY / part, copy / part, ignore=IGNORED)
        for library in ("wire", "storage"):
            if any(patch.file.startswith(f"{library}/") for patch in self.patches):
                _copy_library(library, copy)
        for patch in self.patches:
            patch.apply(copy)
        return copy


NOTHING = Sabotage("nothing")


def load(file: Path) -> dict[str, list[Sabotage]]:
    """Read which sabotages each test has to notice, by the test's name; the file explains its format."""
    found: dict[str, list[Sabotage]] = {}
    for twin in tomllib.loads(file.read_text(encoding="utf-8"))["twin"]:
        patches = [Patch(**patch) for patch in twin.get("patches", ())]
        sabotage = Sabotage(twin["without"], twin["says"], twin.get("settings", {}), patches)
        for test in twin["tests"]:
            found.setdefault(test, []).append(sabotage)
    return found


def _copy_library(name: str, copy: Path) -> None:
    """Put a library before the installed one: each program runs in its own folder, with that on its path."""
    inside = Path(name, "src", name)
    shutil.copytree(REPOSITORY / inside, copy / inside, ignore=IGNORED)
    for part in ("api", "model"):
        (copy / part / name).symlink_to(copy / inside)
