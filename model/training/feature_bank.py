"""Features of real images that come with a bundle, about one for each of its classes, so that a fit is held to them.

The file is an .npz of `features` (uint8, a row for each image), `step` (what one unit of these is) and `classes` (the
index of what each image shows).
"""

import io
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from inference import bundle
from inference.arrays import Classes, Floats
from inference.errors import BundleError
from onnx_tools.head import Head

FEATURE_BANK_FILE = "feature_bank.npz"
MAX_BYTES = 64 * 1024**2
LEVELS = 255


class FeatureBank(NamedTuple):
    """A row of features for each image, and the class that it shows."""

    features: Floats
    classes: Classes


def read(folder: Path) -> FeatureBank | None:
    """Return the feature bank of the bundle in this folder, None where it has none; raise BundleError."""
    content = bundle.additional_file(folder, FEATURE_BANK_FILE, MAX_BYTES)
    return None if content is None else decode(content, folder / FEATURE_BANK_FILE)


def decode(content: bytes, path: Path) -> FeatureBank:
    """Return what encode() was given, to a precision of one step; `path` is named where it cannot be read."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            features = arrays["features"].astype(np.float32) * np.float32(arrays["step"])
            classes = arrays["classes"].astype(np.intp)
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as fault:
        raise BundleError(f"{path} cannot be read: {fault}") from None
    if features.ndim != 2 or classes.shape != (len(features),) or not np.isfinite(features).all():
        raise BundleError(f"{path} has features of shape {features.shape} for classes of shape {classes.shape}")
    return FeatureBank(features, classes)


def checked(bank: FeatureBank, base: Head, folder: Path | None) -> Floats:
    """Return the features; raise BundleError where they are not those of this last layer."""
    if bank.features.shape[1] != base.weights.shape[1]:
        raise BundleError(
            f"{FEATURE_BANK_FILE} in {folder} has {bank.features.shape[1]} features an image, the model "
            f"{base.weights.shape[1]}: leave it out of bundle.toml"
        )
    return bank.features


def encode(bank: FeatureBank) -> bytes:
    """Return the content of the file; features of an int8 network keep every digit. They must not be negative."""
    step = np.float32(bank.features.max() / LEVELS)
    written = io.BytesIO()
    features = np.round(bank.features / step).astype(np.uint8)
    np.savez_compressed(written, features=features, step=step, classes=bank.classes.astype(np.uint16))
    return written.getvalue()
