"""The contract's two promises of ml_service: predict() here, classify_process() in test_worker.py."""

import subprocess
import sys
from pathlib import Path

import pytest

import ml_service
import settings
from inference.errors import IMAGE_BROKEN, IMAGE_MISSING, ImageError
from sightline_testing import sample_images

MODEL = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def default_bundle(bundles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "BUNDLES_FOLDER", str(bundles))
    monkeypatch.setattr(settings, "MODEL_BUNDLE", "efficientnet-lite0/1-int8")


def test_a_real_photograph_is_named_right(uploads: Path) -> None:
    (uploads / "camera.png").write_bytes(sample_images.encode(sample_images.photograph(), "PNG"))
    class_name, probability = ml_service.predict("camera.png")
    assert class_name == sample_images.PHOTOGRAPH_LABEL
    assert probability > 0.9


@pytest.mark.parametrize("name", sample_images.GOOD_NAMES)
def test_one_scene_has_one_name_in_every_format(uploads: Path, name: str) -> None:
    (uploads / name).write_bytes(sample_images.good(name).content)
    class_name, probability = ml_service.predict(name)
    assert class_name == sample_images.SCENE_LABEL
    assert 0.5 < probability < 1


def test_the_probability_is_a_python_number_of_four_decimals(uploads: Path) -> None:
    (uploads / "scene.jpg").write_bytes(sample_images.jpeg())
    _, probability = ml_service.predict("scene.jpg")
    assert type(probability) is float
    assert probability == round(probability, 4)


def test_the_folder_is_read_at_call_time_with_or_without_a_slash(
    uploads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (uploads / "scene.jpg").write_bytes(sample_images.jpeg())
    first = ml_service.predict("scene.jpg")
    monkeypatch.setattr(settings, "UPLOAD_FOLDER", f"{uploads}/")
    assert ml_service.predict("scene.jpg") == first


def test_both_precisions_agree_on_the_photograph(uploads: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (uploads / "camera.png").write_bytes(sample_images.encode(sample_images.photograph(), "PNG"))
    int8 = ml_service.predict("camera.png")
    monkeypatch.setattr(settings, "MODEL_BUNDLE", "efficientnet-lite0/1-fp32")
    fp32 = ml_service.predict("camera.png")
    assert int8[0] == fp32[0]
    assert int8[1] == pytest.approx(fp32[1], abs=0.05)


def test_a_missing_and_a_broken_image_say_so(uploads: Path) -> None:
    (uploads / "broken.jpg").write_bytes(sample_images.bad("truncated.jpg").content)
    for name, code in (("nowhere.jpg", IMAGE_MISSING), ("../camera.png", IMAGE_MISSING), ("broken.jpg", IMAGE_BROKEN)):
        with pytest.raises(ImageError) as caught:
            ml_service.predict(name)
        assert caught.value.code == code


def test_importing_loads_no_engine_and_no_model_and_reaches_for_no_network() -> None:
    program = (
        "import sys\n"
        "def refuse(event, arguments):\n"
        "    assert event not in ('socket.connect', 'socket.bind', 'subprocess.Popen', 'os.fork'), event\n"
        "sys.addaudithook(refuse)\n"
        "import ml_service\n"
        "assert not {'openvino', 'onnxruntime', 'onnx', 'torch', 'flask'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], cwd=MODEL, check=True, env={"PYTHONPATH": "."})
