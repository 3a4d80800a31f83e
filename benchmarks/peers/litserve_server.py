"""LitServe: one single-threaded worker for each core, ZeroMQ queue, raw image bodies."""

from typing import Annotated, Any

import litserve  # type: ignore[import-not-found]
from fastapi import Body  # type: ignore[import-not-found]

from benchmarks import settings
from benchmarks.peers.pillow_onnx import PillowOnnxClassifier, Pixels

TIMEOUT_S = 60


class ImageClassifier(litserve.LitAPI):  # type: ignore[misc]
    """Decode, predict and encode in the worker process."""

    def setup(self, device: str) -> None:
        """Load the model once for each worker."""
        self._classifier = PillowOnnxClassifier(settings.BUNDLE, threads=1, draft=settings.PILLOW_DRAFT)

    def decode_request(self, request: Annotated[bytes, Body(media_type="image/jpeg")]) -> Pixels:
        """Decode one request body."""
        return self._classifier.decode(request)

    def batch(self, inputs: list[Pixels]) -> list[Pixels]:
        """Keep the list: the classifier stacks it itself."""
        return inputs

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Hand each answer to its own request."""
        return output

    def predict(self, x: Any) -> Any:
        """Classify one image, or a list of them when batching is on."""
        return self._classifier.answer(x) if isinstance(x, list) else self._classifier.answer([x])[0]

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """Answer as JSON."""
        return output


if __name__ == "__main__":
    api = ImageClassifier(max_batch_size=settings.MAX_BATCH_SIZE, batch_timeout=settings.MAX_BATCH_WAIT_MS / 1000)
    server = litserve.LitServer(
        api, accelerator="cpu", workers_per_device=settings.WORKERS, fast_queue=True, timeout=TIMEOUT_S
    )
    server.run(host="127.0.0.1", port=settings.PORT, log_level="warning", generate_client_file=False)
