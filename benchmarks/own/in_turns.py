"""Sightline and Mosec in turns: all serve at the same time, one of them is under load, and the loads are short.

    PYTHONPATH=. .venv/bin/python -m benchmarks.own.in_turns [--rounds 8] [--seconds 3] [--precision int8]

A machine whose speed changes within minutes shows no difference between figures that were taken one after the other, as
`make bench` takes them. Here each round has all systems within seconds. Printed are the medians of the rounds, and of
the ratios of Sightline to each other system in the same round, with quartiles. Run `make bench` once before, which
installs Mosec and makes the images.
"""

import argparse
import http.client
import statistics
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from benchmarks.errors import NoAnswerError
from benchmarks.load import image_folder, image_list
from benchmarks.measure import Load, Row, measure_load
from benchmarks.plan import PHOTOGRAPHS
from benchmarks.server import Server
from benchmarks.systems import SYSTEMS, Setting

Side = tuple[str, str]  # a system, and the kind of body
OWN: Side = ("sightline", "raw")
ALONE: tuple[Side, ...] = (OWN, ("mosec-single", "raw"), ("mosec-wide", "raw"))
BUSY: tuple[Side, ...] = (OWN, ("sightline", "multipart"), ("mosec", "raw"), ("mosec-single", "raw"))
COMPARED = {1: ALONE, 32: BUSY, 128: BUSY}
SHOWN = {"images_per_s": "images/s", "cpu_ms": "CPU ms/image", "p50_ms": "p50 ms", "p99_ms": "p99 ms"}
WARM_UP_S = 6.0
START_TIMEOUT_S = 120.0


def in_turns(servers: Mapping[str, Server], listing: Path, connections: int, rounds: int, seconds: float) -> None:
    """Put loads on the systems in turn, and print what they come to."""
    sides = COMPARED[connections]
    rows: dict[Side, list[Row]] = defaultdict(list)
    for number in range(rounds + 1):
        for side in sides if number % 2 else reversed(sides):
            duration_s = seconds if number else WARM_UP_S
            row = measure_load(servers[side[0]], Load(listing, side[1], connections, duration_s, warm_up_s=0))
            if number:
                rows[side].append(row)
    print(f"\n{connections} connections")
    for side in sides:
        print(f"  {' '.join(side):22}", *(f"{_median(rows[side], key):9.2f} {name}" for key, name in SHOWN.items()))
    for side in sides[1:]:
        ratios = (f"{name} {_ratio(rows[OWN], rows[side], key)}" for key, name in SHOWN.items())
        print(f"  Sightline, raw, of {' '.join(side)}: " + "; ".join(ratios), flush=True)


def _wait_for_an_answer(server: Server, image: bytes) -> None:
    until = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < until:
        with suppress(OSError, http.client.HTTPException):
            if server.endpoint("raw").post(image)[0] == http.HTTPStatus.OK:
                return
        time.sleep(0.1)
    raise NoAnswerError(f"{server.system.title} does not answer")


def _median(rows: Sequence[Row], key: str) -> float:
    return statistics.median(float(row[key]) for row in rows)


def _ratio(own: Sequence[Row], other: Sequence[Row], key: str) -> str:
    low, middle, high = statistics.quantiles([a[key] / b[key] for a, b in zip(own, other, strict=True)], n=4)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def main() -> None:
    """Start all systems and compare them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--precision", choices=("int8", "fp32"), default="int8")
    parser.add_argument("--connections", type=int, nargs="+", choices=COMPARED, default=list(COMPARED))
    options = parser.parse_args()
    images = sorted(image_folder(PHOTOGRAPHS).glob("*.jpg"))
    listing = image_list(PHOTOGRAPHS, images)
    names = dict.fromkeys(name for count in options.connections for name, _ in COMPARED[count])
    with ExitStack() as stack:
        servers = {}
        for name in names:
            servers[name] = server = stack.enter_context(Server(SYSTEMS[name], Setting(options.precision)))
            _wait_for_an_answer(server, images[0].read_bytes())
        for connections in options.connections:
            in_turns(servers, listing, connections, options.rounds, options.seconds)


if __name__ == "__main__":
    main()
