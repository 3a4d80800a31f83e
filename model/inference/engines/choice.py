"""ENGINE=auto: which engine computes, by the processor's features.

A fixed table, so that equal machines choose the same and set-up measures nothing. Its figures are in
docs/decisions/0003-engine.md.
"""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Final, NamedTuple

from inference import processor

AUTO: Final = "auto"
# Instructions that add up products of bytes: with them OpenVINO takes less, without them ONNX Runtime in batches.
VNNI: Final = frozenset({"avx512_vnni", "avx_vnni"})
# Instructions that multiply tiles of bytes: with them OpenVINO takes less for a few images together.
AMX: Final = "amx_int8"
TOGETHER: Final = 4
INSTALL: Final = "pip install --require-hashes --no-deps -r requirements/onnxruntime.txt"


class Choice(NamedTuple):
    """The engine that computes, and why; `advice` is how to get a faster one, empty where there is none."""

    engine: str
    reason: str
    advice: str = ""


def choose(
    name: str,
    features: frozenset[str] | None = None,
    is_installed: Callable[[str], bool] = lambda module: find_spec(module) is not None,
) -> Choice:
    """Return the engine where ENGINE is `name`, for a processor with these features, by default this one."""
    if name != AUTO:
        return Choice(name, f"ENGINE={name}")
    found = processor.features() if features is None else features
    if found & VNNI:
        return Choice("openvino", "the processor has VNNI")
    if "avx2" not in found:
        return Choice("openvino", "the processor has no AVX2, or does not list its features")
    reason = "the processor has AVX2 and no VNNI"
    if is_installed("onnxruntime"):
        return Choice("onnxruntime", reason)
    return Choice("openvino", f"{reason}; ONNX Runtime, whose batches take less there, is not installed", INSTALL)


def together(precision: str, features: frozenset[str] | None = None) -> int:
    """Return how many images OpenVINO computes together, where as many wait: 1 unless more take less time each."""
    found = processor.features() if features is None else features
    return TOGETHER if precision == "int8" and AMX in found else 1
