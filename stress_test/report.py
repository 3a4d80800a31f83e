"""REPORT.md, its plots and its figures as JSON: all of it follows from the rows of a run."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.settings import ROOT

from stress_test.conclusions import Row, conclude, latency, lines, of, rate, verdicts

FIGURES = "results/runs.json"
PLOTS = {
    "results/throughput.png": "Images a second and latency by users",
    "results/cost.png": "Processor and memory of each service",
    "results/queue.png": "Queue and batches over time",
}


def write(folder: Path, machine: dict[str, Any], rows: list[Row]) -> str:
    """Write everything into the folder; return the verdicts and conclusions as text."""
    (folder / "results").mkdir(parents=True, exist_ok=True)
    (folder / FIGURES).write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n", "utf-8")
    subprocess.run([sys.executable, "-m", "stress_test.plots", folder / FIGURES], cwd=ROOT, check=True)
    (folder / "REPORT.md").write_text(report(machine, rows), "utf-8")
    return "\n".join(_verdict_lines(rows))


def report(machine: dict[str, Any], rows: list[Row]) -> str:
    """Return REPORT.md."""
    sections = [
        "# Stress report",
        "Written by `make stress` from the run itself. `stress_test/README.md` explains how it is measured.",
        _section("Verdicts", "\n".join(_verdict_lines(rows))),
        _section("What it shows", "\n\n".join(conclude(rows, int(machine["cores"])))),
        _section("Users by instances: images a second", _grid(rows, lambda row: f"{rate(row):.1f}")),
        _section("Users by instances: median latency, ms", _grid(rows, lambda row: f"{latency(row, 'p50_ms'):.0f}")),
        _section("Without and with batching", _batching_table(rows)),
        _section("Plots", "\n\n".join(f"![{title}]({file})" for file, title in PLOTS.items())),
        _section("Every run", _table(rows)),
        _section("What each service took", _cost_table(rows)),
        _section("Machine and versions", _rows_of(("what", "value"), machine.items())),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n{text}" if text else ""


def _verdict_lines(rows: list[Row]) -> list[str]:
    return [f"- {'held' if verdict.held else '**missed**'}: {verdict.text}" for verdict in verdicts(rows)]


def _grid(rows: list[Row], cell: Callable[[Row], str]) -> str:
    found = lines(rows)
    users = sorted({row["users"] for row in of(rows, "matrix")})
    if not found:
        return ""
    body = []
    for (instances, size), line in found.items():
        by_users = {row["users"]: cell(row) for row in line}
        body.append((instances, _size(size), *(by_users.get(count, "-") for count in users)))
    return _rows_of(("model instances", "batching", *(f"{count} users" for count in users)), body)


def _batching_table(rows: list[Row]) -> str:
    found = lines(rows)
    body = []
    for (instances, size), line in found.items():
        without = {row["users"]: row for row in found.get((instances, 1), [])}
        for row in line if size > 1 else []:
            if row["users"] in without:
                before = without[row["users"]]
                change = f"{100 * (rate(row) / rate(before) - 1):+.0f} %" if rate(before) else "-"
                images = (f"{rate(before):.1f}", f"{rate(row):.1f}", change)
                p99 = (f"{latency(before, 'p99_ms'):.0f}", f"{latency(row, 'p99_ms'):.0f}")
                body.append((instances, row["users"], *images, *p99, row.get("mean_batch") or "-"))
    heads = ("without, images/s", "with", "change", "without, p99 ms", "with", "jobs in a batch")
    return _rows_of(("model instances", "users", *heads), body) if body else ""


def _table(rows: list[Row]) -> str:
    heads = ("images/s", "requests/s", "p50 ms", "p95", "p99", "max", "refused", "failed", "most in queue")
    body = []
    for row in rows:
        times = [f"{latency(row, name):.0f}" for name in ("p50_ms", "p95_ms", "p99_ms", "max_ms")]
        counts = (row["all"]["refused"], row["all"]["failed"])
        deepest = max((depth for _, depth in row.get("queue") or []), default=None)
        last = "-" if deepest is None else f"{deepest:.0f}"
        rates = (f"{rate(row):.1f}", f"{row['all']['per_second']:.1f}")
        body.append((*_names(row), *rates, *times, *counts, last))
    return _rows_of((*_NAMES, *heads), body)


def _cost_table(rows: list[Row]) -> str:
    services = list(dict.fromkeys(name for row in rows for name in row.get("cpu_cores", {})))
    body = []
    for row in rows:
        used, memory = row.get("cpu_cores", {}), row.get("memory_mb", {})
        cells = [f"{used[name]:.2f}, {memory.get(name, 0):.0f}" if name in used else "-" for name in services]
        body.append((*_names(row), *cells, f"{row.get('others_cores', 0):.2f}"))
    text = _rows_of((*_NAMES, *services, "others"), body)
    return f"Cores, and MB at most (shared pages counted once). `locust` is the generator.\n\n{text}"


_NAMES = ("run", "from", "model instances", "batching", "users")


def _names(row: Row) -> tuple[object, ...]:
    return row["experiment"], row["target"], row["instances"], _size(row["batch_size"]), row["users"]


def _size(size: int) -> str:
    return "off" if size == 1 else f"up to {size}"


def _rows_of(heads: Iterable[object], body: Iterable[Iterable[object]]) -> str:
    names = [str(head) for head in heads]
    table = [names, ["---"] * len(names), *([str(cell) for cell in line] for line in body)]
    return "\n".join(f"| {' | '.join(line)} |" for line in table)
