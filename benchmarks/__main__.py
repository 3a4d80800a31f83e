"""The bench: python -m benchmarks [--quick] [--only ...]; `make bench` runs it."""

import subprocess
import sys
import time

from benchmarks import settings
from benchmarks.environment import prepare_peers
from benchmarks.errors import BenchError, PreparationError
from benchmarks.options import parse_options
from benchmarks.plan import Step, plan
from benchmarks.report import report
from benchmarks.results import Results, open_results
from benchmarks.run import Runner
from benchmarks.systems import SYSTEMS


def main() -> int:
    """Prepare, measure what is not measured yet, and report."""
    options = parse_options()
    try:
        steps = plan(options)
        results = open_results(options.resume)
    except PreparationError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    prepare(steps)
    failures = measure([step for step in steps if not results.has(step.key)], Runner(options), results)
    print(report(results))
    subprocess.run([settings.PEER_PYTHON, "-m", "benchmarks.plot", results.folder], cwd=settings.ROOT, check=True)
    print(f"Results: {results.folder.relative_to(settings.ROOT)}")
    return 1 if failures else 0


def prepare(steps: list[Step]) -> None:
    """Make what the measurements need: the environments, the model bundles, the images."""
    systems = [SYSTEMS[step.system] for step in steps if step.system in SYSTEMS]
    prepare_peers(sorted({system.own_environment for system in systems} - {""}))
    # Sightline's own set-up, so that its start is timed with the environment and the bundle in place.
    told = settings.environment_with({"STATE_DIR": str(settings.STATE)})
    subprocess.run(["make", "--silent", "install"], cwd=settings.ROOT, env=told, check=True)
    subprocess.run([settings.PEER_PYTHON, "-m", "benchmarks.images"], cwd=settings.ROOT, check=True)


def measure(steps: list[Step], runner: Runner, results: Results) -> int:
    """Carry out the steps; return how many failed."""
    failures = 0
    for number, step in enumerate(steps, start=1):
        started_at = time.monotonic()
        print(f"[{number}/{len(steps)}] {step.key} ", end="", flush=True)
        try:
            results.add(step.key, runner.carry_out(step))
        # One system that fails must not cost the figures of the others; the step is tried again by --resume.
        except (BenchError, OSError, subprocess.SubprocessError) as error:
            failures += 1
            print(f"FAILED: {error}")
        else:
            print(f"{time.monotonic() - started_at:.0f} s")
    return failures


if __name__ == "__main__":
    sys.exit(main())
