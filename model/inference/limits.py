"""What an image may be, and what decoding it may cost."""

import io
import math
import time

from inference.errors import IMAGE_BROKEN, IMAGE_TOO_LARGE, ImageError

MAX_BYTES = 20 * 1024 * 1024
MAX_SIDE = 12_000
MAX_ASPECT = 50
MAX_PIXELS = 25_000_000
# A JPEG of one sequential scan is decoded row by row at an eighth of its size: no buffer grows with its pixels.
MAX_SCALED_PIXELS = 100_000_000
# Larger images take hundreds of megabytes while they are decoded.
LARGE_PIXELS = 6_000_000
# Every scan of a progressive JPEG walks over the whole image again; cameras and encoders write about ten.
MAX_SCANS = 64


def check_bytes(count: int) -> None:
    """Raise ImageError for a file of too many bytes."""
    if count > MAX_BYTES:
        raise ImageError(IMAGE_TOO_LARGE, f"{count} bytes; at most {MAX_BYTES} are taken")


def check_size(width: int, height: int, *, max_pixels: int = MAX_PIXELS) -> None:
    """Raise ImageError for an image whose sides, shape or area are beyond the limits."""
    size = f"{width} x {height} pixels"
    if width < 1 or height < 1:
        raise ImageError(IMAGE_BROKEN, f"its header says {size}")
    if max(width, height) > MAX_SIDE:
        raise ImageError(IMAGE_TOO_LARGE, f"{size}; a side may have {MAX_SIDE}")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ImageError(IMAGE_TOO_LARGE, f"{size}; one side may be {MAX_ASPECT} times the other")
    if width * height > max_pixels:
        limit = f"at most {max_pixels // 1_000_000} megapixels are taken in this format"
        raise ImageError(IMAGE_TOO_LARGE, f"{size}; {limit}")


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
