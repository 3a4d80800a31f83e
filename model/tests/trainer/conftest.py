"""A trainer of the tests' own: its Redis, its folders, and orders for it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sightline_testing.feedback_loop import copy_default_bundle
from sightline_testing.queue_probe import QueueProbe
from sightline_testing.redis_server import RedisServer
from sightline_testing.reviewed import FeedbackFiles
from sightline_testing.service import REPOSITORY
from tests.cli.conftest import no_workers  # noqa: F401  for the commands that orders call
from wire.orders.messages import Known, Order
from wire.orders.order_book import OrderBook


@dataclass
class TrainerProbe:
    """Start trainers, place orders, and inspect their results."""

    queue: QueueProbe
    folder: Path
    files: FeedbackFiles
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def bundles(self) -> Path:
        """The folder of bundles."""
        return self.folder / "bundles"

    @property
    def book(self) -> OrderBook:
        """The orders as the api reads them."""
        return OrderBook(self.queue.address, self.queue.name, timeout_s=60.0)

    def start(self) -> subprocess.Popen[bytes]:
        """Start a trainer."""
        told = {
            "PYTHONPATH": ".",
            "REDIS_PORT": str(self.queue.server.port),
            "REDIS_QUEUE": self.queue.name,
            "BUNDLES_FOLDER": str(self.bundles),
            "UPLOAD_FOLDER": str(self.files.uploads),
            "FEEDBACK_FILEPATH": str(self.files.feedback / "feedback"),
            "COMMAND_NICENESS": "0",
            "OPENBLAS_NUM_THREADS": "1",
        }
        command = [sys.executable, "-m", "trainer"]
        with (self.folder / "trainer.log").open("ab") as log:
            process = subprocess.Popen(
                command, cwd=REPOSITORY / "model", env={"PATH": os.environ["PATH"], **told}, stderr=log, stdout=log
            )
        self.running.append(process)
        return process

    def order(self, kind: str, **arguments: str) -> str:
        """Place an order and return its id."""
        return self.book.place(Order(kind, "Ann", "192.0.2.1", arguments))

    def known(self, order_id: str) -> Known:
        """Return what is known of an order."""
        found = self.book.find(order_id)
        assert found is not None
        return found

    def versions(self) -> list[str]:
        """Return all files next to the versions, drafts included."""
        return sorted(path.name for path in (self.bundles / "efficientnet-lite0").iterdir())

    def log(self) -> str:
        """Return what the trainers have printed."""
        return (self.folder / "trainer.log").read_text()

    def close(self) -> None:
        """End what still runs."""
        for process in self.running:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        for process in self.running:
            process.wait(timeout=120)


@pytest.fixture
def trainers(redis_server: RedisServer, bundles: Path, tmp_path: Path) -> Iterator[TrainerProbe]:
    queue = QueueProbe(redis_server)
    copy_default_bundle(tmp_path / "bundles", source=bundles)
    probe = TrainerProbe(queue, tmp_path, FeedbackFiles(tmp_path / "uploads", tmp_path / "feedback"))
    yield probe
    probe.close()
    queue.close()
