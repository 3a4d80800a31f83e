"""Coverage-guided fuzzing of an image's way to pixels; `make fuzz` runs it with model/ on PYTHONPATH."""

import contextlib
import sys

import atheris

with atheris.instrument_imports(include=["inference", "PIL"]):
    from inference.errors import ImageError
    from inference.onnx_file import has_external_data
    from inference.preprocessing import from_table

import numpy as np

PREPARE = from_table(
    {
        "resize": "center-crop",
        "crop_ratio": 0.875,
        "size": [224, 224],
        "interpolation": "bicubic",
        "channels": "RGB",
        "mean": [127.0, 127.0, 127.0],
        "std": [128.0, 128.0, 128.0],
        "layout": "NCHW",
    }
).prepare
OUT = np.empty((224, 224, 3), np.uint8)


def one_input(data: bytes) -> None:
    """Pixels or a refusal, and nothing else; a graph or a ValueError."""
    assert code_of(data) in {"", "unsupported_type", "image_too_large", "image_broken"}
    with contextlib.suppress(ValueError):
        has_external_data(data)


def code_of(data: bytes) -> str:
    """Why an image is refused; empty where it is not."""
    try:
        PREPARE(data, OUT)
    except ImageError as refusal:
        return refusal.code
    return ""


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
