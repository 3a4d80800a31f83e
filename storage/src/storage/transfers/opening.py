"""Which implementation has the transfers, by the place of the images."""

import math
from dataclasses import replace
from functools import cache
from pathlib import Path

from storage.files import Run, run_here
from storage.s3 import SCHEME, Bucket, Server
from storage.transfers.folder import FolderTransfers
from storage.transfers.port import Transfers


def open_transfers(
    feedback: Path, images: str, server: Server, run: Run = run_here, small_timeout_s: float = math.inf
) -> Transfers:
    """Return the transfers next to the images where these are in a bucket, else below the folder of reports.

    A server that takes longer than `small_timeout_s` for a request without content is away.
    """
    if images.startswith(SCHEME):
        return _in_bucket(feedback, images, server, run, min(server.timeout_s, small_timeout_s))
    return FolderTransfers(feedback)


@cache
def _in_bucket(feedback: Path, images: str, server: Server, run: Run, small_timeout_s: float) -> Transfers:
    from storage.transfers.bucket import BucketTransfers  # noqa: PLC0415  only where images are in a bucket

    quick = Bucket(images, replace(server, timeout_s=small_timeout_s), run)
    return BucketTransfers(Bucket(images, server, run), feedback, quick)
