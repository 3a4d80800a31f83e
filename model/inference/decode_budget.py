"""The processor time that decoding one image may take, checked while the image is decoded."""

import io
import math
import time

from inference.errors import IMAGE_TOO_LARGE, ImageError


class DecodeBudget:
    """Processor time of the thread that creates it, counted from then on; time spent waiting does not count."""

    def __init__(self, seconds: float = math.inf) -> None:
        self._seconds = seconds
        self._until = time.thread_time() + seconds

    def check(self) -> None:
        """Raise ImageError once the time is spent."""
        if time.thread_time() > self._until:
            limit = f"decoding it takes longer than DECODE_BUDGET_S={self._seconds:g} allows on this machine"
            raise ImageError(IMAGE_TOO_LARGE, f"{limit}; send a smaller or simpler image")


UNLIMITED = DecodeBudget()


class BudgetedFile(io.BytesIO):
    """The bytes of an image; a decoder that reads on after the budget is spent gets an ImageError."""

    def __init__(self, content: bytes, budget: DecodeBudget) -> None:
        super().__init__(content)
        self._budget = budget

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next bytes; raise ImageError once the budget is spent."""
        self._budget.check()
        return super().read(size)
