"""`make test`: runs every suite in the place its imports expect, and adds up what they found.

api/ and model/ are import roots with modules of the same names, so each suite is a run of its own. Three suites run at
a time, since tests often wait; what each prints is shown when it ends, or when the whole run is stopped.

Where few tests fail, they are repeated by themselves when everything else has ended. Those that pass then are named as
unsteady and do not fail the run: docs/decisions/0039-unsteady-tests.md.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from queue import SimpleQueue
from typing import IO

from sightline_testing.junit import Totals, read, settle
from sightline_testing.redis_server import FIRST_PROCESS
from sightline_testing.service import REPOSITORY

RESULTS = REPOSITORY / "var" / "test-results"
CORES = os.cpu_count() or 1
# Processes of a suite, whether it runs alone or as one of three. Services belong to a file.
PROCESSES = CORES
# Of one whose tests wait for most of their time.
PROCESSES_THAT_WAIT = CORES + 1
AT_A_TIME = 3


@dataclass(frozen=True)
class Suite:
    """A folder to run pytest in, and what to run there; the files that take longest start first."""

    name: str
    folder: str
    tests: str
    options: tuple[str, ...] = ()
    longest: tuple[str, ...] = ()
    together: tuple[tuple[str, ...], ...] = ()  # files that share what a process starts once: a service, a browser
    is_parallel: bool = True
    is_short: bool = False  # one process: others would take longer to import what it needs than to run their share
    processes: int = PROCESSES  # each of them collects all the tests, and starts servers of its own
    is_repeated: bool = True  # what fails is repeated; not where an assertion must hold every time

    @property
    def report(self) -> Path:
        """Return the place of pytest's JUnit report."""
        return RESULTS / f"{self.name}.xml"


# Folders of tests/ with commands of their own.
OF_THEIR_OWN = ("chart", "faults", "security", "clients", "containers", "gpu", "site")
# A service costs seconds at its start, and a little for as long as it runs: what needs nothing special shares one.
OF_THE_SHARED_SERVICE = (
    *(
        f"tests/browser/test_{name}.py"
        for name in (
            "access",
            "batches",
            "errors",
            "maps",
            "naming",
            "operate",
            "report",
            "screenshots",
            "visitors",
            "without_scripts",
            "words",
        )
    ),
    "tests/test_integration.py",
    "tests/test_protocols.py",
)
OF_TWO_WORKERS = ("tests/test_promotion.py", "tests/test_own_models.py")
OF_A_CHECKOUT = ("tests/test_operations.py", "tests/test_documented_commands.py")  # the latter have more to back up
OF_A_BROWSER = tuple(f"tests/browser/test_{name}.py" for name in ("below_a_path", "feedback_loop", "review", "teach"))
# In the order of their start: long ones first, short ones last.
SUITES = (
    Suite(
        "system",
        ".",
        "tests",
        tuple(f"--ignore=tests/{name}" for name in OF_THEIR_OWN),
        longest=(
            "tests/browser/test_teach.py",
            "tests/browser/test_access.py",
            "tests/test_operations.py",
            "tests/test_documented_commands.py",
            "tests/test_promotion.py",
            "tests/test_own_models.py",
            "tests/test_running.py",
            "tests/test_command_line.py",
            "tests/test_object_storage.py",
            "tests/test_traces.py",
            "tests/test_exercise.py",
        ),
        together=(OF_THE_SHARED_SERVICE, OF_A_BROWSER, OF_TWO_WORKERS, OF_A_CHECKOUT),
        processes=PROCESSES_THAT_WAIT,
    ),
    Suite(
        "model",
        "model",
        "tests",
        longest=(
            "tests/cli/test_improve.py",
            "tests/serving/test_worker.py",
            "tests/cli/test_promotion.py",
            "tests/cli/test_train_folder.py",
            "tests/cli/test_evaluate.py",
            "tests/default_model/test_bundle_graphs.py",
        ),
        processes=PROCESSES_THAT_WAIT,
    ),
    # It waits for most of its time, and would leave a core idle at the end.
    Suite("launcher", "deploy", "tests", longest=("tests/test_supervision.py",)),
    Suite(
        "api",
        "api",
        "tests",
        longest=(
            "tests/server/test_worker.py",
            "tests/observability/test_metrics.py",
            "tests/server/test_load_shedding.py",
            "tests/reports/test_database.py",
            "tests/server/test_floods.py",
            "tests/test_offload.py",
        ),
    ),
    Suite(
        "wire",
        "wire",
        "tests",
        longest=("tests/redis/test_failover.py", "tests/test_costs.py", "tests/producer/test_replies.py"),
        processes=PROCESSES_THAT_WAIT,
    ),
    Suite("storage", "storage", "tests", longest=("tests/test_s3.py",)),
    Suite("client", "client", "tests", is_short=True),
    Suite("benchmarks", ".", "benchmarks/tests", is_short=True),
    Suite("stress", ".", "stress_test/tests", is_short=True),
)
# Our own tests are held to these; tests that others drop into a folder are not.
STRICT = ("-W", "error", "--strict-markers", "--strict-config")
# pytest would load every plugin that is installed, and two of them take seconds in each process.
PLUGINS = {
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    "PYTEST_PLUGINS": "xdist.plugin,_hypothesis_pytestplugin,pytest_timeout,sightline_testing.plugin",
}
PYTEST_OPTIONS = ("--quiet", "--durations=5", *STRICT)
# A test that waits for what never comes fails with its stack; the longest takes a minute where the machine is free.
TEST_LIMIT_S = 400
# Ends a suite that its tests' limit cannot end; the longest takes ten minutes.
SUITE_LIMIT_S = 2400
# More failures than these are no accident of a busy machine.
MAX_REPEATED = 3
# pytest's exit status where tests ran to the end and some failed; a run that broke off has another.
SOME_FAILED = 1
# The long forms of faults and attacks take as long as they take.
LONG_FORMS = ("FULL", "TWINS")
_running: list[subprocess.Popen[bytes]] = []
# Commands of their own, since they take minutes.
# One at a time: they judge what a flood or a killed process does to everything else on the machine.
FAULTS = Suite("faults", ".", "tests/faults", is_parallel=False, is_repeated=False)
SECURITY = Suite("security", ".", "tests/security", is_parallel=False, is_repeated=False)
# Clients of other projects, which are no part of the environment: `make test-clients`.
CLIENTS = Suite("clients", ".", "tests/clients", is_parallel=False)
# Needs PyTorch, which is no part of the environment: `make test-gpu`.
GPU = Suite("gpu", "model", "../tests/gpu")
# The Helm chart, without a cluster: `make test-chart`.
CHART = Suite("chart", ".", "tests/chart")
# The documentation, which `make docs` has built.
SITE = Suite("site", ".", "tests/site")
# Only on request: against a service that runs already, which SIGHTLINE_URL names.
REMOTE = Suite("remote", ".", "tests/test_integration.py", is_parallel=False)
CONTAINERS = Suite("containers", ".", "tests/containers", is_parallel=False)
ELSEWHERE = (REMOTE, CONTAINERS)


