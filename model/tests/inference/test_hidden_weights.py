"""A network that refers to weights in another file, in any way: neither imported, nor loaded, nor promoted."""

import hashlib
import json
from pathlib import Path

import openvino
import pytest

import settings
from cli import models
from inference import bundle, engines
from inference.engines import openvino_engine
from inference.errors import BundleError, EngineError
from tests.hidden_weights import GREY, LABELS, PLAIN, PREPROCESSING, classifier, draft, field, networks, weights

NAMED = "colours/1-fp32"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with labels and a folder of bundles, which is where the process runs."""
    (tmp_path / "labels.txt").write_text("".join(f"{label}\n" for label in LABELS))
    (tmp_path / "bundles").mkdir()
    monkeypatch.setattr(settings, "BUNDLES_FOLDER", str(tmp_path / "bundles"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def bundle_of(place: Path, content: bytes) -> Path:
    """A bundle whose description is right about this content."""
    folder = place / "bundles" / NAMED
    folder.mkdir(parents=True, exist_ok=True)
    files = {"model.onnx": content, "labels.txt": (place / "labels.txt").read_bytes()}
    lines = ["schema = 1", 'name = "colours"', 'version = "1-fp32"', 'precision = "fp32"', "[preprocessing]"]
    lines += [f"{key} = {json.dumps(value)}" for key, value in PREPROCESSING.items()]
    lines += ["[output]", 'kind = "logits"', "[files]"]
    for name, each in files.items():
        (folder / name).write_bytes(each)
        lines.append(f'"{name}" = "{hashlib.sha256(each).hexdigest()}"')
    (folder / "bundle.toml").write_text("\n".join(lines))
    return folder


def bring(place: Path, content: bytes) -> int:
    (place / "colours.onnx").write_bytes(content)
    told = ["import", "colours.onnx", "--labels", "labels.txt", "--preset", "torchvision", "--name", "brought"]
    return models.main(told)


def test_openvino_would_read_the_file_that_is_hidden(place: Path) -> None:
    """What all of this is for: the numbers of a file that no SHA-256 covers come out as scores."""
    found = dict(networks(place))[f"keys of more than 32 bits: {place / 'secret'}"]
    graph = openvino_engine.with_preprocessing(openvino_engine.read(found), draft(found))
    [scores] = openvino.Core().compile_model(graph, "CPU")(GREY).values()
    assert scores.tolist() == [[9.0, 12.0, 15.0]]


def test_a_network_without_any_reference_is_taken(place: Path) -> None:
    content = classifier(weights(PLAIN))
    assert bring(place, content) == 0
    assert bundle.load(bundle_of(place, content)).model == content


def test_import_refuses_every_reference_and_writes_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for trick, content in networks(place):
        assert bring(place, content) == 1, trick
        told = capsys.readouterr().err
        assert "another file" in told or "no plain ONNX file" in told, trick
    assert list((place / "bundles").iterdir()) == []


def test_no_reference_is_loaded_or_promoted(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for trick, content in networks(place):
        folder = bundle_of(place, content)
        with pytest.raises(BundleError, match=r"another file|no plain ONNX file"):
            bundle.load(folder)
        assert models.main(["promote", NAMED, "--force"]) == 1, trick
    assert "nothing was changed" in capsys.readouterr().err
    assert not (place / "bundles" / "active").exists()


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_no_engine_is_given_one_wherever_it_comes_from(place: Path, engine: str) -> None:
    for trick, content in networks(place):
        with pytest.raises(EngineError, match=r"another file|no plain ONNX file") as refused:
            engines.load(engine, draft(content), streams=1, cores=1)
        assert "External data path" not in str(refused.value), trick


@pytest.mark.parametrize("magic", [b"ORTM", b"TFL3", b"GGUF"])
@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_a_name_that_looks_like_another_format_is_a_name(engine: str, magic: bytes) -> None:
    """The fifth to the eighth byte are where ONNX Runtime and TensorFlow Lite look for their own formats' names."""
    rest = classifier(weights(PLAIN)).removeprefix(field(1, 8))
    loaded = engines.load(engine, draft(field(1, 8) + field(2, magic) + rest), streams=1, cores=1)
    assert loaded.predict(GREY).tolist() == [[1.0, 1.0, 1.0]]
