"""The order of the steps, and going on with a run that broke off."""

import json
from pathlib import Path

import pytest
from benchmarks.errors import PreparationError
from benchmarks.options import EXPERIMENT_NAMES, parse_options
from benchmarks.plan import DIRECT, EXPERIMENTS, QUEUE, plan
from benchmarks.results import Results
from benchmarks.systems import SYSTEMS


def test_each_repeat_of_an_experiment_begins_with_another_system() -> None:
    steps = plan(parse_options(["--only", "speed", "--repeats", "3"]))

    first = [next(step.system for step in steps if step.repeat == repeat) for repeat in (1, 2, 3)]
    assert len(set(first)) == 3


def test_no_two_steps_share_a_key() -> None:
    keys = [step.key for step in plan(parse_options([]))]

    assert len(keys) == len(set(keys))


def test_the_command_line_knows_every_experiment() -> None:
    assert set(EXPERIMENT_NAMES) == set(EXPERIMENTS)


def test_every_system_of_a_step_can_be_run() -> None:
    everything = plan(parse_options(["--only", ",".join(EXPERIMENT_NAMES)]))

    assert {step.system for step in everything} <= {*SYSTEMS, *DIRECT.values(), QUEUE}


def test_a_choice_that_leaves_nothing_to_measure_is_an_error_that_names_what_there_is() -> None:
    with pytest.raises(PreparationError, match=r"mosek.*there are: .*mosec"):
        plan(parse_options(["--systems", "mosek"]))


def test_a_run_that_broke_off_keeps_its_finished_steps(tmp_path: Path) -> None:
    Results(tmp_path).add("speed/mosec/int8/0/1", [{"images_per_s": 1.0}])

    again = Results(tmp_path)

    assert again.has("speed/mosec/int8/0/1")
    assert not again.has("speed/mosec/int8/0/2")
    assert again.rows == [{"images_per_s": 1.0}]
    assert json.loads((tmp_path / "steps.jsonl").read_text())["step"] == "speed/mosec/int8/0/1"
