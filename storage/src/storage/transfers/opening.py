"""Which implementation has the transfers, by the place of the images."""

from functools import cache
from pathlib import Path

from storage.s3 import SCHEME, Bucket, Run, Server, at_once
from storage.transfers.folder import FolderTransfers
from storage.transfers.port import Transfers


def open_transfers(feedback: Path, images: str, server: Server, run: Run = at_once) -> Transfers:
    """Return the transfers next to the images where these are in a bucket, else below the folder of reports."""
    if images.startswith(SCHEME):
        return _in_bucket(feedback, images, server, run)
    return FolderTransfers(feedback)


@cache
def _in_bucket(feedback: Path, images: str, server: Server, run: Run) -> Transfers:
    from storage.transfers.bucket import BucketTransfers  # noqa: PLC0415  only where images are in a bucket

    return BucketTransfers(Bucket(images, server, run), feedback)
