"""What is run by default, and what a quick run leaves out."""

import pytest

from stress_test.options import parse_options
from stress_test.plan import plan


def test_the_matrix_is_users_by_instances_by_batching_from_compose() -> None:
    cells = [cell for cell in plan(parse_options([])) if cell.experiment == "matrix"]
    found = {(cell.users, cell.setup.instances, cell.setup.batch_size) for cell in cells}
    assert found == {(users, instances, size) for users in (1, 8, 32, 128) for instances in (1, 2) for size in (1, 8)}
    assert {cell.setup.target for cell in cells} == {"compose"}
    assert not any(cell.setup.cache for cell in cells)


def test_the_whole_run_also_serves_overloads_and_repeats_the_exercise() -> None:
    others = [cell for cell in plan(parse_options([])) if cell.experiment != "matrix"]
    assert {cell.setup.target for cell in others if cell.experiment == "serve"} == {"serve"}
    assert [cell.users for cell in others if cell.experiment.startswith("exercise")] == [100, 100]
    assert [cell.users for cell in others if cell.experiment == "overload"] == [0]  # as many as it takes


def test_the_service_starts_once_for_each_of_its_settings() -> None:
    setups = [cell.setup for cell in plan(parse_options([])) if cell.experiment == "matrix"]
    starts = [setup for before, setup in zip([None, *setups], setups, strict=False) if setup != before]
    assert len(starts) == len(set(setups))


def test_no_two_runs_have_one_name() -> None:
    keys = [cell.key for cell in plan(parse_options([]))]
    assert len(keys) == len(set(keys))


def test_a_quick_look_needs_no_docker() -> None:
    assert {cell.setup.target for cell in plan(parse_options(["--quick"]))} == {"serve"}


def test_with_the_cache_half_of_the_uploads_were_sent_before() -> None:
    (cell,) = plan(
        parse_options(["--only", "matrix", "--cache", "--users", "8", "--instances", "1", "--batching", "on"])
    )
    assert cell.setup.environment["RESULT_CACHE"] == "1"
    assert cell.behaviour[-2:] == ("--repeats", "0.5")


def test_a_number_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_options(["--users", "8,many"])
    assert "give whole numbers" in capsys.readouterr().err
