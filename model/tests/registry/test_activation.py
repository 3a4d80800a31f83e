import csv
import subprocess
import sys
from pathlib import Path

import pytest

from inference.errors import BundleError, VersionError
from registry import activation
from registry.activation import PROMOTED, ROLLED_BACK, Trial

MODEL = Path(__file__).parents[2]


@pytest.mark.parametrize("content", [b"\xff\xfe", b"m/2 0.5" * 200])
def test_a_trial_file_that_is_none_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "shadow").write_bytes(content)
    with pytest.raises((VersionError, BundleError), match="shadow"):
        activation.tried_beside(tmp_path)


@pytest.mark.parametrize("content", [b"\xff\xfe", b'time,action,version,before,note\n"' + b"x" * 200_000 + b'",,,,\n'])
def test_a_history_that_cannot_be_read_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "promotions.csv").write_bytes(content)
    # Whether the long cell is one depends on what csv's limit, which is the process', has been set to.
    with pytest.raises(VersionError, match=r"cannot be read|nothing was promoted"):
        activation.served_before(tmp_path)


def test_each_rollback_goes_a_promotion_further_back(tmp_path: Path) -> None:
    (tmp_path / "active").write_text("m/1\n")
    assert activation.active(tmp_path) == "m/1"
    activation.activate(tmp_path, "m/2", "m/1", PROMOTED)
    activation.activate(tmp_path, "m/3", "m/2", PROMOTED, "forced")
    for expected, now in (("m/2", "m/3"), ("m/1", "m/2")):
        assert activation.served_before(tmp_path) == expected
        activation.activate(tmp_path, expected, now, ROLLED_BACK)
        assert (tmp_path / "active").read_text() == f"{expected}\n"
    with pytest.raises(VersionError, match="nothing was promoted"):
        activation.served_before(tmp_path)
    activation.activate(tmp_path, "m/4", "m/1", PROMOTED)
    assert activation.served_before(tmp_path) == "m/1"
    assert (tmp_path / "promotions.csv").read_text().count("\n") == 6


def test_a_switch_between_models_comes_back_to_the_version_last_served_and_can_be_rolled_back(tmp_path: Path) -> None:
    for version in ("a/1", "a/2", "a/gone", "b/1"):
        (tmp_path / version).mkdir(parents=True)
        (tmp_path / version / "bundle.toml").touch()
    (tmp_path / "active").write_text("a/1\n")
    activation.activate(tmp_path, "a/2", "a/1", PROMOTED)
    assert activation.switch(tmp_path, "a/1") == "a/2", "the model is served already"
    assert activation.switch(tmp_path, "b/1") == "b/1"
    assert activation.served_before(tmp_path) == "a/2"
    assert activation.switch(tmp_path, "a/1") == "a/2"
    activation.activate(tmp_path, "a/gone", "a/2", PROMOTED)
    activation.switch(tmp_path, "b/1")
    (tmp_path / "a" / "gone" / "bundle.toml").unlink()
    assert activation.switch(tmp_path, "a/1") == "a/2", "a version that was removed is passed over"
    assert (tmp_path / "active").read_text() == "a/2\n"


def test_a_model_of_a_similar_name_is_another_model(tmp_path: Path) -> None:
    (tmp_path / "active").write_text("lite10/1\n")
    assert activation.switch(tmp_path, "lite1/1") == "lite1/1"


def test_a_trial_is_kept_until_it_is_ended(tmp_path: Path) -> None:
    assert activation.tried_beside(tmp_path) is None
    activation.try_beside(tmp_path, Trial("m/2", 0.25))
    assert activation.tried_beside(tmp_path) == Trial("m/2", 0.25)
    activation.try_beside(tmp_path, None)
    activation.try_beside(tmp_path, None)
    assert activation.tried_beside(tmp_path) is None


@pytest.mark.parametrize(
    "text", ["", "../m 0.5", "m/\0 0.5", "m/2 much", "m/2 0", "m/2 nan", "m/2 1.5", "m/2 0.5 more"]
)
def test_a_trial_that_cannot_be_read_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "shadow").write_text(text)
    with pytest.raises(VersionError, match="expected"):
        activation.tried_beside(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", b"../x\n", b"m\n", b"x" * 5_000])
def test_an_active_file_that_names_nothing_is_written_anew_by_the_next_promotion(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "active").write_bytes(content)
    assert activation.active(tmp_path) == ""
    activation.activate(tmp_path, "m/2", "", PROMOTED)
    assert (tmp_path / "active").read_text() == "m/2\n"
    with pytest.raises(VersionError, match="nothing was promoted"):
        activation.served_before(tmp_path)


def test_a_version_that_was_activated_meanwhile_is_not_written_over(tmp_path: Path) -> None:
    activation.activate(tmp_path, "m/1", activation.active(tmp_path), PROMOTED)
    activation.activate(tmp_path, "m/2", "m/1", PROMOTED)
    with pytest.raises(VersionError, match="m/2 was activated meanwhile"):
        activation.activate(tmp_path, "m/3", "m/1", PROMOTED)
    assert (tmp_path / "active").read_text() == "m/2\n"
    assert (tmp_path / "promotions.csv").read_text().count("\n") == 3


def test_of_several_processes_that_promote_at_once_one_succeeds_and_the_history_is_whole(tmp_path: Path) -> None:
    (tmp_path / "active").write_text("m/0\n")
    program = (
        "import sys, pathlib; from registry import activation; from inference.errors import VersionError\n"
        "try: activation.activate(pathlib.Path(sys.argv[1]), sys.argv[2], 'm/0', 'promote')\n"
        "except VersionError: sys.exit(3)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    started = [subprocess.Popen([*command, f"m/{number}"], cwd=MODEL) for number in range(1, 6)]
    assert sorted(process.wait(60) for process in started) == [0, 3, 3, 3, 3]
    [row] = csv.DictReader((tmp_path / "promotions.csv").read_text().splitlines())
    assert (row["before"], f"{row['version']}\n") == ("m/0", (tmp_path / "active").read_text())


def test_a_history_that_a_power_cut_left_without_its_last_line_end_is_gone_on_with(tmp_path: Path) -> None:
    activation.activate(tmp_path, "m/2", "efficientnet-lite0/1-int8", PROMOTED)
    path = tmp_path / "promotions.csv"
    path.write_bytes(path.read_bytes().rstrip())
    activation.activate(tmp_path, "m/3", "m/2", PROMOTED)
    assert activation.served_before(tmp_path) == "m/2"


def test_a_shadow_that_is_promoted_stays_no_shadow_for_after_a_rollback(tmp_path: Path) -> None:
    before = activation.active(tmp_path)
    activation.try_beside(tmp_path, Trial("m/2", 0.5))
    activation.activate(tmp_path, "m/2", before, PROMOTED)
    assert activation.tried_beside(tmp_path) is None
    activation.try_beside(tmp_path, Trial("m/3", 0.5))
    activation.activate(tmp_path, before, "m/2", ROLLED_BACK)
    assert activation.tried_beside(tmp_path) == Trial("m/3", 0.5)
    activation.try_beside(tmp_path, Trial("m/2", 0.5))
    (tmp_path / "shadow").write_bytes(b"\xff")
    activation.activate(tmp_path, "m/2", before, PROMOTED)  # what cannot be read hinders no promotion
    assert (tmp_path / "active").read_text() == "m/2\n"
