"""What promotions cost those who are being served: ten of them, with as many rollbacks, under steady load.

    PYTHONPATH=. .venv/bin/python -m benchmarks.own.promotion_load [--share 0.7] [--seconds 60]

Finds out what the service can do at most, then sends so large a share of it at fixed moments, once in peace and once
while versions change, and once with a shadow. Latency counts from the moment at which a request was due.
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
from sightline_testing.feedback_loop import BASE, MODEL, FeedbackLoop, running_loop

NEW = f"{MODEL}/2-int8"
KINDS = ("sheet_music", "floor_plan")
CLIENTS = 32
PICTURES = 16
ROUNDS = 10
PEAK_S = 10.0
PAUSE_S = 5.0  # between a promotion and its rollback, and before the next one
NO_CACHE = {"RESULT_CACHE": "0"}  # every request is to be a job


@dataclass
class Run:
    """What a period of load came to."""

    latencies_ms: list[float] = field(default_factory=list)
    answers: set[tuple[int, str, str]] = field(default_factory=set)
    faults: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        cuts = statistics.quantiles(self.latencies_ms, n=100)
        faults = dict(self.faults) or "none"
        return f"{len(self.latencies_ms)} answered, p50 {cuts[49]:.1f} ms, p99 {cuts[98]:.1f} ms, failed: {faults}"


def steady(loop: FeedbackLoop, pictures: Sequence[bytes], rate: float, until: Callable[[], bool]) -> Run:
    """Requests at fixed moments, each by whichever client is free, until told to stop."""
    run, lock, begin = Run(), threading.Lock(), time.monotonic()
    numbers = iter(range(10**9))

    def client() -> None:
        while not until():
            with lock:
                number = next(numbers)
            due = begin + number / rate if rate else time.monotonic()
            time.sleep(max(0.0, due - time.monotonic()))
            at = number % len(pictures)
            try:
                run.answers.add((at, *loop.ask(pictures[at])))
                run.latencies_ms.append((time.monotonic() - due) * 1000)
            except (AssertionError, OSError) as fault:
                run.faults[str(fault)[:80]] += 1

    with ThreadPoolExecutor(CLIENTS) as pool:
        for future in [pool.submit(client) for _ in range(CLIENTS)]:
            future.result()
    return run


def lasting(seconds: float) -> Callable[[], bool]:
    """Says when so many seconds have passed."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end


def promoting(loop: FeedbackLoop, took: list[str]) -> Callable[[], bool]:
    """Promote and roll back, ten times each; says when that is done."""
    finished = threading.Event()

    def work() -> None:
        for _ in range(ROUNDS):
            for words in (("promote", NEW, "--force"), ("rollback",)):
                took.append(loop.done("models.py", *words).strip().rpartition("after ")[2])
                time.sleep(PAUSE_S)
        finished.set()

    threading.Thread(target=work, daemon=True).start()
    return finished.is_set


def main() -> None:
    """Print a line for each period."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--share", type=float, default=0.7, help="of the peak (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=60.0, help="of load in peace (default: %(default)s)")
    options = parser.parse_args()
    pictures = [drawing_jpeg(KINDS[at % 2], 1000 + at) for at in range(PICTURES)]
    with tempfile.TemporaryDirectory(prefix="promotion-") as folder, running_loop(Path(folder), NO_CACHE) as loop:
        loop.files.accept((drawing_jpeg(kind, seed), kind) for kind in KINDS for seed in range(10))
        loop.done("improve.py")
        peak = len(steady(loop, pictures, 0, lasting(PEAK_S)).latencies_ms) / PEAK_S
        rate = options.share * peak
        print(f"peak {peak:.0f} images/s, so {rate:.0f} images/s", flush=True)
        print(f"in peace: {steady(loop, pictures, rate, lasting(options.seconds))}", flush=True)
        took: list[str] = []
        run = steady(loop, pictures, rate, promoting(loop, took))
        print(f"{ROUNDS} promotions and rollbacks: {run}; each took {', '.join(took)}", flush=True)
        answers = Counter((at, version) for at, _, version in run.answers)
        print(f"pictures with two answers of one version: {sum(count > 1 for count in answers.values())}", flush=True)
        loop.done("models.py", "shadow", NEW, "--share", "0.1")
        time.sleep(5)
        print(f"with a shadow of {BASE}: {steady(loop, pictures, rate, lasting(options.seconds))}", flush=True)
        print(loop.done("models.py", "shadow", "--status"), flush=True)


if __name__ == "__main__":
    main()
