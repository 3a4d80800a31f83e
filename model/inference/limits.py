"""What an image may be, and what decoding it may cost."""

import io
import math
import time

from inference.errors import IMAGE_BROKEN, IMAGE_TOO_LARGE, ImageError

Size = tuple[int, int]  # width, height

MAX_BYTES = 20 * 1024 * 1024
MAX_SIDE = 12_000
MAX_ASPECT = 50
MAX_PIXELS = 25_000_000
# A JPEG of one sequential scan is decoded row by row at an eighth of its size: no buffer grows with its pixels.
MAX_SCALED_SIDE = 30_000
MAX_SCALED_PIXELS = 100_000_000
# Larger images take hundreds of megabytes while they are decoded.
LARGE_PIXELS = 6_000_000
# PNG encoders write chunks of 8 KiB or more: 2,560 in the largest upload. GIF comments are a few blocks of 255 bytes.
# A WebP has a few for each frame, and libwebp remembers every one of them: 2,600,000 empty ones took 120 MB.
MAX_CHUNKS = 20_000
# Every scan of a progressive JPEG walks over the whole image again; cameras and encoders write about ten.
MAX_SCANS = 64


def check_bytes(count: int) -> None:
    """Raise ImageError for a file of too many bytes."""
    if count > MAX_BYTES:
        raise ImageError(IMAGE_TOO_LARGE, f"{count} bytes; at most {MAX_BYTES} are taken")


def check_size(width: int, height: int, *, is_scaled: bool = False) -> None:
    """Raise ImageError for an image whose sides, shape or area are beyond the limits.

    Those of one that is scaled down while it is decoded are wider.
    """
    size = f"{width} x {height} pixels"
    max_side, max_pixels = (MAX_SCALED_SIDE, MAX_SCALED_PIXELS) if is_scaled else (MAX_SIDE, MAX_PIXELS)
    if width < 1 or height < 1:
        raise ImageError(IMAGE_BROKEN, f"its header declares {size}")
    if max(width, height) > max_side:
        raise ImageError(IMAGE_TOO_LARGE, f"{size}; a side may have {max_side} in this format")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ImageError(IMAGE_TOO_LARGE, f"{size}; one side may be {MAX_ASPECT} times the other")
    if width * height > max_pixels:
        limit = f"at most {max_pixels // 1_000_000} megapixels are taken in this format"
        raise ImageError(IMAGE_TOO_LARGE, f"{size}; {limit}")


class DecodeBudget:
    """Processor time of the thread that creates it, counted from then on; time spent waiting does not count."""

    def __init__(self, seconds: float = math.inf) -> None:
        self.seconds = seconds
        self._until = time.thread_time() + seconds

    def check(self) -> None:
        """Raise ImageError once the time is spent."""
        if time.thread_time() > self._until:
            limit = f"decoding it takes longer than DECODE_BUDGET_S={self.seconds:g} allows on this machine"
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
