"""A network of the operator's own: its files, taken from a form and stored for the trainer. Nothing here reads them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import PurePosixPath

from werkzeug.datastructures import FileStorage, MultiDict

import settings
from problems import Problem
from reports import idempotency, transfers
from teach import orders
from wire.errors import OrderKeyReused
from wire.orders.messages import Known

# Larger ones are for `models import`: a form is held in memory until it is stored.
MAX_MODEL_BYTES = 128_000_000
MAX_TABLE_BYTES = 4_000_000
MAX_NAME = 60
# The families of model/importing/presets.toml, and the description of each.
PRESETS = {
    "torchvision": "torchvision, timm (mean and deviation of ImageNet)",
    "tensorflow": "TensorFlow, MobileNet, Inception (-1 to 1)",
    "keras-caffe": "Keras ResNet-50, VGG (means subtracted, blue first)",
    "pixels": "the graph normalises by itself (0 to 255)",
}
_LABEL_SUFFIXES = (".txt", ".csv", ".tsv", ".json")
_CONFIGURATIONS = ("config.json", "preprocessor_config.json")
_SIZE = re.compile(r"\d{1,4}(x\d{1,4})?")


def place(fields: Mapping[str, str], files: MultiDict[str, FileStorage], key: str) -> Known:
    """Store the files of a form, order their import once for each key that is not empty, and return the order.

    Raise Problem, OrderKeyReused, or QueueUnavailable where it is not known whether the order was placed.
    """
    graphs = _sent(files, "model")
    if len(graphs) != 1:
        raise Problem(400, "invalid_order", "To import a network, send its ONNX file as form field 'model'.")
    arguments = {"file": (graphs[0].filename or "")[-orders.MAX_ARGUMENT :], **_options(fields)}
    contents = {"model.onnx": _content(graphs[0], MAX_MODEL_BYTES)}
    for file in _sent(files, "labels")[:1]:
        suffix = PurePosixPath(file.filename or "").suffix.lower()
        contents[f"labels{suffix if suffix in _LABEL_SUFFIXES else '.txt'}"] = _content(file, MAX_TABLE_BYTES)
    for file in _sent(files, "config"):
        if file.filename not in _CONFIGURATIONS:
            expected = " or ".join(_CONFIGURATIONS)
            raise Problem(
                400, "invalid_order", f"{(file.filename or '')[:100]!r} is no {expected}, as its tool named it."
            )
        contents[file.filename] = _content(file, MAX_TABLE_BYTES)
    kept = transfers.transfers()
    upload, content = transfers.run(
        lambda: (kept.receive(contents, settings.MIN_FREE_BYTES), _digest(arguments, contents))
    )
    try:
        placed = orders.place_import({"upload": upload, **arguments}, key, content)
    except (Problem, OrderKeyReused):
        transfers.run(lambda: kept.drop(upload))
        raise
    # After any other error the order may be there all the same, and files that nothing needs go after a day.
    if not placed.is_new:
        transfers.run(lambda: kept.drop(upload))
    return placed.known


def _digest(arguments: Mapping[str, str], contents: Mapping[str, bytes]) -> bytes:
    texts: Iterable[str | bytes] = chain(*sorted(arguments.items()), *sorted(contents.items()))
    return idempotency.digest(*texts)


def _options(fields: Mapping[str, str]) -> dict[str, str]:
    given = {name: fields.get(name, "").strip() for name in ("name", "preset", "size")}
    if given["preset"] and given["preset"] not in PRESETS:
        raise Problem(400, "invalid_order", f"preset={given['preset'][:40]!r} is none of {', '.join(PRESETS)}.")
    if given["size"] and not _SIZE.fullmatch(given["size"]):
        raise Problem(400, "invalid_order", f"size={given['size'][:40]!r} is no size: 224, or HEIGHTxWIDTH as 97x131.")
    if len(given["name"]) > MAX_NAME:
        raise Problem(400, "invalid_order", f"'name' has more than {MAX_NAME} characters.")
    return {name: text for name, text in given.items() if text}


def _sent(files: MultiDict[str, FileStorage], field: str) -> Sequence[FileStorage]:
    """Return the files of a field; browsers send one without a name where none was chosen."""
    return [file for file in files.getlist(field) if file.filename]


def _content(file: FileStorage, max_bytes: int) -> bytes:
    content = file.stream.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise Problem(413, "too_large", f"{(file.filename or '')[:100]!r} has more than {max_bytes} bytes.")
    return content
