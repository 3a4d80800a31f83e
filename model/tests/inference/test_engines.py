import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from inference import bundle, engines
from inference.arrays import Batch, Scores
from inference.bundle import Bundle
from inference.engines import Engine, onnxruntime_engine
from inference.errors import EngineError
from sightline_testing import sample_images

NAMES = ("openvino", "onnxruntime")  # PyTorch's has tests of its own, in tests/gpu
MODEL = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", params=["int8", "fp32"])
def loaded(request: pytest.FixtureRequest, bundles: Path) -> Bundle:
    return bundle.load(bundles / "efficientnet-lite0" / f"1-{request.param}")


@pytest.fixture(scope="module")
def running(loaded: Bundle) -> dict[str, Engine]:
    return {name: engines.load(name, loaded, streams=2, cores=2) for name in NAMES}


@pytest.fixture(scope="module")
def batch(loaded: Bundle) -> Batch:
    seen = [sample_images.scene(seed=seed) for seed in range(4)] + [sample_images.photograph().convert("RGB")]
    pixels = np.empty((len(seen), *loaded.preprocessing.size, 3), np.uint8)
    for image, out in zip(seen, pixels, strict=True):
        loaded.preprocessing.prepare(sample_images.encode(image, "PNG"), out)
    return pixels


@pytest.mark.parametrize("name", NAMES)
def test_a_row_of_probabilities_comes_for_each_image(running: dict[str, Engine], batch: Batch, name: str) -> None:
    scores = running[name].predict(batch)
    assert scores.shape == (len(batch), 1_000)
    assert scores.dtype == np.float32
    assert scores.sum(axis=1) == pytest.approx(np.ones(len(batch)), abs=1e-4)


def test_the_engines_agree(running: dict[str, Engine], batch: Batch, loaded: Bundle) -> None:
    one, other = (running[name].predict(batch) for name in NAMES)
    assert np.array_equal(one.argmax(axis=1), other.argmax(axis=1))
    # int8 rounds at other places in each; fp32 adds in another order only.
    assert np.abs(one - other).max() < (0.08 if loaded.precision == "int8" else 1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_an_image_has_one_answer_alone_in_company_and_on_all_cores(
    running: dict[str, Engine], batch: Batch, name: str
) -> None:
    together = running[name].predict(batch)
    for at in range(len(batch)):
        for is_alone in (False, True):
            assert running[name].predict(batch[at : at + 1], is_alone=is_alone)[0] == pytest.approx(
                together[at], abs=1e-6
            )


def test_onnx_runtime_computes_a_batch_in_few_calls(
    running: dict[str, Engine], batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = running["onnxruntime"]
    assert isinstance(engine, onnxruntime_engine.OnnxRuntimeEngine)
    normalised, sizes = engine._normalised, []

    def counted(images: Batch) -> Scores:
        sizes.append(len(images))
        return normalised(images)

    monkeypatch.setattr(engine, "_normalised", counted)
    engine.predict(np.concatenate([batch, batch]))
    assert sizes == [8, 2]


@pytest.mark.parametrize("name", NAMES)
def test_consumers_do_not_mix_their_images(running: dict[str, Engine], batch: Batch, name: str) -> None:
    engine, expected = running[name], running[name].predict(batch)
    found: list[tuple[int, Scores]] = []

    def ask(at: int) -> None:
        for _ in range(10):
            found.append((at, engine.predict(batch[at : at + 1])[0]))

    threads = [threading.Thread(target=ask, args=(at,)) for at in range(len(batch))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 10 * len(batch)
    assert all(np.allclose(scores, expected[at], atol=1e-6) for at, scores in found)


@pytest.mark.parametrize("name", NAMES)
def test_blue_first_and_channels_last_are_the_same_model_told_otherwise(
    loaded: Bundle, batch: Batch, name: str
) -> None:
    uneven = replace(loaded.preprocessing, mean=(100.0, 120.0, 140.0), std=(50.0, 60.0, 70.0))
    turned = replace(uneven, channels="BGR")
    as_is, reversed_twice = (
        engines.load(name, replace(loaded, preprocessing=told, folder=None), streams=1, cores=1).predict(pixels)
        for told, pixels in ((uneven, batch), (turned, np.ascontiguousarray(batch[..., ::-1])))
    )
    assert as_is == pytest.approx(reversed_twice, abs=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_that_is_none_is_refused_in_words(loaded: Bundle, name: str) -> None:
    with pytest.raises(EngineError, match=f"{loaded.name}/{loaded.version}"):
        engines.load(name, replace(loaded, model=b"not a graph"), streams=1, cores=1)


@pytest.mark.parametrize("name", NAMES)
def test_the_warm_up_finds_labels_that_do_not_fit(running: dict[str, Engine], loaded: Bundle, name: str) -> None:
    engines.warm_up(running[name], loaded)
    with pytest.raises(EngineError, match=r"labels\.txt has 999"):
        engines.warm_up(running[name], replace(loaded, labels=loaded.labels[1:]))


def test_an_engine_that_is_not_installed_is_told(loaded: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(engines.MODULES, "openvino", "inference.engines.nowhere")
    with pytest.raises(EngineError, match="not installed"):
        engines.load("openvino", loaded, streams=1, cores=1)


def test_openvino_comes_without_its_converter_and_reaches_for_no_network() -> None:
    program = (
        "import sys\n"
        "def refuse(event, arguments):\n"
        "    assert event not in ('socket.connect', 'socket.getaddrinfo', 'subprocess.Popen'), event\n"
        "sys.addaudithook(refuse)\n"
        "import inference.engines.openvino_engine\n"
        "assert not {'openvino.tools.ovc', 'openvino_telemetry', 'urllib.request'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=MODEL, check=True, env={"PYTHONPATH": "."})


def test_logits_of_any_size_become_probabilities() -> None:
    scores = engines.probabilities(np.array([[0, 0], [1_000, 0], [-1_000, -1_001]], np.float32), "logits")
    assert scores[0].tolist() == [0.5, 0.5]
    assert scores[1].tolist() == [1.0, 0.0]
    assert scores.sum(axis=1).tolist() == pytest.approx([1, 1, 1])


def test_probabilities_stay_as_they_are() -> None:
    given_scores = np.array([[0.25, 0.75]], np.float32)
    assert engines.probabilities(given_scores, "probabilities") is given_scores
