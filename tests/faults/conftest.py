"""One service for all tests that can share it.

FULL=1 takes the durations of docs/reliability.md and asserts its times. TWINS=1 runs each test again for each of
its broken twins (twins.toml): the service with one protection taken out, which it has to notice.
"""

import re
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from sightline_testing.faults.keeper import HAS_TWINS, IS_FULL, Keeper, Scale
from sightline_testing.faults.sabotage import NOTHING, Sabotage, load
from sightline_testing.faults.system import System
from sightline_testing.waiting import hurried

TWINS = load(Path(__file__).with_name("twins.toml"))
LOG_SHOWN = 20_000
# Twins time out: they need not wait for as long as a slow machine may take.
TWINS_PATIENCE = 1 / 8


@pytest.fixture
def sabotage(request: pytest.FixtureRequest) -> Sabotage:
    """What is taken out of the service."""
    found: Sabotage = getattr(request, "param", NOTHING)
    return found


@pytest.fixture
def scale(sabotage: Sabotage) -> Scale:
    return Scale(IS_FULL and sabotage is NOTHING)


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keeper]:
    keeper = Keeper(tmp_path_factory.mktemp("faults"))
    yield keeper
    keeper.stop()


@pytest.fixture
def keeper(kept: Keeper, sabotage: Sabotage) -> Keeper:
    """Whom to ask for services; they lack what the sabotage takes out."""
    kept.sabotage = sabotage
    return kept


@pytest.fixture
def system(keeper: Keeper) -> System:
    """The service with two workers and the settings that most tests take."""
    return keeper.give()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Add the broken twins of a test."""
    if HAS_TWINS and "sabotage" in metafunc.fixturenames:
        twins = [
            pytest.param(each, id=f"without {each.what}", marks=pytest.mark.twin)
            for each in TWINS[metafunc.function.__name__]
        ]
        metafunc.parametrize("sabotage", [pytest.param(NOTHING, id="whole"), *twins], indirect=True)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Have a twin pass only if its test fails with the expected message."""
    if not _is_twin(pyfuncitem):
        return (yield)
    sabotage = pyfuncitem.funcargs["sabotage"]
    assert isinstance(sabotage, Sabotage)
    try:
        with hurried(TWINS_PATIENCE):
            yield
    except AssertionError as noticed:
        said = str(noticed)
    else:
        pytest.fail(f"nothing was noticed without {sabotage.what}")
    told = f"{pyfuncitem.function.__name__} | {sabotage.what} | {said.partition(chr(10))[0]}"
    Scale(is_full=False).tell(f"twin | {told}")
    assert re.search(sabotage.says, said), f"expected a message like {sabotage.says!r}, got {said!r}"
    return True


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
    """Leave out tests that were not selected, which do not count as skipped; the twins come last."""
    left_out = [item for item in items if _is_left_out(item)]
    items[:] = sorted((item for item in items if item not in left_out), key=_is_twin)
    config.hook.pytest_deselected(items=left_out)


def _is_twin(item: pytest.Item) -> bool:
    return item.get_closest_marker("twin") is not None


def _is_left_out(item: pytest.Item) -> bool:
    """Twins are short, also those of full tests, and a flood of one size is enough for them."""
    if _is_twin(item):
        return "10x" in item.name or "2x" in item.name
    return item.get_closest_marker("full") is not None and not IS_FULL
