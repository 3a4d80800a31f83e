"""How long the api's event loop stands still while images are stored: in a folder, and in object storage.

python -m benchmarks.own.hub_pauses [SECONDS]

A greenlet of the real api wants to be woken every 5 ms; what it waits beyond that is a pause, in which no other request
is served. Images are new each time and of 100 KB; no worker is there, so that each is stored and then a job for later.
On a machine that does other things the pauses are theirs as well: compare the two lines.
"""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path

from benchmarks import settings
from sightline_testing.client import Client
from sightline_testing.redis_server import RedisServer, free_port, redis_binaries
from sightline_testing.s3_server import S3Server
from sightline_testing.sample_images import jpeg
from sightline_testing.waiting import wait_until

SENDERS, LONG_S, BYTES = 8, 0.05, 100_000
# Async jobs that no worker does; deleting them would need a worker, so there is room for all.
HEADERS = {"Content-Type": "image/jpeg", "Prefer": "respond-async"}
# The api's own configuration, and a greenlet that notes its pauses.
CONFIGURATION = """
import time
from pathlib import Path

exec(compile(Path("gunicorn.conf.py").read_text(), "gunicorn.conf.py", "exec"))
_prepare = post_worker_init


def _tick():
    import gevent

    longest, count, started = 0.0, 0, time.monotonic()
    while True:
        before = time.monotonic()
        gevent.sleep(0.005)
        pause = time.monotonic() - before - 0.005
        longest, count = max(longest, pause), count + (pause > {long_s})
        if time.monotonic() - started > 0.5:
            started = time.monotonic()
            Path({file!r}).write_text(f"{{longest}} {{count}}")


def post_worker_init(worker):
    import gevent

    _prepare(worker)
    gevent.spawn(_tick)
"""


def main(seconds: float) -> None:
    """Print a line for each place of images."""
    with tempfile.TemporaryDirectory() as name, servers(Path(name)) as (redis, s3):
        for place, told in (("folder", {}), ("s3", {**s3.settings, "IMAGE_STORE": "s3://images/pauses"})):
            folder = Path(name, place)
            folder.mkdir()
            longest, count, stored = measured(folder, {**told, "REDIS_SOCKET": str(redis.socket_path)}, seconds)
            print(f"{place:8} {stored:6} images; longest pause {1000 * longest:6.1f} ms; {count} above 50 ms")


def measured(folder: Path, told: dict[str, str], seconds: float) -> tuple[float, int, int]:
    """Return the longest pause, how many were long, and how many images were sent."""
    file, port = folder / "pauses", free_port()
    (folder / "conf.py").write_text(CONFIGURATION.format(long_s=LONG_S, file=str(file)))
    own = {"HOST": "127.0.0.1", "PORT": str(port), "UPLOAD_FOLDER": str(folder / "uploads"), "RESULT_CACHE": "0"}
    own |= {"ADMIT_WITHOUT_WORKERS": "1", "MAX_QUEUE_SIZE": "1000000", "MAX_JOBS": "1000000"}
    own |= {"FEEDBACK_FILEPATH": str(folder / "feedback" / "feedback"), "PYTHONPATH": ".", "LOG_LEVEL": "error"}
    command = [sys.executable, "-m", "gunicorn", "--config", str(folder / "conf.py")]
    process = subprocess.Popen(command, cwd=settings.ROOT / "api", env={**os.environ, **own, **told})
    try:
        client = Client(f"http://127.0.0.1:{port}")
        wait_until(lambda: is_up(client), "the api serves")
        file.unlink(missing_ok=True)
        statuses = load(client, seconds)
        time.sleep(1.0)
        longest, count = file.read_text().split()
    finally:
        process.terminate()
        process.wait()
    print(f"         {dict(statuses)}")
    return float(longest), int(count), sum(statuses.values())


def load(client: Client, seconds: float) -> Counter[int]:
    """Send new images from several threads; return the statuses."""
    image, until, statuses = jpeg(640, 480), time.monotonic() + seconds, Counter[int]()
    padding = bytes(max(BYTES - len(image), 0))

    def send(number: int) -> None:
        sent = 0
        while time.monotonic() < until:
            sent += 1
            content = image + padding + f"{number}-{sent}".encode()
            with suppress(OSError, HTTPException):
                statuses[client.send("POST", "/predict", content, HEADERS).status] += 1

    threads = [threading.Thread(target=send, args=(number,)) for number in range(SENDERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses


def is_up(client: Client) -> bool:
    """Return whether the api serves."""
    with suppress(OSError):
        return client.get("/livez").status == 200
    return False


@contextmanager
def servers(folder: Path) -> Iterator[tuple[RedisServer, S3Server]]:
    """Run a Redis and an S3 server."""
    (folder / "redis").mkdir()
    redis, s3 = RedisServer(next(iter(redis_binaries().values())), folder / "redis"), S3Server(folder / "server")
    (folder / "server").mkdir()
    redis.start()
    s3.start()
    try:
        yield redis, s3
    finally:
        s3.kill()
        redis.close()


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 20.0)
