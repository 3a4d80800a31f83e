"""What promotions cost those who are being served: ten of them, with as many rollbacks, under steady load.

    PYTHONPATH=. .venv/bin/python -m benchmarks.own.promotion_load [--share 0.7] [--seconds 40] [--rounds 10]
    PYTHONPATH=. .venv/bin/python -m benchmarks.own.promotion_load --share 0.5 --seconds 20 --rounds 5 --no-shadow

Finds out what the service can do at most, then sends so large a share of it at fixed moments: in rounds, each in peace
and then while the version changes and changes back, and at last with a shadow. Latency counts from the moment at which
a request was due; a change, from the moment at which it was decided until every worker serves the other version. The
commands run at their usual low priority. Takes about four minutes on an idle machine, with the options of the second
line two. Printed at the end is the processor time of a command and, for each change, of the workers beyond what they
take in peace.
"""

import argparse
import resource
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import processes
from sightline_testing.drawings import drawing_jpeg
from sightline_testing.feedback_loop import MODEL, FeedbackLoop, running_loop

NEW = f"{MODEL}/2-int8"
KINDS = ("sheet_music", "floor_plan")
CLIENTS = 32
IMAGES = 16
PEAK_S = 10.0
PAUSE_S = 4.0  # between a promotion and its rollback, and before the next one
# Every request is to be a job; and commands yield to those who answer, as they do by default.
SETTINGS = {"RESULT_CACHE": "0", "COMMAND_NICENESS": "19"}


@dataclass
class Run:
    """What a period of load came to."""

    latencies_ms: list[float] = field(default_factory=list)
    answers: set[tuple[int, str, str]] = field(default_factory=set)
    faults: Counter[str] = field(default_factory=Counter)

    @property
    def p99_ms(self) -> float:
        """Return what one request in a hundred waits longer than."""
        return statistics.quantiles(self.latencies_ms, n=100)[98]

    def add(self, other: "Run") -> None:
        """Add another period of the same kind."""
        self.latencies_ms += other.latencies_ms
        self.answers |= other.answers
        self.faults += other.faults

    def row(self, period: str, in_peace: "Run") -> str:
        """Return a line of the table."""
        p50, times = statistics.median(self.latencies_ms), self.p99_ms / in_peace.p99_ms
        failed = ", ".join(f"{count} {fault}" for fault, count in self.faults.items()) or "0"
        count = len(self.latencies_ms)
        return f"| {period} | {count} | {failed} | {p50:.1f} ms | {self.p99_ms:.1f} ms | {times:.2f} |"


def steady(loop: FeedbackLoop, images: Sequence[bytes], rate: float, until: Callable[[], bool]) -> Run:
    """Send requests at fixed moments, each by any free client, until stopped."""
    run, lock, begin = Run(), threading.Lock(), time.monotonic()
    numbers = iter(range(10**9))

    def client() -> None:
        while not until():
            with lock:
                number = next(numbers)
            due = begin + number / rate if rate else time.monotonic()
            time.sleep(max(0.0, due - time.monotonic()))
            at = number % len(images)
            try:
                run.answers.add((at, *loop.ask(images[at])))
                run.latencies_ms.append((time.monotonic() - due) * 1000)
            except (AssertionError, OSError) as fault:
                run.faults[str(fault)[:80]] += 1

    with ThreadPoolExecutor(CLIENTS) as pool:
        for future in [pool.submit(client) for _ in range(CLIENTS)]:
            future.result()
    return run


