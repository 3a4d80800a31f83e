"""The order in which /docs shows the operations: by tag, the most used first."""

from collections.abc import Mapping
from typing import Any, NamedTuple

# First within their tag; others follow by path.
FIRST_PATHS = ("/predict", "/jobs/{job}", "/labels", "/feedback", "/readyz", "/metrics")
# Of one path, the method that is used most.
METHODS = ("post", "get", "put", "delete")


class Shown(NamedTuple):
    """One operation of the description."""

    method: str
    path: str
    operation: Mapping[str, Any]


def grouped(api: Mapping[str, Any]) -> dict[str, list[Shown]]:
    """Return every operation of a description by its tag, in reading order."""
    found: dict[str, list[Shown]] = {tag["name"]: [] for tag in api["tags"]}
    for path, operations in api["paths"].items():
        for method, operation in operations.items():
            found[operation["tags"][0]].append(Shown(method, path, operation))
    for shown in found.values():
        shown.sort(key=_rank)
    return found


def _rank(shown: Shown) -> tuple[int, str, int]:
    first = FIRST_PATHS.index(shown.path) if shown.path in FIRST_PATHS else len(FIRST_PATHS)
    return first, shown.path, METHODS.index(shown.method) if shown.method in METHODS else len(METHODS)
