"""`cli.models` list, promote, rollback and shadow, where files are broken and Redis is away."""

import re
from pathlib import Path

import pytest

import settings
from cli import models
from sightline_testing import stripes
from tests.bundle_copies import of_graph


@pytest.fixture
def bundles(tmp_path: Path, no_workers: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two versions of a small network, of which the first is active, and a Redis without workers."""
    folder = tmp_path / "bundles"
    made = of_graph(folder, stripes.network(), stripes.LABELS, (stripes.HEIGHT, stripes.WIDTH))
    other = of_graph(tmp_path / "more", stripes.network(), stripes.LABELS, (stripes.HEIGHT, stripes.WIDTH))
    text = (other / "bundle.toml").read_text().replace('"1-fp32"', '"2-fp32"')
    (other / "bundle.toml").write_text(text)
    other.rename(made.with_name("2-fp32"))
    (folder / "active").write_text("own/1-fp32\n")
    monkeypatch.setattr(settings, "BUNDLES_FOLDER", str(folder))
    return folder


def test_broken_versions_are_listed_with_the_reason_and_hide_no_other(
    bundles: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("no-description", "torn", "odd name", "moved", "9" * 200):
        (bundles / "own" / name).mkdir()
    (bundles / "own" / "torn" / "bundle.toml").write_bytes(b"\xff")
    (bundles / "own" / "pipe").mkdir()
    (bundles / "own" / "pipe" / "bundle.toml").mkdir()
    for name in ("bundle.toml", "labels.txt", "model.onnx"):
        (bundles / "own" / "moved" / name).write_bytes((bundles / "own" / "2-fp32" / name).read_bytes())
    (bundles / "own" / ".draft").mkdir()
    assert models.main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum("cannot be served" in line for line in lines) == 6
    assert any(re.match(r"active  own/1-fp32 +2 labels", line) for line in lines)
    assert any(re.match(r" +own/2-fp32 +2 labels", line) for line in lines)
    assert any("own/moved" in line and "is of own/2-fp32" in line for line in lines)


@pytest.mark.parametrize(
    ("name", "content"), [("active", b""), ("active", b"\xff"), ("shadow", b"\xff"), ("shadow", b"x")]
)
def test_a_file_that_names_no_version_is_told_beside_the_list(
    bundles: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes
) -> None:
    (bundles / name).write_bytes(content)
    assert models.main(["list"]) == 1
    told = capsys.readouterr()
    assert "own/2-fp32" in told.out
    assert name in told.err


@pytest.mark.parametrize("words", [["promote", "own/2-fp32", "--force"], ["rollback"]])
def test_where_redis_does_not_answer_nothing_is_said_of_workers(
    bundles: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    if words == ["rollback"]:
        assert models.main(["promote", "own/2-fp32", "--force"]) == 0
        assert "no worker has a heartbeat" in capsys.readouterr().out
    monkeypatch.setattr(settings, "REDIS_PORT", 1)
    assert models.main(words) == 1
    told = capsys.readouterr()
    assert "is active, but whether any worker serves it is not known" in told.err
    assert "serve it" not in told.out
    assert (bundles / "active").read_text() == ("own/1-fp32\n" if words == ["rollback"] else "own/2-fp32\n")


def test_the_status_of_a_shadow_is_not_known_without_redis(
    bundles: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models.main(["shadow"]) == 0
    monkeypatch.setattr(settings, "REDIS_PORT", 1)
    assert models.main(["shadow"]) == 1
    assert "no worker has a second version" not in capsys.readouterr().err
    assert bundles.is_dir()


@pytest.mark.parametrize("content", ["", "own/gone\n", "nonsense\n"])
def test_an_active_version_that_cannot_be_loaded_is_replaced_by_force(
    bundles: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    (bundles / "active").write_text(content)
    assert models.main(["promote", "own/2-fp32"]) == 1
    assert "--force promotes without" in capsys.readouterr().err
    assert (bundles / "active").read_text() == content
    assert models.main(["promote", "own/2-fp32", "--force"]) == 0
    assert (bundles / "active").read_text() == "own/2-fp32\n"


def test_a_version_under_a_strange_name_is_not_promoted(bundles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (bundles / "own" / "2-fp32").rename(bundles / "own" / "3-fp32")
    assert models.main(["promote", "own/3-fp32", "--force"]) == 1
    assert "is of own/2-fp32" in capsys.readouterr().err
    assert (bundles / "active").read_text() == "own/1-fp32\n"
