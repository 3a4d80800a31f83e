"""`make stress`: python -m stress_test [--quick] [--only ...]; it measures, and writes the report."""

import itertools
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.results import Results
from benchmarks.settings import ROOT

from stress_test import pool
from stress_test.errors import StressError
from stress_test.machine import facts
from stress_test.options import Options, parse_options
from stress_test.plan import Cell, plan
from stress_test.report import write
from stress_test.run import carry_out
from stress_test.targets import WORKSPACE, Target, running


def main() -> int:
    """Carry out what is not measured yet, then write the report; return the exit status."""
    options = parse_options()
    # A quick look leaves the report of the whole run as it is.
    reported = WORKSPACE / "quick-report" if options.quick else ROOT / "stress_test"
    folder = WORKSPACE / ("quick-run" if options.quick else "run")
    if not (options.resume or options.report_only):
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    results = Results(folder)
    failures = 0
    if not options.report_only:
        pool.make(WORKSPACE / "images")
        remember_machine(folder / "machine.json")
        failures = measure([cell for cell in plan(options) if not results.has(cell.key)], options, results)
    if not results.rows:
        print("stress: nothing was measured", file=sys.stderr)
        return 1
    machine = json.loads((folder / "machine.json").read_text("utf-8"))
    print(f"\n{write(reported, machine, results.rows)}\nReport: {(reported / 'REPORT.md').relative_to(ROOT)}")
    return 1 if failures else 0


def remember_machine(file: Path) -> None:
    """Store what the run's figures depend on; a resumed run keeps the values of its start."""
    if not file.exists():
        file.write_text(json.dumps(facts(), indent=1) + "\n", "utf-8")


def measure(cells: list[Cell], options: Options, results: Results) -> int:
    """Carry out the runs, those of one setup under one start of the service; return how many failed."""
    done = itertools.count(1)
    for setup, group in itertools.groupby(cells, key=lambda cell: cell.setup):
        chosen = list(group)
        print(f"{setup}: starting", flush=True)
        try:
            with running(setup, options.port, options.project) as target:
                for cell in chosen:
                    print(f"[{next(done)}/{len(cells)}] {cell.key} ", end="", flush=True)
                    attempt(cell, target, options, results)
        # A setup that does not start must not cost the figures of the others; --resume tries it again.
        except (StressError, OSError, subprocess.SubprocessError) as error:
            print(f"FAILED: {error}", flush=True)
    return sum(not results.has(cell.key) for cell in cells)


def attempt(cell: Cell, target: Target, options: Options, results: Results) -> None:
    """Carry out one run, and say how it went."""
    began = time.monotonic()
    try:
        row = carry_out(cell, target, options.warm_up, options.most_users)
    except (StressError, OSError, subprocess.SubprocessError) as error:
        print(f"FAILED: {error}", flush=True)
        return
    results.add(cell.key, [row])
    predict = row["requests"].get("predict", {})
    told = f"{predict.get('per_second', 0):.1f} images/s, p50 {predict.get('p50_ms', 0):.0f} ms"
    print(f"{told}, {row['all']['failed']} failed ({time.monotonic() - began:.0f} s)", flush=True)


if __name__ == "__main__":
    sys.exit(main())
