import shutil
from pathlib import Path

import pytest

import settings
from cli import compile_bundle
from inference import bundle, compiled, engines
from inference.engines import openvino_engine
from tests import bundle_copies


@pytest.fixture
def own(bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of bundles without compiled forms, in which the default version is the active one."""
    folder = tmp_path / "bundles"
    bundle_copies.copied(bundles, folder / bundle_copies.NAME / "1-int8")
    shutil.copy(bundles / "active", folder / "active")
    monkeypatch.setattr(settings, "BUNDLES_FOLDER", str(folder))
    return folder


def test_a_worker_that_may_not_write_there_need_not_compile(
    own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compile_bundle.main([]) == 0
    assert "efficientnet-lite0/1-int8 is compiled" in capsys.readouterr().out
    folder = own / bundle_copies.NAME / "1-int8"
    kept = list((folder / compiled.FOLDER).iterdir())
    assert len(kept) == 2  # the form, and that there are heat maps
    monkeypatch.setattr(openvino_engine, "with_preprocessing", None)  # the first step of compiling again
    engines.load("openvino", bundle.load(folder), streams=4, cores=4)
    written = [file.stat().st_mtime_ns for file in kept]
    assert compile_bundle.main([]) == 0
    assert [file.stat().st_mtime_ns for file in kept] == written


@pytest.mark.parametrize("fault", ["no version", "broken"])
def test_a_version_that_cannot_be_compiled_is_left_to_the_workers_to_report(
    fault: str, own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if fault == "no version":
        (own / "active").write_text("efficientnet-lite0/9-int8\n")
    else:
        (own / bundle_copies.NAME / "1-int8" / "model.onnx").write_bytes(b"broken")
    assert compile_bundle.main([]) == 0
    assert capsys.readouterr().err.startswith("not compiled: ")
