from pathlib import Path

import pytest

from inference import engines, processor
from inference.bundle import Bundle
from inference.bundle import load as load_bundle
from inference.engines import choice

AVX2 = frozenset({"sse4_2", "avx", "avx2", "fma"})
VNNI = (AVX2 | {"avx512f", "avx512_vnni"}, AVX2 | {"avx_vnni"})


@pytest.mark.parametrize("features", VNNI)
@pytest.mark.parametrize("is_installed", [True, False])
def test_a_processor_with_vnni_gets_openvino(features: frozenset[str], is_installed: bool) -> None:
    chosen = choice.choose("auto", features, lambda _: is_installed)
    assert (chosen.engine, chosen.advice) == ("openvino", "")
    assert "VNNI" in chosen.reason


def test_a_processor_with_avx2_alone_gets_onnx_runtime_where_that_is_installed() -> None:
    assert choice.choose("auto", AVX2, lambda _: True).engine == "onnxruntime"
    missing = choice.choose("auto", AVX2, lambda _: False)
    assert missing.engine == "openvino"
    assert "is not installed" in missing.reason
    assert missing.advice == "pip install --require-hashes --no-deps -r requirements/onnxruntime.txt"


@pytest.mark.parametrize("features", [frozenset[str](), frozenset({"asimd", "asimddp"}), AVX2 - {"avx2"}])
def test_any_other_processor_gets_openvino(features: frozenset[str]) -> None:
    assert choice.choose("auto", features, lambda _: True).engine == "openvino"


@pytest.mark.parametrize("name", ["openvino", "onnxruntime", "torch:auto:fp32"])
def test_an_engine_that_is_named_stays(name: str) -> None:
    assert choice.choose(name, AVX2, lambda _: True) == (name, f"ENGINE={name}", "")


def test_the_engine_that_was_chosen_is_loaded_and_named(bundles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: Bundle = load_bundle(bundles / "efficientnet-lite0" / "1-int8")
    for features, expected in ((VNNI[0], "openvino"), (AVX2, "onnxruntime")):
        monkeypatch.setattr(processor, "features", lambda features=features: features)
        assert engines.load("auto", loaded, streams=1, cores=1).name == expected


def test_features_are_those_that_the_system_lists(tmp_path: Path) -> None:
    listed = tmp_path / "cpuinfo"
    listed.write_text("processor\t: 0\nflags\t\t: fpu avx2 avx_vnni\nbugs\t\t:\n")
    assert processor.features_of(listed) == {"fpu", "avx2", "avx_vnni"}
    listed.write_text("Features\t: fp asimd\n")
    assert processor.features_of(listed) == {"fp", "asimd"}
    assert processor.features_of(tmp_path / "absent") == frozenset()
