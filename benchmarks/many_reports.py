"""How fast the inbox opens, and how much memory the exports take, with very many reports.

`python -m benchmarks.many_reports [REPORTS] [postgres]` writes them into a folder of its own, a third of them decided,
starts the api on it without Redis and without workers, and sends requests. `postgres` imports them into a PostgreSQL of
its own and read from there.
"""

import random
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.request import Request, urlopen

from benchmarks import settings
from sightline_testing.postgres_server import PostgresServer, postgres_binaries
from sightline_testing.redis_server import free_port
from sightline_testing.waiting import wait_until

REPORTS = 100_000
IMAGES = 30_000
LABELS = [f"label_{number}" for number in range(40)]
ASKED = (
    "/review",
    "/review?status=all",
    "/review?status=corrected",
    "/review?status=all&label=label_7",
    "/review?status=all&label=nobody_said_this",
    "/review?status=open&model=net/2",
    "/review?status=all&place=after~500~500",
    "/review/cases.csv",
    "/review/cases.jsonl",
)
REPEATS = 5
Ask = Callable[[str], bytes]


def main(count: int, *, in_database: bool) -> None:
    """Print a line for each question: its median time and the api's memory afterwards."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        write(Path(folder), count)
        url = stack.enter_context(imported(Path(folder))) if in_database else ""
        with api(Path(folder), url) as (process, ask):
            started = time.perf_counter()
            ask("/review")
            took = time.perf_counter() - started
            print(f"{count} reports; first page in {took:.2f} s; {most_memory_mb(process):.0f} MB")
            for path in ASKED:
                times = sorted(timed(ask, path) for _ in range(REPEATS))
                print(f"{path:45} {times[REPEATS // 2] * 1000:7.0f} ms {most_memory_mb(process):6.0f} MB")


def write(folder: Path, count: int) -> None:
    """Write the two files as the api would; the images themselves are not needed."""
    draw = random.Random(1)
    with (folder / "feedback.csv").open("w") as reports, (folder / "decisions.csv").open("w") as decisions:
        reports.write(
            "report_id,reported_at,image_path,image_sha256,prediction,score,model,model_version,label,comment\n"
        )
        decisions.write("time,report_id,decision,label,reviewer\n")
        for number in range(count):
            image, label = number % IMAGES, draw.choice(LABELS)
            cells = (
                f"{number:036d}",
                "2026-11-22T10:00:00.000+00:00",
                f"uploads/{image:032x}.jpg",
                f"{image:064x}",
            )
            said = (draw.choice(LABELS), "0.5123", "net", draw.choice("123"), label, "another class")
            reports.write(",".join(f'"{cell}"' for cell in (*cells, *said)) + "\n")
            if number % 3 == 0:
                decision = draw.choice(("accept", "correct", "reject"))
                decisions.write(f'"2026-11-22T11:00:00.000+00:00","{number:036d}","{decision}","{label}","Ann"\n')


@contextmanager
def imported(folder: Path) -> Iterator[str]:
    """Give the address of a database with these reports; print what taking them in and writing them out took."""
    from storage.reports.postgres import schema, transfer  # noqa: PLC0415  needs packages that others do without

    binaries = postgres_binaries()
    if binaries is None:
        sys.exit("no PostgreSQL: install Debian's package postgresql")
    server = PostgresServer(binaries)
    try:
        server.start()
        schema.migrate(server.url())
        database = transfer.open_database(server.url())
        for what, work in (
            ("imported", lambda: transfer.import_folder(database, folder)),
            ("exported", lambda: transfer.export_folder(database, folder / "exported")),
        ):
            started = time.perf_counter()
            work()
            print(f"{what} in {time.perf_counter() - started:.2f} s")
        database.close()
        yield server.url()
    finally:
        server.close()


@contextmanager
def api(folder: Path, database_url: str = "") -> Iterator[tuple[int, Ask]]:
    """Run the api on these reports; give the process that serves, and how to ask it."""
    key, port = secrets.token_hex(16), free_port()
    told = {"HOST": "127.0.0.1", "PORT": str(port), "OPERATOR_KEY": key, "REDIS_PORT": "1"}
    told |= {"FEEDBACK_FILEPATH": str(folder / "feedback"), "UPLOAD_FOLDER": str(folder), "LOG_LEVEL": "error"}
    told |= {"DATABASE_URL": database_url}
    process = subprocess.Popen(
        [sys.executable, "app.py"], cwd=settings.ROOT / "api", env=settings.environment_with(told)
    )

    def ask(path: str) -> bytes:
        request = Request(f"http://127.0.0.1:{port}{path}", headers={"X-API-Key": key})
        with urlopen(request, timeout=60) as answer:  # noqa: S310
            content: bytes = answer.read()
        return content

    try:
        wait_until(lambda: _is_live(ask), "the api answers")
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        yield int(children[0]), ask
    finally:
        process.terminate()
        process.wait()


def timed(ask: Ask, path: str) -> float:
    """Return the seconds that one answer took."""
    started = time.perf_counter()
    ask(path)
    return time.perf_counter() - started


def most_memory_mb(pid: int) -> float:
    """Return the most memory that a process has had."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def _is_live(ask: Ask) -> bool:
    try:
        return bool(ask("/livez"))
    except OSError:
        return False


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:] if word.isdecimal()]
    main(*(numbers or [REPORTS]), in_database="postgres" in sys.argv)
