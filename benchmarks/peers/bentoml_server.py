"""BentoML: an adaptive batch in one single-threaded worker for each core, behind the service that takes raw bodies.

Its documentation has a batched API take lists, and puts a service in front of it that takes single requests.
"""

import os
import sys
from typing import Annotated, Any

import bentoml  # type: ignore[import-not-found]
from bentoml.validators import ContentType  # type: ignore[import-not-found]

from benchmarks import settings
from benchmarks.peers.pillow_onnx import PillowOnnxClassifier

TIMEOUT_S = 60
# BentoML refuses what would take longer than this; a full batch of the largest images takes a second and more.
MAX_LATENCY_MS = 60_000
WITHOUT_ACCESS_LOG = {"access": {"enabled": False}}


@bentoml.service(workers=settings.WORKERS, threads=1, traffic={"timeout": TIMEOUT_S}, logging=WITHOUT_ACCESS_LOG)
class BatchClassifier:
    """Decode and predict what came together."""

    def __init__(self) -> None:
        self._classifier = PillowOnnxClassifier(settings.BUNDLE, threads=1, draft=settings.PILLOW_DRAFT)

    @bentoml.api(  # type: ignore[untyped-decorator]
        batchable=True, max_batch_size=settings.MAX_BATCH_SIZE, max_latency_ms=MAX_LATENCY_MS
    )
    def classify(self, contents: list[bytes]) -> list[dict[str, Any]]:
        """Classify images together."""
        return self._classifier.answer([self._classifier.decode(content) for content in contents])


@bentoml.service(traffic={"timeout": TIMEOUT_S}, logging=WITHOUT_ACCESS_LOG)
class ImageClassifier:
    """Take one image a request."""

    batched = bentoml.depends(BatchClassifier)

    @bentoml.api(route="/predict")  # type: ignore[untyped-decorator]
    async def predict(self, image: Annotated[bytes, ContentType("image/jpeg")], /) -> dict[str, Any]:
        """Classify the image of one request."""
        answer: dict[str, Any]
        [answer] = await self.batched.to_async.classify([image])
        return answer


if __name__ == "__main__":
    told = ["--host", "127.0.0.1", "--port", str(settings.PORT)]
    words = [sys.executable, "-m", "bentoml", "serve", "benchmarks.peers.bentoml_server:ImageClassifier", *told]
    os.execv(sys.executable, words)  # noqa: S606  the command that its documentation starts it by
