"""Whether a graph answers on this machine as it must: the SHA-256 speaks for the file, this for the arithmetic."""

from collections.abc import Mapping
from importlib.util import find_spec

import numpy as np

from default_model.drawn import drawn_pictures
from default_model.errors import BuildError
from default_model.pixels import normalise
from default_model.recipe import Precision, golden

TOP = 5

# Ten times what engines and processors were seen to differ by in fp32, and twice in int8, where a rounding here and
# there turns out differently.
TOLERANCES = {Precision.FP32: 1e-3, Precision.INT8: 0.5}

Logits = Mapping[str, Mapping[int, float]]


def can_check() -> bool:
    """Return whether the engine is installed; the image that only builds bundles has none."""
    return find_spec("openvino") is not None


def check_outputs(model: bytes, precision: Precision) -> None:
    """Raise BuildError unless the graph gives the golden logits for the drawn pictures."""
    expected: dict[str, dict[str, float]] = golden()["logits"][precision]
    found = top_logits(model, {label: [int(index) for index in logits] for label, logits in expected.items()})
    for label, logits in expected.items():
        for index, value in logits.items():
            difference = abs(found[label][int(index)] - value)
            if not difference <= TOLERANCES[precision]:  # so that not-a-number is refused, too
                raise BuildError(
                    f"the {precision} network computes the wrong values on this machine: logit {index} of the drawn "
                    f"{label} is {found[label][int(index)]:.4f}, expected {value:.4f}; please report the processor"
                )


def top_logits(model: bytes, indices: Mapping[str, list[int]] | None = None) -> Logits:
    """Return the logits at the indices, or the five highest, for each drawn picture."""
    from default_model.engine import run  # noqa: PLC0415 - the engine is not always installed

    pictures = drawn_pictures()
    (logits,) = run(model, np.stack([normalise(picture) for picture in pictures.values()]))
    chosen = indices or {label: np.argsort(-row)[:TOP].tolist() for label, row in zip(pictures, logits, strict=True)}
    rows = dict(zip(pictures, logits, strict=True))
    return {label: {index: float(rows[label][index]) for index in chosen[label]} for label in pictures}
