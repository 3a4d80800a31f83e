"""Whether a disk has room for what a request brings."""

import os
from pathlib import Path

import settings
from problems import Problem

STORAGE_RETRY_S = 60
# Files that reports, their index, sessions and Redis may still make on the same disk.
MIN_FREE_FILES = 100


def check(folder: Path, size: int) -> None:
    """Raise Problem where so many bytes would leave less than MIN_FREE_BYTES, or hardly another file.

    The folder is made where it is missing.
    """
    try:
        disk = os.statvfs(folder)
    except FileNotFoundError:
        folder.mkdir(parents=True, exist_ok=True)
        disk = os.statvfs(folder)
    # Where the number of files has no limit, it is told as 0.
    is_out_of_files = disk.f_files and disk.f_favail < MIN_FREE_FILES
    if is_out_of_files or disk.f_bavail * disk.f_frsize - size < settings.MIN_FREE_BYTES:
        raise Problem(507, "storage_full", "The service's disk is full.", retry_after_s=STORAGE_RETRY_S)
