"""What a job costs a worker without decoding and inference: processor time of a consumer's thread, less those two.

    PYTHONPATH=model:. .venv/bin/python -m benchmarks.own.worker_overhead FOLDER [--jobs 2000] [--batch 8] [--rounds 5]

Fills a queue with jobs about the images of FOLDER and lets one worker of one consumer empty it, in this process:
reading, fetching, digests, answers and metrics are counted. Leases, heartbeats and what else goes by the clock are in
other threads, which are printed apart: on a slow machine they take more a job. Prints the median of the rounds.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
QUEUE = "benchmark"
# Another process sends the jobs, all together, so that neither its time nor their arrival is measured.
SEND = """
import socket, sys
connection = socket.create_connection(sys.argv[1:3])
connection.sendall(open(sys.argv[3], "rb").read())
while b"bye" not in connection.recv(65536):
    pass
"""


def main() -> None:
    """Print the milliseconds of processor time a job."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--jobs", type=int, default=2000, help="in each round (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=8, help="jobs in a batch at most (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    from sightline_testing.redis_server import RedisServer, redis_binaries  # noqa: PLC0415  after the arguments

    with tempfile.TemporaryDirectory() as state:
        server = RedisServer(next(iter(redis_binaries().values())), Path(state))
        server.start()
        os.environ |= {
            "REDIS_IP": server.host,
            "REDIS_PORT": str(server.port),
            "REDIS_QUEUE": QUEUE,
            "UPLOAD_FOLDER": str(options.folder),
            "MAX_BATCH_SIZE": str(options.batch),
            "LOG_LEVEL": "warning",
        }
        try:
            measure(server, options)
        finally:
            server.close()


class Meter:
    """Adds up the processor time of a thread in the functions that it wraps."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, measured."""

        def measured(*arguments: Any, **options: Any) -> Any:
            begin = time.thread_time()
            try:
                return function(*arguments, **options)
            finally:
                self.seconds += time.thread_time() - begin

        return measured


def jobs(keys: Any, names: Sequence[str], count: int) -> bytes:
    """Return one transaction that adds so many jobs, and a last command whose reply is `bye`."""
    from wire import Job  # noqa: PLC0415
    from wire.redis.resp import pack  # noqa: PLC0415

    each = (Job(f"job-{at}", names[at % len(names)], "nobody", 600_000) for at in range(count))
    adds = [pack("XADD", keys.jobs, "*", "job", job.encode()) for job in each]
    return b"".join([pack("MULTI"), *adds, pack("EXEC"), pack("ECHO", "bye")])


def measure(server: Any, options: argparse.Namespace) -> None:
    """Serve the rounds and print what they took."""
    import ml_service  # noqa: PLC0415  reads the environment at import
    import settings  # noqa: PLC0415
    from inference.model import Model  # noqa: PLC0415
    from serving.worker import Worker  # noqa: PLC0415
    from wire.redis.keys import Keys  # noqa: PLC0415

    model = ml_service._loaded(ml_service._chosen_bundle(), settings.ENGINE, 1, 1)
    decode, inference = Meter(), Meter()
    Model.prepare = decode.wrap(Model.prepare)  # type: ignore[method-assign]
    Model.predict = inference.wrap(Model.predict)  # type: ignore[method-assign]
    ends: SimpleQueue[str] = SimpleQueue()
    names = sorted(path.name for path in options.folder.iterdir() if path.is_file())
    worker = Worker(model, 1, ends)
    keys = Keys(QUEUE)
    worker.start()
    clock = time.pthread_getcpuclockid(worker.threads[0].ident or 0)

    def spent() -> tuple[float, ...]:
        return time.process_time(), time.clock_gettime(clock), decode.seconds, inference.seconds

    packet = str(Path(server.folder, "jobs"))
    Path(packet).write_bytes(jobs(keys, names, options.jobs))
    rows = []
    for number in range(options.rounds + 1):
        before = spent()
        subprocess.run([sys.executable, "-S", "-c", SEND, server.host, str(server.port), packet], check=True)
        while server.command("XLEN", keys.jobs).split(b"\r\n")[0] != b":0":
            time.sleep(0.02)
        whole, own, decoding, inferring = (
            1000 * (after - begin) / options.jobs for begin, after in zip(before, spent(), strict=True)
        )
        if number:  # the first warms up
            rows.append((own - decoding - inferring, whole - own, decoding, inferring))
    worker.stop()
    beside, others, decoding, inferring = (statistics.median(column) for column in zip(*rows, strict=True))
    print(f"without decode and inference {beside:.3f} ms; decode {decoding:.3f} ms, inference {inferring:.3f} ms a job")
    print(f"rounds: {' '.join(f'{row[0]:.3f}' for row in rows)}; the process' other threads {others:.3f} ms a job")


if __name__ == "__main__":
    main()
