"""The client for asyncio: each request runs in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from sightline.client import TIMEOUT_S, Client, Prediction, ServiceError

if TYPE_CHECKING:
    from typing_extensions import Self  # typing has it from Python 3.11 on

MAX_AT_ONCE = 32
Result = TypeVar("Result")


class AsyncClient:
    """Send up to `at_once` requests to one service in parallel; others wait.

    async with AsyncClient("http://127.0.0.1:8000") as client:
        answers = await asyncio.gather(*map(client.classify, images))
    """

    def __init__(
        self, url: str, *, key: str = "", timeout_s: float = TIMEOUT_S, retries: int = 0, at_once: int = MAX_AT_ONCE
    ) -> None:
        self._client = Client(url, key=key, timeout_s=timeout_s, retries=retries)
        self._threads = ThreadPoolExecutor(at_once, "sightline")
        self.url = self._client.url

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection after the running requests."""
        await asyncio.to_thread(self._threads.shutdown)
        self._client.close()

    async def classify(self, image: bytes, *, top_k: int = 1) -> Prediction:
        """Return what is in an image; raise Refused, ServiceError or Unreachable."""
        return await self._run(lambda: self._client.classify(image, top_k=top_k))

    async def classify_batch(self, images: Sequence[bytes], *, top_k: int = 1) -> list[Prediction | ServiceError]:
        """Return what is in each of up to 16 images, sent in one request: a prediction, or the error of one."""
        return await self._run(lambda: self._client.classify_batch(images, top_k=top_k))

    async def report(self, prediction_id: str, *, label: str = "", comment: str = "") -> str:
        """Report that an answer was wrong, and what it should have been; return the report's id."""
        return await self._run(lambda: self._client.report(prediction_id, label=label, comment=comment))

    async def ready(self) -> dict[str, Any]:
        """Check whether an image would be answered now; raise Refused with the reason where it would not."""
        return await self._run(self._client.ready)

    async def _run(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)
