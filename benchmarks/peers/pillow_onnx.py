"""What users of a serving system write: Pillow decodes and resizes, ONNX Runtime infers."""

import io
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.float32]


class PillowOnnxClassifier:
    """Image bytes in, (label, score) out, by the bundle's own preprocessing.

    `threads` 0 leaves the number of threads to ONNX Runtime (one for each core).
    `draft` lets libjpeg scale large JPEGs down while it decodes, which few users turn on.
    """

    def __init__(self, bundle: Path, threads: int = 0, *, draft: bool = False) -> None:
        rules: dict[str, Any] = tomllib.loads((bundle / "bundle.toml").read_text("utf-8"))["preprocessing"]
        self._crop_ratio = float(rules["crop_ratio"])
        self._height, self._width = rules["size"]
        self._mean = np.asarray(rules["mean"], np.float32)
        self._inverse_std = 1 / np.asarray(rules["std"], np.float32)
        self._draft = draft
        self._labels = (bundle / "labels.txt").read_text("utf-8").splitlines()
        self._session = onnxruntime.InferenceSession(
            bundle / "model.onnx", _session_options(threads), providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name

    def decode(self, content: bytes) -> Pixels:
        """Decode one image to a normalised float32 array of shape (3, height, width)."""
        image: Image.Image = Image.open(io.BytesIO(content))
        if self._draft:
            # The crop keeps crop_ratio of the shorter side, so that is what must stay larger than the input.
            side = int(max(self._height, self._width) / self._crop_ratio) + 1
            image.draft("RGB", (side, side))
        image = image.convert("RGB")
        side_px = self._crop_ratio * min(image.size)
        left, top = (image.width - side_px) / 2, (image.height - side_px) / 2
        box = (left, top, left + side_px, top + side_px)
        small = image.resize((self._width, self._height), Image.Resampling.BICUBIC, box=box)
        pixels = (np.asarray(small, np.float32) - self._mean) * self._inverse_std
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))

    def predict(self, batch: Sequence[Pixels]) -> list[tuple[str, float]]:
        """Return the most likely label of each image with its probability."""
        logits: NDArray[np.float32] = self._session.run(None, {self._input: np.stack(batch)})[0]
        exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
        scores = exponents.max(axis=1) / exponents.sum(axis=1)
        return [
            (self._labels[int(best)], round(float(score), 4))
            for best, score in zip(logits.argmax(axis=1), scores, strict=True)
        ]

    def answer(self, batch: Sequence[Pixels]) -> list[dict[str, Any]]:
        """Return the JSON answer of each image in the shape that every system under test gives."""
        return [{"success": True, "prediction": label, "score": score} for label, score in self.predict(batch)]


def _session_options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return options