def lasting(seconds: float) -> Callable[[], bool]:
    """Return a condition that is true after this number of seconds."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end


def promoting(loop: FeedbackLoop, took: list[float]) -> Callable[[], bool]:
    """Promote and roll back once; returns when that is done."""
    finished = threading.Event()

    def work() -> None:
        try:
            for words in (("promote", NEW, "--force"), ("rollback",)):
                took.append(float(loop.done("cli.models", *words).split()[-2]))  # "... after 1.2 s"
                time.sleep(PAUSE_S)
        finally:
            finished.set()

    threading.Thread(target=work, daemon=True).start()
    return finished.is_set


def in_rounds(
    loop: FeedbackLoop, images: Sequence[bytes], rate: float, options: argparse.Namespace
) -> tuple[Run, Run, list[float], str]:
    """Load in peace and while versions change, in turn; return both, how long each change took, and what it cost."""
    peace, run = Run(), Run()
    took: list[float] = []
    ratios: list[float] = []
    usual_s = changing_s = command_s = 0.0
    for _ in range(options.rounds):
        began = _spent_s(loop)
        calm = steady(loop, images, rate, lasting(options.seconds / options.rounds))
        usual_s, began = usual_s + _spent_s(loop) - began, _spent_s(loop)
        commands = _children_s()
        changed = steady(loop, images, rate, promoting(loop, took))
        changing_s, command_s = changing_s + _spent_s(loop) - began, command_s + _children_s() - commands
        ratios.append(changed.p99_ms / calm.p99_ms)
        peace.add(calm)
        run.add(changed)
    beyond_s = changing_s - usual_s / len(peace.latencies_ms) * len(run.latencies_ms)
    costs = f"a command {command_s / len(took):.2f} s, a change in all workers {beyond_s / len(took):.2f} s"
    listed = ", ".join(f"{each:.1f}" for each in ratios)
    middle = statistics.median(ratios)
    notes = f"p99 of a round, of that in the seconds before: {listed}; median {middle:.1f}\nprocessor time: {costs}"
    return peace, run, took, notes


def main() -> None:
    """Print a line for each period."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--share", type=float, default=0.7, help="of the peak (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=40.0, help="of load in peace, in all (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=10, help="a promotion and a rollback each (default: %(default)s)")
    parser.add_argument("--no-shadow", action="store_true", help="leave out the period with a shadow")
    options = parser.parse_args()
    images = [drawing_jpeg(KINDS[at % 2], 1000 + at) for at in range(IMAGES)]
    with tempfile.TemporaryDirectory(prefix="promotion-") as folder, running_loop(Path(folder), SETTINGS) as loop:
        loop.files.accept((drawing_jpeg(kind, seed), kind) for kind in KINDS for seed in range(10))
        loop.done("cli.improve")
        peak = len(steady(loop, images, 0, lasting(PEAK_S)).latencies_ms) / PEAK_S
        rate = options.share * peak
        _say(f"peak {peak:.0f} images/s, so {rate:.0f} images/s\n")
        _say("| period | answered | failed | p50 | p99 | times p99 in peace |\n|---|---|---|---|---|---|")
        peace, run, took, notes = in_rounds(loop, images, rate, options)
        _say(peace.row("in peace", peace))
        _say(run.row(f"{options.rounds} promotions, {options.rounds} rollbacks", peace))
        if not options.no_shadow:
            loop.done("cli.models", "shadow", NEW, "--share", "0.1")
            time.sleep(PAUSE_S)
            shadowed = steady(loop, images, rate, lasting(options.seconds))
            _say(shadowed.row("with a shadow of 10 %", peace))
        _say(f"\n{notes}")
        _say("\n| change | slowest | each |\n|---|---|---|")
        for name, seconds in (("promotion", took[::2]), ("rollback", took[1::2])):
            _say(f"| {name} | {max(seconds):.1f} s | {', '.join(f'{each:.1f}' for each in seconds)} |")
        answers = Counter((at, version) for at, _, version in run.answers)
        _say(f"\nimages with two answers of one version: {sum(count > 1 for count in answers.values())}")
        if not options.no_shadow:
            _say(loop.done("cli.models", "shadow", "--status"))


def _spent_s(loop: FeedbackLoop) -> float:
    """Return the processor time of the workers so far."""
    launcher = loop.service.launcher
    pids = processes.tree(launcher.pid) if launcher else []
    return processes.cpu_seconds([pid for pid in pids if "ml_service" in _command(pid)])


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text("utf-8")
    except OSError:
        return ""


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
