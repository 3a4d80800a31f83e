"""/livez and /readyz of a worker, over its own port."""

import signal
from contextlib import suppress

import pytest

from serving import health
from serving.readiness import LOADING, Readiness
from sightline_testing.client import Client
from sightline_testing.redis_server import RedisServer, free_port
from sightline_testing.waiting import wait_until
from tests.worker_processes import TIMEOUT_S, Start, wait_for_workers
from wire import Producer


@pytest.fixture
def readiness() -> Readiness:
    return Readiness()


@pytest.fixture
def client(readiness: Readiness) -> Client:
    port = free_port()
    health.serve("127.0.0.1", port, readiness)
    return Client(f"http://127.0.0.1:{port}")


def test_a_worker_lives_while_its_model_is_loaded_and_is_ready_after_that(client: Client, readiness: Readiness) -> None:
    assert (client.get("/livez").status, client.get("/livez").text) == (200, "ok\n")
    assert (client.get("/readyz").status, client.get("/readyz").text) == (503, f"{LOADING}\n")
    readiness.reason = lambda: ""
    assert (client.get("/readyz?verbose").status, client.get("/readyz").text) == (200, "ready\n")


@pytest.mark.parametrize(("path", "status"), [("/", 200), ("/metrics", 200), ("/livez/", 404), ("/nowhere", 404)])
def test_other_paths_are_metrics_or_not_found(client: Client, path: str, status: int) -> None:
    assert client.get(path).status == status


def test_an_ipv6_address_is_served(readiness: Readiness) -> None:
    port = free_port()
    health.serve("::1", port, readiness)
    assert Client(f"http://[::1]:{port}").get("/livez").status == 200


def test_an_outage_of_redis_makes_a_worker_not_ready_and_leaves_it_alive(
    start: Start, producer: Producer, redis_server: RedisServer
) -> None:
    port = free_port()
    worker = start(METRICS_PORT=str(port))
    client = Client(f"http://127.0.0.1:{port}")

    def ready() -> tuple[int, str]:
        with suppress(OSError):
            answer = client.get("/readyz")
            return answer.status, answer.text
        return 0, ""

    wait_until(lambda: ready() == (200, "ready\n"), "the worker is ready", TIMEOUT_S)
    wait_for_workers(producer, 1)
    redis_server.kill()
    wait_until(lambda: ready()[0] == 503, "the worker is not ready", TIMEOUT_S)
    assert "no heartbeat of this worker reaches Redis" in ready()[1]
    assert client.get("/livez").status == 200
    assert worker.poll() is None
    redis_server.start()
    wait_until(lambda: ready()[0] == 200, "the worker is ready again", TIMEOUT_S)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(TIMEOUT_S) == 0
