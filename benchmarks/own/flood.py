"""What is still answered when 2, 5 and 10 times as many requests come as can be served: over kept and new connections.

    .venv/bin/python -m benchmarks.own.flood [--times 2,5,10] [--seconds 8] [--size photographs]

Needs what `make bench` has prepared (`python -m benchmarks --only accuracy`): photographs of about 110 KB. Starts the
service with two workers and without the result cache. Before and after each flood the peak is measured, by 32 clients
in a closed loop; goodput is the right answers a second of the flood in percent of the mean of both. Requests leave at
fixed moments, from this process, whose processor time is stated, as the service does not have it. Where it cannot
send as much as wanted, `sent` is below `times`. Latencies count from the moment at which a request was sent; `behind`
is the 99th percentile of how much later that was than due. Takes less than four minutes on an idle machine.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import image_folder
from sightline_testing.client import Client
from sightline_testing.faults.ledger import Entry, Ledger, Outcome, percentile
from sightline_testing.faults.load import Connection, Load
from sightline_testing.faults.questions import Question
from sightline_testing.service import running_service
from sightline_testing.waiting import wait_until

CLIENTS, IMAGES = 32, 32
COLUMNS = (
    "connections",
    "times",
    "sent",
    "goodput %",
    "p99 answered s",
    "p99 refused ms",
    "504 of accepted %",
    "neither",
    "behind ms",
    "generator's cores",
)
ACCEPTED = (Outcome.RIGHT, Outcome.WRONG, Outcome.LATE)
NEITHER = (Outcome.WRONG, Outcome.FAILED, Outcome.LOST, Outcome.CUT_OFF)
PATIENCE_S = 60.0
# The service's own timeout, which tests on a busy machine lengthen.
AS_MEASURED = {"MODEL_WORKERS": "2", "RESULT_CACHE": "0", "REQUEST_TIMEOUT_S": "5"}


class NewConnections(Load):
    """A load that makes a connection for each request."""

    def _free_connection(self) -> Connection:
        while self._idle:
            self._drop(self._idle.pop())
        return super()._free_connection()


@dataclass(frozen=True)
class Flood:
    """What a flood is to be: how many times the peak, for how long, and how its requests are sent."""

    kind: type[Load]
    times: float
    seconds: float


def main() -> int:
    """Print a row for each flood; return 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", default="2,5,10", help="of the peak (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each flood (default: %(default)s)")
    parser.add_argument("--size", default="photographs", help="a set of images of `make bench` (default: %(default)s)")
    options = parser.parse_args()
    images = [path.read_bytes() for path in sorted(image_folder(options.size).glob("*.jpg"))[:IMAGES]]
    say(f"{len(images)} images of {sum(map(len, images)) / len(images) / 1000:.0f} KB on average")
    with (
        tempfile.TemporaryDirectory(prefix="flood-") as folder,
        running_service(Path(folder), AS_MEASURED) as service,
    ):
        asked = [answered(Client(service.url), content) for content in images]
        say(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
        before = peak_of(service.url, asked, options.seconds / 2)
        for kind in (Load, NewConnections):
            for times in map(float, options.times.split(",")):
                row, before = flooded(service.url, asked, Flood(kind, times, options.seconds), before)
                say(row)
    return 0


def answered(client: Client, content: bytes) -> Question:
    """Return an image with the answer of the idle service."""
    answer = client.upload("/predict", content).json()
    return Question(content, answer["prediction"], answer["score"])


def peak_of(url: str, asked: list[Question], seconds: float) -> float:
    """Return the right answers a second that clients get who wait for each."""
    with Load(url, asked, clients=CLIENTS) as load:
        begin = begun(load)
        time.sleep(seconds)
        end = time.monotonic()
    return goodput_of(load.ledger, begin, end)


def begun(load: Load) -> float:
    """Wait until as many were answered as there are clients; return when that was."""
    wait_until(lambda: load.ledger.count(Outcome.RIGHT) >= CLIENTS, "the first are answered", PATIENCE_S)
    return time.monotonic()


def goodput_of(ledger: Ledger, begin: float, end: float) -> float:
    """Return the right answers a second of this time."""
    return sum(begin <= each.ended_at < end for each in ledger.ended(Outcome.RIGHT)) / (end - begin)


def flooded(url: str, asked: list[Question], flood: Flood, before: float) -> tuple[str, float]:
    """Return the row of a flood, and the peak after it."""
    with flood.kind(url, asked, rate=flood.times * before) as load:
        begin, used_s = begun(load), time.process_time()
        time.sleep(flood.seconds)
        end, used_s = time.monotonic(), time.process_time() - used_s
        load.rate = 0
    client = Client(url)
    wait_until(lambda: client.upload("/predict", asked[0].content).status == 200, "it is at ease", PATIENCE_S)
    after = peak_of(url, asked, flood.seconds / 2)
    peak = (before + after) / 2
    ledger = load.ledger
    sent = sum(begin <= each.sent_at < end for each in ledger.entries)
    accepted = ledger.count(*ACCEPTED)
    cells = (
        "kept" if flood.kind is Load else "new",
        f"{flood.times:g}",
        f"{sent / (end - begin) / peak:.1f}",
        f"{100 * goodput_of(ledger, begin, end) / peak:.0f}",
        f"{percentile(map(taken_s, ledger.ended(Outcome.RIGHT)), 0.99):.2f}",
        f"{1000 * percentile(map(taken_s, ledger.ended(Outcome.REFUSED)), 0.99):.0f}",
        f"{100 * ledger.count(Outcome.LATE) / max(accepted, 1):.2f} of {accepted}",
        f"{ledger.count(*NEITHER)}",
        f"{1000 * percentile((each.sent_at - each.due_at for each in ledger.entries), 0.99):.0f}",
        f"{used_s / (end - begin):.2f} of {len(os.sched_getaffinity(0))}",
    )
    return f"| {' | '.join(cells)} |", after


def taken_s(entry: Entry) -> float:
    """Return how long a request took from the moment at which it was sent."""
    return entry.ended_at - entry.sent_at


def say(line: str) -> None:
    """Print immediately."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