def main(names: list[str]) -> int:
    """Run the named suites, or all; return the exit status."""
    known = {suite.name: suite for suite in (*SUITES, FAULTS, SECURITY, CLIENTS, GPU, CHART, SITE, *ELSEWHERE)}
    if unknown := set(names) - set(known):
        _say(f"no suite is named {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
        return 2
    remote = [suite.name for suite in ELSEWHERE if suite.name in names]
    if remote and "SIGHTLINE_URL" not in os.environ:
        _say(f"the suite {remote[0]} needs SIGHTLINE_URL, the address of a running service")
        return 2
    started = time.monotonic()
    suites = [known[name] for name in names] or SUITES
    totals = Totals()
    of_each = run_all(suites)
    unsteady = repeat_failed(suites, of_each)
    for suite, found in zip(suites, of_each, strict=True):
        _say(f"{suite.name:12}{found.timed(found.seconds)}")
        totals += found
    _say(totals.timed(time.monotonic() - started))
    with (RESULTS / "unsteady.txt").open("a") as file:
        for name in unsteady:
            line = f"UNSTEADY, it failed and then passed by itself: {name}"
            _say(line)
            file.write(f"{line}\n")
    if totals.skipped and os.environ.get("CI"):
        _say("a test was skipped, and in CI none may be")
        return 1
    return 1 if totals.failed or not totals.passed else 0


def run_all(suites: Sequence[Suite]) -> list[Totals]:
    """Run the suites, some at a time where all of them allow it, and return the totals of each."""
    if len(suites) == 1 or not all(suite.is_parallel for suite in suites):
        return [run_alone(suite) for suite in suites]
    firsts: SimpleQueue[int] = SimpleQueue()
    for number in range(AT_A_TIME):
        firsts.put(number * max(suite.processes for suite in suites))
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        return list(pool.map(run_beside, suites, repeat(firsts)))


def run_alone(suite: Suite) -> Totals:
    """Run a suite by itself; what it prints is shown immediately."""
    _say(f"--- {suite.name}")
    return run(suite)


def run_beside(suite: Suite, firsts: "SimpleQueue[int]") -> Totals:
    """Run a suite while others run, and show what it printed when it has ended.

    `firsts` holds the numbers from which no running suite counts its processes.
    """
    _say(f"--- {suite.name} has started")
    RESULTS.mkdir(parents=True, exist_ok=True)
    with (RESULTS / f"{suite.name}.log").open("w+b") as output:
        first = firsts.get()
        try:
            totals = run(suite, first, output)
        finally:
            firsts.put(first)
        output.seek(0)
        _say(f"--- {suite.name}\n{output.read().decode(errors='replace')}--- {suite.name}: {totals}")
    return totals


def run(suite: Suite, first: int = 0, output: IO[bytes] | None = None) -> Totals:
    """Run one suite and return its totals; a run that broke off counts as a failure.

    `first` is the number of its first process among those of all suites that run at the same time.
    """
    started = time.monotonic()
    RESULTS.mkdir(parents=True, exist_ok=True)
    suite.report.unlink(missing_ok=True)
    options = list(suite.options)
    if suite.is_parallel and not suite.is_short:
        # A process that a test took along is not replaced: the same test would take the next one along, without end.
        options += ["--dist=loadfile", f"--numprocesses={suite.processes}", "--max-worker-restart=0"]
    if suite.is_parallel and suite.longest:
        options += ["--no-loadscope-reorder", *(f"--begin-with={file}" for file in suite.longest)]
        options += [f"--together={','.join(files)}" for files in suite.together]
    returncode, processor_s = _pytest(suite, suite.report, options, first, output)
    totals = read(suite.report)
    if returncode != 0 and not totals.failed:
        totals.failed = 1
    totals.is_whole = returncode in {0, SOME_FAILED}
    totals.seconds, totals.processor_s = time.monotonic() - started, processor_s
    return totals


def repeat_failed(suites: Sequence[Suite], totals: Sequence[Totals]) -> list[str]:
    """Repeat the tests that failed, where they are few; return the names of those that passed and now count as such.

    A suite that broke off, or whose assertions must hold every time, stays as it is.
    """
    if sum(found.failed for found in totals) > MAX_REPEATED:
        return []
    unsteady = []
    for suite, found in zip(suites, totals, strict=True):
        if not found.failed or not found.is_whole or not suite.is_repeated:
            continue
        _say(f"--- {suite.name}: what failed is repeated")
        report = suite.report.with_suffix(".repeated")
        _pytest(suite, report, ["--last-failed", "--last-failed-no-failures=none", *suite.options])
        unsteady += settle(suite.report, report)
        settled = read(suite.report)
        found.passed, found.failed = settled.passed, settled.failed
    return unsteady


def _pytest(
    suite: Suite, report: Path, options: Sequence[str], first: int = 0, output: IO[bytes] | None = None
) -> tuple[int, float]:
    """Run pytest in a suite's place; return its exit status and the seconds of processors that it took."""
    is_long = any(os.environ.get(name) for name in LONG_FORMS)
    limits = () if is_long else (f"--timeout={TEST_LIMIT_S}",)
    # The cache holds what failed; suites that run at the same time would overwrite each other's.
    files = (f"--junitxml={report}", f"--override-ini=cache_dir={RESULTS / f'{suite.name}.cache'}")
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", suite.tests, *PYTEST_OPTIONS, *files, *limits, *options],
        cwd=REPOSITORY / suite.folder,
        env=environment() | {FIRST_PROCESS: str(first)},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
    )
    limit = threading.Timer(SUITE_LIMIT_S, _end, [suite, process])
    if not is_long:
        limit.start()
    _running.append(process)
    _, status, spent = os.wait4(process.pid, 0)
    _running.remove(process)
    limit.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, spent.ru_utime + spent.ru_stime


def environment() -> dict[str, str]:
    """Return the environment of a suite: every process that it starts keeps what it compiles for those after it.

    Hypothesis keeps the constants of modules, and the classes of characters, in one folder for all suites.
    """
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    kept = {"HYPOTHESIS_STORAGE_DIRECTORY": str(REPOSITORY / "var" / "hypothesis")}
    return inherited | PLUGINS | kept | {"PYTHONPATH": "."}


def _end(suite: Suite, process: subprocess.Popen[bytes]) -> None:
    _say(f"--- {suite.name}: ended after {SUITE_LIMIT_S} s")
    process.terminate()


def _show_what_ran(signal_number: int, _frame: object) -> None:
    """Show what the running suites have printed, so that an aborted run shows its progress."""
    for log in RESULTS.glob("*.log"):
        if not log.with_suffix(".xml").exists():
            _say(f"--- {log.stem} had printed\n{log.read_text(errors='replace')}")
    for process in _running:
        process.terminate()
    os._exit(128 + signal_number)  # an exit would wait for the threads that wait for the suites


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _show_what_ran)
    sys.exit(main(sys.argv[1:]))
