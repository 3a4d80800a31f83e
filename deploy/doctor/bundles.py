"""The versions of the model: each file compared with its SHA-256, and the version to serve."""

from __future__ import annotations

import glob
import hashlib
import re
import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path

from launcher import programs
from launcher.settings import Settings
from sightline.findings import Finding, bad, good

DEFAULT = "efficientnet-lite0/1-int8"
OF_SETUP = re.compile(r"(efficientnet-(lite[012])/1-)(int8|fp32)")
MAX_ACTIVE_BYTES = 1_024


def folder(own: Settings) -> Path:
    """Return where they are."""
    return Path(programs.environment_of(own)["BUNDLES_FOLDER"])


def findings(own: Settings) -> Iterator[Finding]:
    """Yield every version that is not whole, and whether the one to be served is there."""
    place = folder(own)
    # Path.glob raises FileNotFoundError for what vanishes meanwhile, and finds hidden folders, which hold drafts.
    found = glob.iglob("*/*/bundle.toml", root_dir=place)  # noqa: PTH207
    names = sorted(str(Path(path).parent) for path in found)
    for name in names:
        if wrong := _wrong(place / name):
            yield bad("a bundle", f"{name}: {wrong}", _remedy(name))
    if reason := _active(place)[1]:
        yield bad("bundles", f"{place / 'active'} cannot be read: {reason}", "sightline models promote rewrites it")
        return
    named = wanted(own)
    if named not in names:
        there = f"there: {', '.join(names)}" if names else "there is none at all"
        remedy = _set_up(named) or "sightline models promote another, or import it"
        yield bad("bundles", f"{named} is to be served and is missing; {there}", remedy)
    else:
        yield good("bundles", f"{named} is to be served, of {len(names)} that are there")


def wanted(own: Settings) -> str:
    """Return the one that a worker would serve: the one named, else the active one, else the default."""
    active, _ = _active(folder(own))
    precision = own.environment.get("PRECISION", "")
    chosen = own.environment.get("MODEL_BUNDLE") or active or DEFAULT
    made = None if own.environment.get("MODEL_BUNDLE") else OF_SETUP.fullmatch(chosen)
    return f"{made[1]}{precision}" if precision and made else chosen


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
    """Return the difference from bundle.toml; empty for none."""
    try:
        files = tomllib.loads((bundle / "bundle.toml").read_text(encoding="utf-8"))["files"]
        for name, expected in files.items():
            if hashlib.sha256((bundle / name).read_bytes()).hexdigest() != expected:
                return f"{name} does not match its SHA-256 in bundle.toml"
    except (OSError, ValueError, KeyError, AttributeError) as fault:
        return f"cannot be read: {fault}"
    return ""


def _remedy(name: str) -> str:
    if command := _set_up(name):
        return f"{command} builds it again"
    return f"import it again, or remove it; until then do not promote {name}"


def _set_up(name: str) -> str:
    """Return the command that makes this bundle; empty where set-up makes none of the name."""
    made = OF_SETUP.fullmatch(name)
    if made is None:
        return ""
    return "make install" if name.startswith(DEFAULT.partition("/")[0]) else f"make install MODEL={made[2]}"
