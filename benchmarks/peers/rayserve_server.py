"""Ray Serve: one single-threaded replica for each core, `serve.batch` inside each, raw image bodies."""

import asyncio
import os
import signal
from typing import Any

import ray  # type: ignore[import-not-found]
from ray import serve
from starlette.requests import Request  # type: ignore[import-not-found]

from benchmarks import settings
from benchmarks.peers.pillow_onnx import PillowOnnxClassifier

# More than any number of connections that is measured, so that nothing is refused.
MAX_ONGOING_REQUESTS = 256


@serve.deployment(
    num_replicas=settings.WORKERS,
    max_ongoing_requests=MAX_ONGOING_REQUESTS,
    ray_actor_options={"num_cpus": 1, "runtime_env": {"env_vars": {"OMP_NUM_THREADS": "1"}}},
)
class ImageClassifier:
    """Decode and predict what came together."""

    def __init__(self) -> None:
        self._classifier = PillowOnnxClassifier(settings.BUNDLE, threads=1, draft=settings.PILLOW_DRAFT)

    async def __call__(self, request: Request) -> dict[str, Any]:
        """Classify the image of one request."""
        answer: dict[str, Any] = await self.classify(await request.body())
        return answer

    @serve.batch(  # type: ignore[untyped-decorator]
        max_batch_size=settings.MAX_BATCH_SIZE, batch_wait_timeout_s=settings.MAX_BATCH_WAIT_MS / 1000
    )
    async def classify(self, contents: list[bytes]) -> list[dict[str, Any]]:
        """Classify images together."""
        return await asyncio.to_thread(self._together, contents)

    def _together(self, contents: list[bytes]) -> list[dict[str, Any]]:
        return self._classifier.answer([self._classifier.decode(content) for content in contents])


if __name__ == "__main__":
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "120")
    # The proxy, the controller and the replicas reserve cores; all of them share this machine's.
    ray.init(num_cpus=settings.WORKERS + 2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    serve.start(http_options={"host": "127.0.0.1", "port": settings.PORT, "location": "HeadOnly"})
    application = ImageClassifier.bind()  # type: ignore[attr-defined]
    serve.run(application, route_prefix="/predict")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()
