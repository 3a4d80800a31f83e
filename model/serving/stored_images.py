"""Reading a stored image by the name that a job gives, which may come from anyone who can write to Redis."""

import logging
from pathlib import Path

import settings
from inference.errors import IMAGE_MISSING, IMAGE_TOO_LARGE, STORAGE_UNAVAILABLE, ImageError
from storage.errors import ImageMissing, ImageTooLarge, StorageUnavailable
from storage.images.opening import open_images
from storage.images.port import ImageStore
from storage.s3 import server_of
from storage.transfers.opening import open_transfers
from storage.transfers.port import Transfers

log = logging.getLogger(__name__)
# For each request; a large file takes several.
TRANSFER_TIMEOUT_S = 60.0


def read(images: ImageStore, name: str) -> bytes:
    """Return the bytes of an image; raise ImageError where there is none of that name, or its place does not serve."""
    try:
        return images.read(name)
    except ImageMissing as fault:
        raise ImageError(IMAGE_MISSING, str(fault)) from fault
    except ImageTooLarge as fault:
        raise ImageError(IMAGE_TOO_LARGE, str(fault)) from fault
    except StorageUnavailable as fault:
        log.warning("%r cannot be read: %s", name, fault)
        advice = f": {fault.advice}" if fault.advice else ""
        raise ImageError(STORAGE_UNAVAILABLE, f"the storage of images cannot be used now{advice}") from fault


def open_store(place: str = "") -> ImageStore:
    """Return the images at a place, a folder or s3://bucket/prefix; without one, those of the settings."""
    return open_images(place or settings.IMAGE_STORE or settings.UPLOAD_FOLDER, server_of(settings))


def transfers() -> Transfers:
    """Return the files on their way between the operator's browser and the trainer."""
    folder = Path(settings.FEEDBACK_FILEPATH).parent
    return open_transfers(folder, settings.IMAGE_STORE, server_of(settings, TRANSFER_TIMEOUT_S))
