"""The versions of the model: each file as its SHA-256 says, and the one that is to be served among them."""

from __future__ import annotations

import hashlib
import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path

from launcher import programs
from launcher.settings import Settings
from sightline.findings import Finding, bad, good

DEFAULT = "efficientnet-lite0/1-int8"
DEFAULT_NAME = "efficientnet-lite0/1-"
MAX_ACTIVE_BYTES = 1_024


def folder(own: Settings) -> Path:
    """Return where they are."""
    return Path(programs.environment_of(own)["BUNDLES_FOLDER"])


def findings(own: Settings) -> Iterator[Finding]:
    """Yield every version that is not whole, and whether the one to be served is there."""
    place = folder(own)
    names = sorted(
        f"{path.parent.parent.name}/{path.parent.name}"
        for path in place.glob("*/*/bundle.toml")
        if not path.parent.name.startswith(".")
    )
    for name in names:
        if wrong := _wrong(place / name):
            yield bad("a bundle", f"{name}: {wrong}", _remedy(name))
    if reason := _active(place)[1]:
        yield bad("bundles", f"{place / 'active'} cannot be read: {reason}", "sightline models promote writes it anew")
        return
    named = wanted(own)
    if named not in names:
        there = f"there: {', '.join(names)}" if names else "there is none at all"
        remedy = "make install" if named.startswith(DEFAULT_NAME) else "sightline models promote another, or import it"
        yield bad("bundles", f"{named} is to be served and is missing; {there}", remedy)
    else:
        yield good("bundles", f"{named} is to be served, of {len(names)} that are there")


def wanted(own: Settings) -> str:
    """Return the one that a worker would serve: the one named, else the active one, else the default."""
    active, _ = _active(folder(own))
    precision = own.environment.get("PRECISION", "")
    chosen = own.environment.get("MODEL_BUNDLE") or active or DEFAULT
    is_default = not own.environment.get("MODEL_BUNDLE") and chosen.startswith(DEFAULT_NAME)
    return f"{DEFAULT_NAME}{precision}" if precision and is_default else chosen


def _active(place: Path) -> tuple[str, str]:
    """Return what the file `active` names, empty where it is absent; and why a worker cannot read it."""
    path = place / "active"
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return "", "it is not a regular file"  # reading a pipe would wait for a writer
        with path.open("rb") as file:
            active = file.read(MAX_ACTIVE_BYTES).decode("utf-8-sig").strip()
    except FileNotFoundError:
        return "", ""
    except (OSError, UnicodeDecodeError) as fault:
        return "", str(fault)
    return (active, "") if active else ("", "it is empty")


def _wrong(bundle: Path) -> str:
    """Return what is not as bundle.toml says; empty where all is."""
    try:
        files = tomllib.loads((bundle / "bundle.toml").read_text(encoding="utf-8"))["files"]
        for name, expected in files.items():
            if hashlib.sha256((bundle / name).read_bytes()).hexdigest() != expected:
                return f"{name} is not as its SHA-256 in bundle.toml says"
    except (OSError, ValueError, KeyError, AttributeError) as fault:
        return f"cannot be read: {fault}"
    return ""


def _remedy(name: str) -> str:
    if name.startswith(DEFAULT_NAME):
        return "make install builds it again"
    return f"import it again, or remove it; until then do not promote {name}"
