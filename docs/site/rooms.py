"""Draw docs/rooms.svg: the packages of api, wire, storage and model, and which imports which (`make architecture`).

Graphviz makes the layout. tests/test_architecture.py compares the arrows of the diagram with those of the code.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from sightline_testing.imports import ROOTS, Graph, room_graph, without_shortcuts
from sightline_testing.service import REPOSITORY

DIAGRAM = REPOSITORY / "docs" / "rooms.svg"
# api and model import wire and storage, and not each other.
LABELS = {"api": "api  →", "wire": "wire", "storage": "storage", "model": "←  model"}
# Flat modules that everything may import say nothing about the structure.
EVERYWHERE = {"settings", "settings_parser", "errors"}
STYLE = """<style>
  .graph > polygon { fill: none; stroke: none; }
  text { fill: #13211d; font-family: -apple-system, "Segoe UI", Roboto, "Noto Sans", Arial, sans-serif; }
  .node path, .node polygon { fill: #ffffff; stroke: #0b6351; stroke-width: 1.3; }
  .cluster path, .cluster polygon { fill: #f4f6f2; stroke: #84968e; }
  .edge path { stroke: #4b5c56; }
  .edge polygon { fill: #4b5c56; stroke: #4b5c56; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e9f0ed; }
    .node path, .node polygon { fill: #141e1b; stroke: #6ed7bb; }
    .cluster path, .cluster polygon { fill: #0d1412; stroke: #6b7d76; }
    .edge path { stroke: #a5b5af; }
    .edge polygon { fill: #a5b5af; stroke: #a5b5af; }
  }
</style>
"""
_ARROW = re.compile(r"<title>(\w+)/(\w*)&#45;&gt;(\w+)/(\w*)</title>")


def arrows() -> set[tuple[str, str, str, str]]:
    """Return the arrows to draw as (root, room, root, room)."""
    return {(root, room, root, to) for root in ROOTS for room, targets in drawn(root).items() for to in targets}


def drawn(root: str) -> Graph:
    """Return the rooms of a root and their arrows, without shortcuts."""
    graph = room_graph(root)
    graph.pop("", None)
    kept = {room: targets - EVERYWHERE - {""} for room, targets in graph.items() if room not in EVERYWHERE}
    return without_shortcuts(kept)


def arrows_in(diagram: Path) -> set[tuple[str, str, str, str]]:
    """Return the arrows that a diagram shows."""
    return {(found[1], found[2], found[3], found[4]) for found in _ARROW.finditer(diagram.read_text())}


def main() -> int:
    """Write the diagram; return the exit status."""
    source = "\n".join(_dot())
    try:
        finished = subprocess.run(["dot", "-Tsvg"], input=source, capture_output=True, text=True, check=True)  # noqa: S607
    except FileNotFoundError:
        sys.stderr.write("dot is missing: install Graphviz (Debian package graphviz)\n")
        return 1
    svg = finished.stdout[finished.stdout.index("<svg") :]
    svg = re.sub(r"<!--.*?-->\n", "", svg, flags=re.DOTALL)
    svg = svg.replace("<g id=", STYLE + "<g id=", 1)
    DIAGRAM.write_text(svg)
    sys.stdout.write(f"{DIAGRAM.relative_to(REPOSITORY)}\n")
    return 0


def _dot() -> Iterator[str]:
    yield "digraph rooms {"
    yield '  rankdir=TB; ranksep=0.35; nodesep=0.18; compound=true; bgcolor="transparent";'
    yield '  node [shape=box, style=rounded, fontname="Arial", fontsize=13, height=0.34, margin="0.12,0.04"];'
    yield "  edge [arrowsize=0.6];"
    for root, (folder, _) in ROOTS.items():
        yield f"  subgraph cluster_{root} {{"
        yield f'    label="{LABELS[root]}"; fontname="Arial"; fontsize=18; margin=14;'
        graph = drawn(root)
        for room in sorted(graph):
            place = REPOSITORY / folder / room
            is_package = place.is_dir()
            tooltip = _docstring(place / "__init__.py" if is_package else place.with_suffix(".py"))
            style = "" if is_package else ', style="rounded,dashed"'
            yield f'    "{root}/{room}" [label="{room}{"/" if is_package else ""}", tooltip="{tooltip}"{style}];'
        for room, targets in sorted(graph.items()):
            for to in sorted(targets):
                yield f'    "{root}/{room}" -> "{root}/{to}";'
        yield "  }"
    yield "}"


def _docstring(file: Path) -> str:
    text = ast.get_docstring(ast.parse(file.read_text())) or ""
    return text.splitlines()[0].replace('"', "'") if text else ""


if __name__ == "__main__":
    sys.exit(main())
