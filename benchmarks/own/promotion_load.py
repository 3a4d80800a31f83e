"""What promotions cost those who are being served: ten of them, with as many rollbacks, under steady load.

    PYTHONPATH=. .venv/bin/python -m benchmarks.own.promotion_load [--share 0.7] [--seconds 20] [--rounds 10]

Finds out what the service can do at most, then sends so large a share of it at fixed moments, once in peace and once
while versions change, and once with a shadow. Latency counts from the moment at which a request was due; a change, from
the moment at which it was decided until every worker serves the other version. Takes less than four minutes.
"""

import argparse
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from sightline_testing.drawings import drawing_jpeg
from sightline_testing.feedback_loop import MODEL, FeedbackLoop, running_loop

NEW = f"{MODEL}/2-int8"
KINDS = ("sheet_music", "floor_plan")
CLIENTS = 32
IMAGES = 16
PEAK_S = 10.0
PAUSE_S = 4.0  # between a promotion and its rollback, and before the next one
NO_CACHE = {"RESULT_CACHE": "0"}  # every request is to be a job


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


def promoting(loop: FeedbackLoop, rounds: int, took: list[float]) -> Callable[[], bool]:
    """Promote and roll back, a number of times each; return a condition that is true when this is done."""
    finished = threading.Event()

    def work() -> None:
        try:
            for _ in range(rounds):
                for words in (("promote", NEW, "--force"), ("rollback",)):
                    took.append(float(loop.done("cli.models", *words).split()[-2]))  # "... after 1.2 s"
                    time.sleep(PAUSE_S)
        finally:
            finished.set()

    threading.Thread(target=work, daemon=True).start()
    return finished.is_set


def main() -> None:
    """Print a line for each period."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--share", type=float, default=0.7, help="of the peak (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of load in peace (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=10, help="a promotion and a rollback each (default: %(default)s)")
    options = parser.parse_args()
    images = [drawing_jpeg(KINDS[at % 2], 1000 + at) for at in range(IMAGES)]
    with tempfile.TemporaryDirectory(prefix="promotion-") as folder, running_loop(Path(folder), NO_CACHE) as loop:
        loop.files.accept((drawing_jpeg(kind, seed), kind) for kind in KINDS for seed in range(10))
        loop.done("cli.improve")
        peak = len(steady(loop, images, 0, lasting(PEAK_S)).latencies_ms) / PEAK_S
        rate = options.share * peak
        _say(f"peak {peak:.0f} images/s, so {rate:.0f} images/s\n")
        _say("| period | answered | failed | p50 | p99 | times p99 in peace |\n|---|---|---|---|---|---|")
        peace = steady(loop, images, rate, lasting(options.seconds))
        _say(peace.row("in peace", peace))
        took: list[float] = []
        run = steady(loop, images, rate, promoting(loop, options.rounds, took))
        _say(run.row(f"{options.rounds} promotions, {options.rounds} rollbacks", peace))
        loop.done("cli.models", "shadow", NEW, "--share", "0.1")
        time.sleep(PAUSE_S)
        shadowed = steady(loop, images, rate, lasting(options.seconds))
        _say(shadowed.row("with a shadow of 10 %", peace))
        _say("\n| change | slowest | each |\n|---|---|---|")
        for name, seconds in (("promotion", took[::2]), ("rollback", took[1::2])):
            _say(f"| {name} | {max(seconds):.1f} s | {', '.join(f'{each:.1f}' for each in seconds)} |")
        answers = Counter((at, version) for at, _, version in run.answers)
        _say(f"\nimages with two answers of one version: {sum(count > 1 for count in answers.values())}")
        _say(loop.done("cli.models", "shadow", "--status"))


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
