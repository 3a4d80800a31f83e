"""Mosec: one stage of workers, by default one with one thread for each core; raw image bodies."""

from typing import Any

import mosec  # type: ignore[import-not-found]

from benchmarks import settings
from benchmarks.peers.pillow_onnx import PillowOnnxClassifier, Pixels


class ImageClassifier(mosec.Worker):  # type: ignore[misc]
    """Decode on arrival, then one run of the model for what Mosec hands over together."""

    def __init__(self) -> None:
        self._classifier = PillowOnnxClassifier(settings.BUNDLE, threads=settings.THREADS, draft=settings.PILLOW_DRAFT)

    def deserialize(self, data: bytes) -> Pixels:
        """Decode one request body."""
        return self._classifier.decode(data)

    def forward(self, data: Any) -> Any:
        """Classify one image, or a list of them when batching is on."""
        if isinstance(data, list):
            return self._classifier.answer(data)
        return self._classifier.answer([data])[0]


if __name__ == "__main__":
    server = mosec.Server()
    server.append_worker(
        ImageClassifier,
        num=settings.WORKERS,
        max_batch_size=settings.MAX_BATCH_SIZE,
        max_wait_time=settings.MAX_BATCH_WAIT_MS,
        env=[{"OMP_NUM_THREADS": str(settings.THREADS), "OPENBLAS_NUM_THREADS": "1"}] * settings.WORKERS,
    )
    server.run()
