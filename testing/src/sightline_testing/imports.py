"""Which module of an import root imports which, read from the syntax trees."""

import ast
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from sightline_testing.service import REPOSITORY

# The folder of each import root, and the package that its modules are imported from.
ROOTS = {
    "api": ("api", ""),
    "wire": ("wire/src/wire", "wire."),
    "storage": ("storage/src/storage", "storage."),
    "model": ("model", ""),
}
Graph = dict[str, set[str]]


@cache
def syntax_tree(file: Path) -> ast.Module:
    """Return what a file holds; parsed once, at the first call."""
    return ast.parse(file.read_text(), str(file))


@cache
def module_graph(root: str) -> Graph:
    """Return the modules of a root of ROOTS, each with those of the same root that it imports."""
    folder, prefix = ROOTS[root]
    files = {name: file for file in sorted((REPOSITORY / folder).rglob("*.py")) if (name := _name(file, folder))}
    return {name: _imported(file, prefix, files) - {name} for name, file in files.items()}


def room_of(module: str) -> str:
    """Return the package that a module is in; a module at the import root is a room of its own."""
    return module.partition(".")[0]


def room_graph(root: str) -> Graph:
    """Return the packages and flat modules of a root, each with those that it imports."""
    rooms: Graph = {}
    for module, imported in module_graph(root).items():
        rooms.setdefault(room_of(module), set()).update(map(room_of, imported))
    return {room: imported - {room} for room, imported in rooms.items()}


def cycles(graph: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Return the groups of two or more nodes that reach each other."""
    reached = {node: _reached(node, graph) for node in graph}
    groups = {frozenset(other for other in reached[node] if node in reached[other]) for node in graph}
    return sorted(sorted(group) for group in groups if len(group) > 1)


def without_shortcuts(graph: Graph) -> Graph:
    """Return an acyclic graph without the arrows that a longer way makes superfluous."""
    return {
        node: {to for to in targets if not any(to in _reached(other, graph) for other in targets - {to})}
        for node, targets in graph.items()
    }


def _name(file: Path, folder: str) -> str:
    parts = file.relative_to(REPOSITORY / folder).with_suffix("").parts
    if "tests" in parts or not parts[-1].isidentifier():  # gunicorn.conf.py is a configuration
        return ""
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(file: Path, prefix: str, known: Mapping[str, Path]) -> set[str]:
    found = set()
    for node in ast.walk(syntax_tree(file)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            module = name.removeprefix(prefix) if name.startswith(prefix) else ""
            while module and module not in known:
                module = module.rpartition(".")[0]
            found.add(module)
    return found - {""}


def _reached(start: str, graph: Mapping[str, Iterable[str]]) -> set[str]:
    found: set[str] = set()
    waiting = list(graph.get(start, ()))
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting.extend(graph.get(node, ()))
    return found
