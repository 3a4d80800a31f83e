"""Failing workers are replaced; one that cannot start publishes the reason in /readyz."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sightline_testing.client import Client
from sightline_testing.faults.keeper import USUAL, Keeper
from sightline_testing.faults.ledger import Outcome
from sightline_testing.faults.leftovers import nothing_left_over
from sightline_testing.faults.load import Load
from sightline_testing.faults.sabotage import Sabotage
from sightline_testing.faults.system import System
from sightline_testing.redis_server import free_port
from sightline_testing.service import launch, stop
from sightline_testing.waiting import wait_until

RATE = 10.0
LEAKS = 4
PATIENCE_S = 90.0
# An image that leaks takes 64 MB.
RECYCLED = {**USUAL, "MAX_MEMORY_GROWTH_MB": "150", "MAX_FAILURES": "3"}


def order(system: System, fault: str, number: int) -> bytes:
    """An image that orders its worker to fail, unlike those before it."""
    return system.asked[0].copy(f"{fault} {number}".encode()) + f"sightline-fault:{fault}".encode()


def test_a_worker_that_keeps_failing_is_replaced_without_a_lost_request(keeper: Keeper) -> None:
    system = keeper.give(RECYCLED, workers=1)
    [before] = system.worker_pids()
    with nothing_left_over(system):
        for number in range(3):
            response = system.client.upload("/predict", order(system, "ail", number))
            assert (response.status, response.json()["code"]) == (500, "internal")
        assert_replaced_under_load(system, before)
    assert "3 jobs in a row failed" in system.log()


def test_images_that_fail_alone_replace_no_worker(keeper: Keeper) -> None:
    system = keeper.give(RECYCLED, workers=1)
    before, logged = system.worker_pids(), len(system.log())
    with nothing_left_over(system):
        for number in range(9):
            response = system.client.upload("/predict", order(system, "raise", number))
            assert (response.status, response.json()["code"]) == (500, "internal")
    assert system.worker_pids() == before
    assert "asking for a fresh worker" not in system.log()[logged:]


def test_a_worker_that_grows_is_replaced_without_a_lost_request(keeper: Keeper) -> None:
    system = keeper.give(RECYCLED, workers=1)
    [before] = system.worker_pids()
    with nothing_left_over(system):
        for number in range(LEAKS):
            assert system.client.upload("/predict", order(system, "leak", number)).status == 200
        assert_replaced_under_load(system, before)
    assert "MAX_MEMORY_GROWTH_MB=150" in system.log()


def assert_replaced_under_load(system: System, before: int) -> None:
    with Load(system.url, system.asked, rate=RATE) as load:
        wait_until(lambda: before not in system.worker_pids(), "the worker was replaced", PATIENCE_S)
        system.wait_until_ready()
        time.sleep(0.5)
    assert load.ledger.count(Outcome.RIGHT), load.ledger
    assert not load.ledger.failed(), load.ledger


@pytest.fixture
def unable(tmp_path: Path, keeper: Keeper, sabotage: Sabotage) -> Iterator[Client]:
    """A service whose workers have no model to load."""
    keeper.stop()
    port = free_port()
    source = sabotage.source(tmp_path)
    told = {"MODEL_BUNDLE": "nowhere/1", "PYTHONPATH": str(source / "deploy")}
    launcher = launch(tmp_path / "state", port, told, source)
    yield Client(f"http://127.0.0.1:{port}")
    stop(launcher)


def test_readiness_says_why_there_is_no_worker(unable: Client) -> None:
    wait_until(
        lambda: "bundle.toml is missing" in readiness(unable).get("detail", ""), "the reason is reported", PATIENCE_S
    )
    told = readiness(unable)
    assert told["code"] == "no_worker"
    assert "nowhere/1/bundle.toml" in told["detail"]
    assert "/var/" not in told["detail"], "where things are on this machine is nobody's business"
    assert unable.get("/livez").status == 200


def readiness(client: Client) -> dict[str, str]:
    try:
        answer: dict[str, str] = client.get("/readyz").json()
    except OSError:
        return {}
    return answer
