"""A network of two classes with weights made by hand, and images of which it knows: stripes across, stripes down."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from sightline_testing.sample_images import encode

LABELS = ("across", "down")
HEIGHT, WIDTH = 97, 131
SURENESS = 4.0


def network(  # noqa: PLR0913  each goes by keyword
    *,
    batch: int | str = "N",
    size: tuple[int | str, int | str] = (HEIGHT, WIDTH),
    opset: int = 17,
    is_nhwc: bool = False,
    ends: tuple[str, ...] = (),
    kind: int = TensorProto.FLOAT,
    classes: int = len(LABELS),
) -> bytes:
    """An ONNX file: differences between neighbouring pixels, how large they are on the whole, and which are larger.

    Classes after the first two take turns with them.
    """
    shape = [batch, *size, 3] if is_nhwc else [batch, 3, *size]
    first = [helper.make_node("Transpose", ["image"], ["planes"], perm=[0, 3, 1, 2])] if is_nhwc else []
    names = ["scores", *(f"after.{operation}" for operation in ends)]
    nodes = [
        *first,
        helper.make_node("Conv", ["planes" if is_nhwc else "image", "edges", "none"], ["steps"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["steps"], ["sizes"]),
        helper.make_node("Conv", ["sizes", "mix"], ["mixed"]),
        helper.make_node("GlobalAveragePool", ["mixed"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
        helper.make_node("Gemm", ["features", "which", "bias"], ["scores"], transB=1),
        *(helper.make_node(end, [name], [f"after.{end}"]) for end, name in zip(ends, names, strict=False)),
    ]
    graph = helper.make_graph(
        nodes,
        "stripes",
        [helper.make_tensor_value_info("image", kind, shape)],
        [helper.make_tensor_value_info(names[-1], TensorProto.FLOAT, [batch, classes])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in _weights(classes).items()],
    )
    content: bytes = helper.make_model(
        graph, ir_version=8, opset_imports=[helper.make_opsetid("", opset)]
    ).SerializeToString()
    return content


def _weights(classes: int) -> dict[str, np.ndarray[Any, Any]]:
    down = np.zeros((3, 3, 3))
    down[:, 0, 1], down[:, 2, 1] = -1, 1
    right = down.transpose(0, 2, 1)
    # Of the fifth filter nothing is left: a channel of zeros, as trained networks have them.
    edges = np.stack([down, -down, right, -right, np.zeros((3, 3, 3))])
    mix = np.array([[1, 1, 0, 0, 0], [0, 0, 1, 1, 0]])[:, :, None, None]
    which = SURENESS * np.resize([[1, -1], [-1, 1]], (classes, 2))
    return {"edges": edges, "none": np.zeros(5), "mix": mix, "which": which, "bias": np.zeros(classes)}


@lru_cache(maxsize=256)
def image(label: str, seed: int = 0, width: int = 320, height: int = 240) -> bytes:
    """A PNG of stripes that run this way, with noise."""
    draw = np.random.default_rng(seed)
    along = np.arange(height)[:, None] if label == "across" else np.arange(width)[None, :]
    waves = np.sin(along * draw.uniform(0.12, 0.35) + draw.uniform(0, 6))
    values = 127 + 90 * np.broadcast_to(waves, (height, width))[..., None] * draw.uniform(0.6, 1, 3)
    noisy = np.clip(values + draw.normal(0, 6, (height, width, 3)), 0, 255).astype(np.uint8)
    return encode(Image.fromarray(noisy), "PNG")


def write_labels(path: Path) -> Path:
    """The file of labels that goes with the network."""
    path.write_text("".join(f"{label}\n" for label in LABELS))
    return path


def write_images(folder: Path, count: int, seed: int = 0) -> Path:
    """A folder for each label, with so many images in it."""
    for label in LABELS:
        (folder / label).mkdir(parents=True)
        for number in range(count):
            (folder / label / f"{number}.png").write_bytes(image(label, seed + number))
    return folder
