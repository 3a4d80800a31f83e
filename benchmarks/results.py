"""Where a run's results are kept: one JSON line for each finished step, so that a run can be gone on with."""

import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

from benchmarks import settings
from benchmarks.errors import PreparationError
from benchmarks.systems import CORES

Row = dict[str, Any]
# What decides how fast int8 and float models run.
VECTOR_INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8")


class Results:
    """The rows of one run, in memory and in its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[Row] = []
        self._finished: set[str] = set()
        self._file = folder / "steps.jsonl"
        if self._file.exists():
            for line in self._file.read_text("utf-8").splitlines():
                self._take(json.loads(line))

    def has(self, step: str) -> bool:
        """Return whether a step is finished already."""
        return step in self._finished

    def add(self, step: str, rows: list[Row]) -> None:
        """Keep a finished step."""
        entry = {"step": step, "at": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "rows": rows}
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        self._take(entry)

    def _take(self, entry: dict[str, Any]) -> None:
        self._finished.add(entry["step"])
        self.rows += entry["rows"]


def open_results(resume: str | None) -> Results:
    """Begin a new run's folder, or open an earlier one."""
    if resume is None:
        folder = settings.RESULTS / time.strftime("%Y%m%d-%H%M%S")
        folder.mkdir(parents=True)
        (folder / "machine.json").write_text(json.dumps(describe_machine(), indent=1) + "\n", "utf-8")
        return Results(folder)
    runs = sorted(path for path in settings.RESULTS.glob("*") if (path / "steps.jsonl").exists())
    chosen = [path for path in runs if resume in {"latest", path.name}]
    if not chosen:
        raise PreparationError(f"no run {resume!r} in {settings.RESULTS}; there are: {[path.name for path in runs]}")
    return Results(chosen[-1])


def describe_machine() -> Row:
    """Return what the figures depend on: processor, cores, memory, and the commit that was measured."""
    processor = Path("/proc/cpuinfo").read_text("utf-8")
    flags = _first(r"^flags\s*: (.*)$", processor).split()
    memory_kb = int(_first(r"^MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text("utf-8")))
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "processor": _first(r"^model name\s*: (.*)$", processor),
        "cores": CORES,
        "vector instructions": " ".join(flag for flag in flags if flag in VECTOR_INSTRUCTIONS),
        "memory GB": round(memory_kb / 1e6, 1),
        "commit": commit.stdout.strip() or "unknown",
    }


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    return found.group(1) if found else "0"
