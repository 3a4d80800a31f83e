"""One service for all tests that can share it.

FULL=1 takes the durations of docs/reliability.md and asserts its times; TWINS=1 adds the broken twins: the service
with one protection taken out, which each test has to notice.
"""

from collections.abc import Generator, Iterator

import pytest

from sightline_testing.faults.keeper import HAS_TWINS, IS_FULL, Keeper, Scale
from sightline_testing.faults.system import System

LOG_SHOWN = 20_000


@pytest.fixture(scope="session")
def scale() -> Scale:
    return Scale(IS_FULL)


@pytest.fixture(scope="session")
def keeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keeper]:
    keeper = Keeper(tmp_path_factory.mktemp("faults"))
    yield keeper
    keeper.stop()


@pytest.fixture
def system(keeper: Keeper) -> System:
    """The service with two workers and the settings that most tests take."""
    return keeper.give()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Give no service that a failed test may have left in pieces, or that is broken on purpose, to the next test."""
    report = yield
    keeper = getattr(item, "funcargs", {}).get("keeper")
    if isinstance(keeper, Keeper) and report.when == "call" and (report.failed or item.get_closest_marker("twin")):
        if report.failed and keeper.system is not None:
            report.sections.append(("the end of the service's log", keeper.system.log()[-LOG_SHOWN:]))
        keeper.stop()
    return report


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "twin: the service is broken on purpose, and the test notices (TWINS=1)")
    config.addinivalue_line("markers", "full: takes minutes (FULL=1)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what was not asked for; it does not count as skipped."""
    left_out = [item for item in items if _is_left_out(item)]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)


def _is_left_out(item: pytest.Item) -> bool:
    is_twin, is_full = (item.get_closest_marker(name) is not None for name in ("twin", "full"))
    return (is_twin and not HAS_TWINS) or (is_full and not IS_FULL)
