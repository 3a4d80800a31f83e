"""`python -m sightline_testing.rooms` draws docs/rooms.svg: the packages of api, wire and model, and who imports whom.

The picture is made from the import statements alone, so it cannot go stale: a test compares the file with what this
module draws. An arrow that follows from two others is left out.
"""

import ast
import html
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sightline_testing.service import REPOSITORY

PICTURE = REPOSITORY / "docs" / "rooms.svg"
ROOTS = {"api": "api", "wire": "wire/src/wire", "model": "model"}
BOX_WIDTH, BOX_HEIGHT, GAP, LAYER_GAP, MARGIN, TITLE_HEIGHT = 118, 30, 12, 52, 20, 40
STYLE = """
  text { font: 12px system-ui, sans-serif; text-anchor: middle; fill: #1c2330; }
  .title { font-size: 17px; font-weight: 600; }
  .panel { fill: #f6f7f9; stroke: #c9cfd8; }
  .package { fill: #ffffff; stroke: #46608a; stroke-width: 1.5; }
  .module { fill: #eef2f8; stroke: #9aa7bb; }
  .arrow { fill: none; stroke: #7d8aa0; stroke-width: 1.1; marker-end: url(#head); }
  .cycle { stroke: #c0392b; stroke-width: 2; }
"""

Graph = Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class Box:
    """A room in the picture: its centre and its top edge."""

    x: float
    y: float


def imports_between_rooms(folder: Path, prefix: str = "") -> Graph:
    """Return which rooms (packages and flat modules) of an import root import which others of it."""
    files = {module_of(file, folder): file for file in folder.rglob("*.py") if "tests" not in file.parts}
    rooms = {name.partition(".")[0] for name in files if name}
    found: dict[str, set[str]] = {room: set() for room in rooms}
    for name, file in files.items():
        room = name.partition(".")[0]
        for imported in imported_names(file):
            inside = imported.removeprefix(prefix)
            other = inside.partition(".")[0]
            if room and imported.startswith(prefix) and other in rooms and other != room:
                found[room].add(other)
    return {room: frozenset(others) for room, others in found.items()}


