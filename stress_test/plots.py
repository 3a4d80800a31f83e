"""Draw a run's figures: python -m stress_test.plots results/runs.json"""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot

from stress_test.conclusions import Row, latency, lines, rate

DPI = 110


def draw(file: Path) -> None:
    """Write the plots next to the figures."""
    rows = json.loads(file.read_text("utf-8"))["rows"]
    _throughput(rows, file.with_name("throughput.png"))
    _cost(rows, file.with_name("cost.png"))
    _over_time(rows, file.with_name("queue.png"))


def _throughput(rows: list[Row], file: Path) -> None:
    figure, (rates, medians, tails) = pyplot.subplots(1, 3, figsize=(15, 4.5), layout="constrained")
    for (instances, size), line in lines(rows).items():
        users = [row["users"] for row in line]
        look = {"marker": "o", "linestyle": "--" if size == 1 else "-", "label": _label(instances, size)}
        rates.plot(users, [rate(row) for row in line], **look)
        medians.plot(users, [latency(row, "p50_ms") for row in line], **look)
        tails.plot(users, [latency(row, "p99_ms") for row in line], **look)
    for axis, title in ((rates, "images/s"), (medians, "p50, ms"), (tails, "p99, ms")):
        axis.set_xscale("log", base=2)
        axis.set_xticks(sorted({row["users"] for line in lines(rows).values() for row in line}) or [1])
        axis.get_xaxis().set_major_formatter(mpl.ticker.ScalarFormatter())
        axis.set(title=title, xlabel="users")
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    if lines(rows):
        rates.legend()
    _save(figure, file)


def _cost(rows: list[Row], file: Path) -> None:
    measured = [row for row in rows if row.get("cpu_cores")]
    services = list(dict.fromkeys(name for row in measured for name in row["cpu_cores"]))
    figure, (cores, memory) = pyplot.subplots(1, 2, figsize=(15, 1.5 + 0.28 * len(measured)), layout="constrained")
    labels = [
        f"{row['experiment']} {row['target']}, {_label(row['instances'], row['batch_size'])}, {row['users']} users"
        for row in measured
    ]
    for axis, key, title in ((cores, "cpu_cores", "cores"), (memory, "memory_mb", "MB")):
        left = [0.0] * len(measured)
        for service in services:
            widths = [float(row[key].get(service, 0.0)) for row in measured]
            axis.barh(range(len(measured)), widths, left=left, label=service)
            left = [before + width for before, width in zip(left, widths, strict=True)]
        axis.set(title=title)
        axis.invert_yaxis()
        axis.grid(axis="x", alpha=0.3)
    cores.set_yticks(range(len(measured)), labels, fontsize=8)
    memory.set_yticks([])
    if services:
        memory.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    _save(figure, file)


def _over_time(rows: list[Row], file: Path) -> None:
    figure, (queue, batches) = pyplot.subplots(1, 2, figsize=(15, 4.5), layout="constrained")
    most = max((row["users"] for row in rows if row["experiment"] == "matrix"), default=0)
    for row in rows:
        if row["experiment"] == "matrix" and row["users"] == most:
            look = {"linestyle": "--" if row["batch_size"] == 1 else "-"}
            look["label"] = _label(row["instances"], row["batch_size"])
            _line(queue, row.get("queue"), look)
            _line(batches, row.get("batches"), look)
    for axis, title in ((queue, f"jobs in the queue, {most} users"), (batches, f"jobs in a batch, {most} users")):
        axis.set(title=title, xlabel="s")
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
        if axis.lines:
            axis.legend()
    _save(figure, file)


def _line(axis: Any, points: list[list[float]] | None, look: dict[str, str]) -> None:
    if points:
        axis.plot(*zip(*points, strict=True), **look)


def _label(instances: int, size: int) -> str:
    return f"{instances} x model, {'no batching' if size == 1 else f'batches up to {size}'}"


def _save(figure: Any, file: Path) -> None:
    figure.savefig(file, dpi=DPI)
    pyplot.close(figure)


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
