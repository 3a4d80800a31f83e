"""The tables that a run ends with, as text; the same figures go to summary.json for the plot and for readers."""

import json
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.results import Results, Row
from benchmarks.summary import Figure, Line, summarise
from benchmarks.systems import COMPARED
from benchmarks.targets import judge


@dataclass(frozen=True)
class Column:
    """One metric: its heading, its place among the figures, and how it is written."""

    heading: str
    metric: str
    decimals: int = 1
    factor: float = 1.0


@dataclass(frozen=True)
class Table:
    """One experiment's lines: which dimensions name a line, and which metrics follow."""

    title: str
    experiment: str
    names: tuple[str, ...]
    columns: tuple[Column, ...]


RATE = Column("images/s", "images_per_s", 0)
CPU = Column("CPU ms/image", "cpu_ms", 2)
MEMORY = Column("MB", "memory_mb", 0)
LATENCY = (Column("p50 ms", "p50_ms"), Column("p90 ms", "p90_ms"), Column("p99 ms", "p99_ms"))
FAULTS = (Column("not 200", "not_200", 0), Column("socket errors", "socket_errors", 0))
NOISE = Column("others' cores", "other_cores", 2)
LOADED = (RATE, *LATENCY, CPU, MEMORY, *FAULTS, NOISE)
QUEUE_COSTS = (Column("Redis CPU ms/job", "redis_cpu_ms", 3), Column("producer CPU ms/job", "asker_cpu_ms", 3))
ACCURACY = (
    Column("images", "pictures_checked", 0),
    Column("same class %", "same_class", 1, 100),
    Column("right %", "right", 1, 100),
    Column("fp32 with Pillow right %", "usual_right", 1, 100),
)
STARTED = (
    Column("first right answer s", "cold_start_s", 2),
    Column("idle MB", "idle_mb", 0),
    Column("processes", "processes", 0),
    Column("as direct %", "equal_to_direct", 1, 100),
    Column("right %", "right", 1, 100),
)

TITLES = {system.name: system.title for system in COMPARED}

# From here on the machine counts as not left alone.
NOISY_CORES = 0.2

TABLES = (
    Table(
        "Accuracy compared with fp32 with Pillow's bicubic, without a server",
        "accuracy",
        ("system", "precision"),
        ACCURACY,
    ),
    Table(
        "This machine's limit: no network, no queue, every core", "limit", ("system", "precision", "part"), (RATE, CPU)
    ),
    Table("Start", "speed", ("system",), STARTED),
    Table("Load, int8", "speed", ("connections", "system", "body"), LOADED),
    Table("Image sizes, 32 connections", "sizes", ("pictures", "system"), LOADED),
    Table("Worker processes, 32 connections", "workers", ("workers", "system"), LOADED),
    Table("fp32", "fp32", ("connections", "system"), LOADED),
    Table("The same image again and again, int8", "cache", ("connections", "system"), LOADED),
    Table("Start, all peers", "peers", ("system",), STARTED),
    Table("All peers, int8", "peers", ("connections", "system"), LOADED),
    Table("Settings of the systems compared with, int8", "tuning", ("connections", "system"), LOADED),
    Table("Queue depth: cost of a job", "depth", ("depth",), (RATE, CPU, *QUEUE_COSTS)),
)


def report(results: Results) -> str:
    """Return all tables and the targets as text, and write both next to the results."""
    lines = summarise(results.rows)
    machine = json.loads((results.folder / "machine.json").read_text("utf-8"))
    verdicts = judge(results.rows, has_vnni="vnni" in machine["vector instructions"])
    sections = [", ".join(f"{name}: {value}" for name, value in machine.items())]
    sections += _noise_warning(results.rows)
    sections += [text for table in TABLES if (text := _table_text(table, lines))]
    sections.append("\n".join(verdict.text() for verdict in verdicts))
    text = "\n\n".join(sections) + "\n"
    summary = {
        "machine": machine,
        "lines": [asdict(line) for line in lines],
        "targets": [asdict(verdict) for verdict in verdicts],
    }
    _write(results.folder / "summary.json", json.dumps(summary, indent=1) + "\n")
    _write(results.folder / "report.txt", text)
    return text


def _noise_warning(rows: list[Row]) -> list[str]:
    shares = [row["other_cores"] for row in rows if "other_cores" in row]
    if not shares or statistics.median(shares) < NOISY_CORES:
        return []
    return [
        f"WARNING: other programs kept {statistics.median(shares):.1f} cores busy (median of the measurements). "
        "Rates, latencies and starts are theirs as much as the systems'; only CPU ms/image and memory can be used."
    ]


def _table_text(table: Table, lines: list[Line]) -> str:
    wanted = {"experiment": table.experiment}
    chosen = [line for line in lines if line.matches(wanted) and table.columns[0].metric in line.figures]
    if not chosen:
        return ""
    chosen.sort(key=lambda line: [_sort_key(line.dimensions.get(name)) for name in table.names])
    columns = [column for column in table.columns if any(column.metric in line.figures for line in chosen)]
    cells = [[*table.names, *(column.heading for column in columns)]]
    for line in chosen:
        names = [_name(line.dimensions.get(name, "")) for name in table.names]
        cells.append(names + [_cell(line.figures.get(column.metric), column) for column in columns])
    return f"{table.title} (median, lowest-highest)\n" + _aligned(cells)


def _sort_key(value: object) -> tuple[float, str]:
    return (float(value), "") if isinstance(value, int | float) else (0.0, str(value))


def _name(value: object) -> str:
    return TITLES.get(str(value), str(value))


def _cell(figure: Figure | None, column: Column) -> str:
    if figure is None:
        return "-"
    median, low, high = (f"{column.factor * x:.{column.decimals}f}" for x in (figure.median, figure.low, figure.high))
    return median if low == high else f"{median} ({low}-{high})"


def _aligned(cells: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def _write(path: Path, text: str) -> None:
    path.write_text(text, "utf-8")