def module_of(file: Path, folder: Path) -> str:
    """Return the dotted name of a file below an import root, empty for the root's own __init__."""
    parts = file.relative_to(folder).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_names(file: Path) -> Iterator[str]:
    """Yield what a file imports, by its full name: `from a import b` is a.b."""
    for node in ast.walk(ast.parse(file.read_text(), str(file))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def cycles(graph: Graph) -> set[frozenset[str]]:
    """Return the groups of rooms that import each other, directly or by way of others."""
    reach = {room: reachable(graph, room) for room in graph}
    groups = {frozenset({a, *(b for b in reach[a] if a in reach[b])}) for a in graph}
    return {group for group in groups if len(group) > 1}


def reachable(graph: Graph, start: str) -> frozenset[str]:
    """Return every room that a room imports, directly or by way of others."""
    seen: set[str] = set()
    ahead = [start]
    while ahead:
        for other in graph[ahead.pop()]:
            if other not in seen:
                seen.add(other)
                ahead.append(other)
    return frozenset(seen)


def reduced(graph: Graph) -> Graph:
    """Return the graph without the arrows that follow from others; those of a cycle stay."""
    within = {room: next((group for group in cycles(graph) if room in group), frozenset()) for room in graph}

    def is_implied(room: str, other: str) -> bool:
        if other in within[room]:
            return False
        return any(other in reachable(graph, between) for between in graph[room] - {other} - within[other])

    return {room: frozenset(o for o in others if not is_implied(room, o)) for room, others in graph.items()}


def layers(graph: Graph) -> list[list[str]]:
    """Return the rooms from those that nobody imports down to those that import nothing."""
    group_of = {room: next((group for group in cycles(graph) if room in group), frozenset({room})) for room in graph}

    @cache
    def height(group: frozenset[str]) -> int:
        below = {group_of[other] for room in group for other in graph[room]} - {group}
        return 1 + max(map(height, below), default=-1)

    found: dict[int, list[str]] = {}
    for room in sorted(graph):
        found.setdefault(height(group_of[room]), []).append(room)
    return [found[level] for level in sorted(found, reverse=True)]


def ordered(rows: list[list[str]], graph: Graph) -> list[list[str]]:
    """Return the layers with each room near those that import it, so that fewer arrows cross."""
    place = {room: index / max(len(row) - 1, 1) for row in rows for index, room in enumerate(row)}
    for _ in range(8):
        for row in rows:
            for room in row:
                near = [place[o] for o in graph[room]] + [place[r] for r in graph if room in graph[r]]
                place[room] = sum(near) / len(near) if near else place[room]
            row.sort(key=lambda room: (place[room], room))
            place |= {room: index / max(len(row) - 1, 1) for index, room in enumerate(row)}
    return rows


def drawn() -> str:
    """Return the picture as SVG."""
    graphs = {
        root: imports_between_rooms(REPOSITORY / folder, "wire." if root == "wire" else "")
        for root, folder in ROOTS.items()
    }
    x, panels, height = MARGIN, [], 0.0
    for root, graph in graphs.items():
        panel, width, panel_height = _panel(root, graph, x)
        panels.append(panel)
        x, height = x + width + MARGIN, max(height, panel_height)
    size = f'width="{x:.0f}" height="{height + 2 * MARGIN:.0f}" viewBox="0 0 {x:.0f} {height + 2 * MARGIN:.0f}"'
    head = (
        '<marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" fill="#7d8aa0"/></marker>'
    )
    title = "<title>The packages of api, wire and model, and their imports</title>"
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {size}>', title, f"<style>{STYLE}</style>"]
    return "\n".join([*parts, f"<defs>{head}</defs>", *panels, "</svg>", ""])


def _panel(root: str, graph: Graph, left: float) -> tuple[str, float, float]:
    rows = ordered(layers(graph), graph)
    width = max(len(row) for row in rows) * (BOX_WIDTH + GAP) - GAP + 2 * MARGIN
    height = TITLE_HEIGHT + len(rows) * (BOX_HEIGHT + LAYER_GAP) - LAYER_GAP + MARGIN
    boxes: dict[str, Box] = {}
    for level, row in enumerate(rows):
        start = left + width / 2 - (len(row) - 1) * (BOX_WIDTH + GAP) / 2
        for index, room in enumerate(row):
            y = MARGIN + TITLE_HEIGHT + level * (BOX_HEIGHT + LAYER_GAP)
            boxes[room] = Box(start + index * (BOX_WIDTH + GAP), y)
    parts = [
        f'<rect class="panel" x="{left:.0f}" y="{MARGIN}" width="{width:.0f}" height="{height:.0f}" rx="8"/>',
        f'<text class="title" x="{left + width / 2:.0f}" y="{MARGIN + 26}">{root}/</text>',
        *_arrows(graph, boxes),
        *(_box(root, room, box) for room, box in boxes.items()),
    ]
    return "\n".join(parts), width, height


def _arrows(graph: Graph, boxes: Mapping[str, Box]) -> Iterable[str]:
    in_cycles = cycles(graph)
    for room, others in sorted(reduced(graph).items()):
        for other in sorted(others):
            a, b = boxes[room], boxes[other]
            is_cycle = any({room, other} <= group for group in in_cycles)
            y1, y2 = a.y + BOX_HEIGHT, b.y
            bend = (y2 - y1) / 2
            yield (
                f'<path class="arrow{" cycle" if is_cycle else ""}" d="M{a.x:.0f},{y1:.0f} '
                f'C{a.x:.0f},{y1 + bend:.0f} {b.x:.0f},{y2 - bend:.0f} {b.x:.0f},{y2:.0f}"/>'
            )


def _box(root: str, room: str, box: Box) -> str:
    is_package = (REPOSITORY / ROOTS[root] / room).is_dir()
    kind, label = ("package", f"{room}/") if is_package else ("module", room)
    return (
        f'<rect class="{kind}" x="{box.x - BOX_WIDTH / 2:.0f}" y="{box.y:.0f}" width="{BOX_WIDTH}" '
        f'height="{BOX_HEIGHT}" rx="5"/><text x="{box.x:.0f}" y="{box.y + 19:.0f}">{html.escape(label)}</text>'
    )


if __name__ == "__main__":
    PICTURE.write_text(drawn())
