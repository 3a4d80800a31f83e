from pathlib import Path

import pytest

from inference.errors import BundleError, VersionError
from registry import activation
from registry.activation import PROMOTED, ROLLED_BACK, Evidence, Limits, Trial, objections


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


@pytest.mark.parametrize(
    ("evidence", "against"),
    [
        (Evidence(100, 90, 90, 400, 390, "unreported images"), []),
        (Evidence(100, 90, 89, 400, 380, "unreported images"), []),
        (Evidence(0, 0, 0, 128, 128, "synthetic images"), []),
        (Evidence(100, 90, 88, 400, 390, "unreported images"), ["top-1 is 88 of 100 labelled images, where 90"]),
        (Evidence(0, 0, 0, 100, 94, "synthetic images"), ["94 of 100 synthetic images; 95% are required"]),
        (Evidence(10, 9, 0, 100, 0, "synthetic images"), ["top-1 is 0 of 10", "0 of 100"]),
    ],
)
def test_the_promotion_gate_names_what_is_against_a_version(evidence: Evidence, against: list[str]) -> None:
    found = objections(evidence, Limits(0.01, 0.95))
    assert len(found) == len(against)
    assert all(part in objection for part, objection in zip(against, found, strict=True))
