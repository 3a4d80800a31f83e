"""The service with one of its protections taken out: what a fault test has to notice."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sightline_testing.service import REPOSITORY

IGNORED = shutil.ignore_patterns("__pycache__", "tests", ".hypothesis")


@dataclass(frozen=True)
class Sabotage:
    """What to break: settings that switch a protection off, or a piece of a file and what stands there instead."""

    name: str
    settings: Mapping[str, str] = field(default_factory=dict)
    file: str = ""
    old: str = ""
    new: str = ""

    def source(self, folder: Path) -> Path:
        """The repository to run: the real one, or a copy in `folder` that is broken."""
        if not self.file:
            return REPOSITORY
        copy = copy_of_source(folder)
        broken = copy / self.file
        if self.file.startswith("wire/"):
            shutil.copytree(REPOSITORY / "wire" / "src" / "wire", copy / "wire" / "src" / "wire", ignore=IGNORED)
        text = broken.read_text(encoding="utf-8")
        found = text.count(self.old)
        if found != 1:
            message = f"{self.file} holds {self.old!r} {found} times, where it should stand once: mend this sabotage"
            raise LookupError(message)
        broken.write_text(text.replace(self.old, self.new), encoding="utf-8")
        if self.file.startswith("wire/"):
            # Before the installed library, since each program runs in its own folder with that on its path.
            for part in ("api", "model"):
                (copy / part / "wire").symlink_to(copy / "wire" / "src" / "wire")
        return copy


def copy_of_source(folder: Path) -> Path:
    """Copy what a service runs on into a folder, and return that place."""
    copy = folder / "source"
    for part in ("api", "model", "deploy"):
        shutil.copytree(REPOSITORY / part, copy / part, ignore=IGNORED)
    return copy
