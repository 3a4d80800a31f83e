"""Draw a run's rate, latency and cost against the number of connections; run in the peers' environment."""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot

CONNECTIONS = (1, 8, 32, 128)
PANELS = (("images_per_s", "images/s"), ("p99_ms", "p99, ms"), ("cpu_ms", "CPU ms/image"))


def draw(folder: Path) -> None:
    """Write plot.png next to the run's summary."""
    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    series = _series(summary["lines"])
    if not series:
        return
    figure, axes = pyplot.subplots(1, len(PANELS), figsize=(15, 4.5), layout="constrained")
    for axis, (metric, title) in zip(axes, PANELS, strict=True):
        for name, lines in sorted(series.items()):
            _draw_series(axis, name, lines, metric)
        axis.set_title(title)
        axis.set_xscale("log", base=2)
        axis.set_xticks(CONNECTIONS, map(str, CONNECTIONS))
        axis.set_xlabel("connections")
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    limit = _limit(summary["lines"])
    if limit:
        axes[0].axhline(limit, linestyle="--", color="grey", label="this machine's limit")
    axes[0].legend()
    figure.savefig(folder / "plot.png", dpi=110)


def _series(lines: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    series: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        dimensions = line["dimensions"]
        if dimensions["experiment"] == "speed" and "connections" in dimensions:
            series.setdefault(f"{dimensions['system']} ({dimensions['body']})", []).append(line)
    return series


def _draw_series(axis: Any, name: str, lines: list[dict[str, Any]], metric: str) -> None:
    lines = sorted(lines, key=lambda line: line["dimensions"]["connections"])
    lines = [line for line in lines if metric in line["figures"]]
    figures = [line["figures"][metric] for line in lines]
    medians = [figure["median"] for figure in figures]
    spread = [
        [figure["median"] - figure["low"] for figure in figures],
        [figure["high"] - figure["median"] for figure in figures],
    ]
    connections = [line["dimensions"]["connections"] for line in lines]
    axis.errorbar(connections, medians, yerr=spread, marker="o", capsize=3, label=name)


def _limit(lines: list[dict[str, Any]]) -> float | None:
    wanted = {"experiment": "limit", "system": "direct-own", "part": "decode + inference", "precision": "int8"}
    for line in lines:
        if wanted.items() <= line["dimensions"].items():
            return float(line["figures"]["images_per_s"]["median"])
    return None


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
