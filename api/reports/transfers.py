"""Files on their way between the operator's browser and the trainer, next to the images or to the reports."""

from collections.abc import Callable
from functools import cache
from typing import TypeVar

import offload
import settings
from reports import record
from storage.errors import StorageUnavailable
from storage.s3 import server_of
from storage.transfers.opening import open_transfers
from storage.transfers.port import Transfers

Result = TypeVar("Result")
# For each request to a bucket with content, and for all that a transfer takes: 128 MB come in many parts.
REQUEST_TIMEOUT_S, TIMEOUT_S = 30.0, 120.0
THREADS = 2


def transfers() -> Transfers:
    """Return the transfers; where images are in a bucket, so that api and trainer need no folder in common."""
    server = server_of(settings, REQUEST_TIMEOUT_S)
    return open_transfers(record.folder(), settings.IMAGE_STORE, server, _threads().run, settings.S3_TIMEOUT_S)


def run(work: Callable[[], Result]) -> Result:
    """Run a transfer in a thread; raise StorageUnavailable after TIMEOUT_S."""
    return _threads().run(work)


@cache
def _threads() -> offload.Pool:
    return offload.Pool(THREADS, TIMEOUT_S, StorageUnavailable)
