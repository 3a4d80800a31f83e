"""Which implementation keeps the images, by its place."""

from functools import cache

from storage.files import Run, run_here
from storage.images.folder import image_folder
from storage.images.port import ImageStore
from storage.s3 import SCHEME, Bucket, Server


def open_images(place: str, server: Server, min_free_bytes: int = 0, run: Run = run_here) -> ImageStore:
    """Return the images of a folder, or of s3://bucket/prefix on a server; the same object each time."""
    if place.startswith(SCHEME):
        return _image_bucket(place, server, run)
    return image_folder(place, min_free_bytes)


@cache
def _image_bucket(place: str, server: Server, run: Run) -> ImageStore:
    from storage.images.bucket import ImageBucket  # noqa: PLC0415  only where images are in a bucket

    return ImageBucket(Bucket(place, server, run))
