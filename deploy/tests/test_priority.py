"""The trainer has the priority of the commands that it runs, so that anyone who waits for these can raise it."""

from pathlib import Path

import pytest

from launcher import programs, settings
from launcher.errors import SettingError


@pytest.mark.parametrize(
    ("told", "niceness"), [({}, 19), ({"COMMAND_NICENESS": "0"}, 0), ({"COMMAND_NICENESS": "7"}, 7)]
)
def test_the_trainer_has_the_priority_of_commands(tmp_path: Path, told: dict[str, str], niceness: int) -> None:
    read = settings.read({"REDIS_IP": "192.0.2.7", "STATE_DIR": str(tmp_path), **told})
    found = {program.name: program.niceness for stage in programs.stages(read, listener=7) for program in stage}
    assert found == {"model worker 1": 0, "model worker 2": 0, "trainer": niceness, "api": 0}


def test_a_priority_that_is_none_is_left_to_the_check_of_the_settings(tmp_path: Path) -> None:
    read = settings.read({"REDIS_IP": "192.0.2.7", "STATE_DIR": str(tmp_path), "COMMAND_NICENESS": "high"})
    with pytest.raises(SettingError, match="COMMAND_NICENESS='high'"):
        programs.check(read, programs.stages(read, listener=7))
