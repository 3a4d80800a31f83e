"""Speed and cost of `sightline classify`, compared with wrk, which sends the same photographs to the same service.

    .venv/bin/python -m benchmarks.own.batch_client [--rounds 5] [--images 768] [--group 1,8]

Needs what `make bench` has prepared (`python -m benchmarks --only accuracy`). The service is started once, with two
workers' worth of its defaults and without the result cache. Rounds alternate between wrk at 32 connections, raw bodies,
and the command with so many small images a request at most. Printed are images a second, and milliseconds of processor
time an image of the service and of the client; ratios are those of one round, and the median of the rounds counts.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks import processes, settings
from benchmarks.client import wait_for_first_answer
from benchmarks.direct import direct_labels
from benchmarks.load import image_folder, image_list, put_load
from benchmarks.server import Server
from benchmarks.systems import SIGHTLINE, Pipeline, Setting

CONNECTIONS = 32
COMMAND = "import sys; from sightline import classify, commands; classify.GROUP_IMAGES = {}; sys.exit(commands.main())"


class Figures(NamedTuple):
    """What one load gave."""

    images_per_s: float
    service_ms: float
    client_ms: float


def main() -> int:
    """Measure and print; return 0."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=768)
    parser.add_argument("--group", default="1,8")
    parser.add_argument("--size", default="photographs", help="a set of images of `make bench` (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of wrk (default %(default)s)")
    options = parser.parse_args()
    sizes = [int(size) for size in options.group.split(",")]
    images = sorted(image_folder(options.size).glob("*.jpg"))
    listing = image_list("batch-client", images)
    expected = direct_labels(Pipeline.OWN, Setting(), image_list("batch-client-first", images[:1]))
    found: dict[int, list[Figures]] = {size: [] for size in (0, *sizes)}
    with tempfile.TemporaryDirectory(dir=settings.WORKSPACE) as folder, Server(SIGHTLINE, Setting()) as server:
        photos = Path(folder) / "photos"
        photos.mkdir()
        for number in range(options.images):
            os.link(images[number % len(images)], photos / f"{number}.jpg")
        endpoint = server.endpoint("raw")
        wait_for_first_answer(
            endpoint, images[0], expected[images[0].name], timeout_s=120, is_running=server.is_running
        )
        for number in range(options.rounds + 1):
            for size in found if number % 2 else reversed(found):
                figures = by_command(server, photos, size) if size else by_wrk(server, listing, options.seconds)
                if number:  # the first round warms up
                    found[size].append(figures)
            say(f"round {number}: " + ", ".join(f"{size or 'wrk'}: {lines[-1:]}" for size, lines in found.items()))
    for size, lines in found.items():
        say(f"{f'{size} images a request' if size else 'wrk':20} {summary(lines, found[0])}")
    return 0


def by_wrk(server: Server, listing: Path, seconds: float) -> Figures:
    """Put the load of wrk on the service."""
    before, own = processes.cpu_seconds(server.pids()), children_s()
    result = put_load(server.endpoint("raw").url, listing, "raw", CONNECTIONS, seconds)
    service = processes.cpu_seconds(server.pids()) - before
    return Figures(result.images_per_s, 1000 * service / result.images, 1000 * (children_s() - own) / result.images)


def by_command(server: Server, photos: Path, size: int) -> Figures:
    """Classify the folder by the command, with so many images a request at most."""
    output = photos.parent / "results.csv"
    output.unlink(missing_ok=True)
    shutil.rmtree(settings.STATE / "uploads", ignore_errors=True)
    (settings.STATE / "uploads").mkdir()
    url = f"http://127.0.0.1:{server.port}"
    words = [sys.executable, "-c", COMMAND.format(size), "--url", url, "classify", str(photos), "-o", str(output)]
    before, own, begin = processes.cpu_seconds(server.pids()), children_s(), time.monotonic()
    subprocess.run(words, check=True, stderr=subprocess.DEVNULL)
    took = time.monotonic() - begin
    service = processes.cpu_seconds(server.pids()) - before
    count = output.read_bytes().count(b"\n") - 1
    return Figures(count / took, 1000 * service / count, 1000 * (children_s() - own) / count)


def children_s() -> float:
    """Return the processor time of the processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def summary(lines: list[Figures], wrk: list[Figures]) -> str:
    """Return medians, and the median ratio of the rate to that of wrk."""
    rate, service, client = (statistics.median(column) for column in zip(*lines, strict=True))
    ratio = statistics.median(each.images_per_s / other.images_per_s for each, other in zip(lines, wrk, strict=True))
    total = statistics.median(
        (each.service_ms + each.client_ms) / (other.service_ms + other.client_ms)
        for each, other in zip(lines, wrk, strict=True)
    )
    costs = f"CPU ms an image: service {service:.2f}, client {client:.2f}; both, of wrk's {total:.2f}"
    return f"{rate:.1f} images/s, {ratio:.2f} of wrk's; {costs}"


def say(line: str) -> None:
    """Print without buffering."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
