"""Which part of a picture the model looks at, and in how many pixels. Numbers only."""

from dataclasses import dataclass, replace

from inference import exif
from inference.limits import MAX_PIXELS

Box = tuple[int, int, int, int]  # left, top, right, bottom
# The factors for which libjpeg-turbo has SIMD code; 3/8, 5/8 and the like are slower than twice the pixels.
JPEG_FACTORS = (8, 4, 2)


@dataclass(frozen=True, slots=True)
class View:
    """A centred square of `crop_ratio` of the shorter side, or all of the picture where that is None.

    One that `takes_single_pixels` wants them as they are in the picture, none of them averaged beforehand.
    """

    height: int
    width: int
    crop_ratio: float | None
    takes_single_pixels: bool = False

    def box(self, width: int, height: int) -> Box:
        """The part to look at in a picture of this size."""
        if self.crop_ratio is None:
            return 0, 0, width, height
        # Each edge is rounded by itself: keeping the middle where it is matters more than an exact square.
        half = min(width, height) * self.crop_ratio / 2
        left, right = round(width / 2 - half), round(width / 2 + half)
        top, bottom = round(height / 2 - half), round(height / 2 + half)
        return left, top, max(right, left + 1), max(bottom, top + 1)

    def shrinkage(self, width: int, height: int) -> float:
        """How many pixels of the picture become one of the model's, on the side where they are fewest."""
        left, top, right, bottom = self.box(width, height)
        return min((right - left) / self.width, (bottom - top) / self.height)

    def jpeg_factor(self, width: int, height: int) -> int:
        """By how much a JPEG may be scaled down while it is decoded."""
        if self.takes_single_pixels and width * height <= MAX_PIXELS:
            return 1
        return next((factor for factor in JPEG_FACTORS if self.shrinkage(width, height) >= factor), 1)

    def as_stored(self, orientation: int) -> "View":
        """The same view of a picture that is stored in this EXIF orientation."""
        return replace(self, height=self.width, width=self.height) if exif.is_turned(orientation) else self
