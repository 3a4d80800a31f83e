"""What this processor can do, as the system lists it."""

from functools import cache
from pathlib import Path

LIST = Path("/proc/cpuinfo")


def feature_line(path: Path = LIST) -> str:
    """Return the line that lists the features; empty where the system has none."""
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def features_of(path: Path) -> frozenset[str]:
    """Return the names of the features in such a list; empty where they are unknown."""
    return frozenset(feature_line(path).partition(":")[2].split())


@cache
def features() -> frozenset[str]:
    """Return the names of this processor's features, such as `avx2`."""
    return features_of(LIST)
