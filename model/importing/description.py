"""The description of an imported network in bundle.toml: preprocessing, labels and kind of outputs."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from importing.facts import Facts
from inference import preprocessing
from inference.arrays import Scores
from inference.bundle import parse_labels
from inference.errors import BundleError, ImportRefusedError

# How the common families of networks want their images: data, in one place.
PRESETS_FILE = Path(__file__).with_name("presets.toml")
# TensorFlow's networks for ImageNet count from 1: their first output is none of the thousand.
WITH_BACKGROUND = 1_001
LOGITS, PROBABILITIES = "logits", "probabilities"
TOLERANCE = 1e-3


def presets() -> dict[str, dict[str, Any]]:
    """Return the tables by the name of their family."""
    return tomllib.loads(PRESETS_FILE.read_text(encoding="utf-8"))


def preprocessing_table(facts: Facts, preset: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return [preprocessing] of a bundle for this graph: the preset, then `changes`, then what the graph fixes."""
    table = presets()[preset] | {key: value for key, value in changes.items() if value is not None}
    fixed = [length for length in facts.size if isinstance(length, int)]
    if len(fixed) == len(facts.size):
        size = changes.get("size")
        if size and list(size) != fixed:
            raise ImportRefusedError(
                f"--size {size[0]} {size[1]} is not what the graph takes: {facts.input}; leave --size out"
            )
        table["size"] = fixed
    table["layout"] = facts.layout
    preprocessing.from_table(table)  # BundleError names what cannot be
    return table


def read_labels(path: Path) -> tuple[str, ...]:
    """Return the labels of a text file, one a line, in the order of the network's outputs.

    A byte order mark, and blanks and empty lines at the end, are what editors add, and no part of them.
    """
    try:
        lines = [line.rstrip() for line in path.read_text(encoding="utf-8-sig").rstrip().splitlines()]
        return parse_labels("".join(f"{line}\n" for line in lines).encode())
    except UnicodeDecodeError as fault:
        raise ImportRefusedError(f"{path} is no UTF-8 ({fault}); save it as that, a label on each line") from None
    except BundleError as fault:
        raise ImportRefusedError(f"{path}: {fault}; give each output a name of its own") from None


def check_label_count(found: tuple[str, ...], path: Path, outputs: int) -> None:
    """Raise ImportRefusedError unless each output has a label, with the reason where it is a usual one."""
    if len(found) == outputs:
        return
    counts = f"the network puts out {outputs} numbers for an image, {path} has {len(found)} labels"
    if outputs == WITH_BACKGROUND and len(found) == outputs - 1:
        raise ImportRefusedError(f"{counts}: TensorFlow's first output is none of them; put a line 'background' first")
    if outputs == 1 and len(found) == 2:
        raise ImportRefusedError(
            f"{counts}: two classes by one number; export it with two, such as torch.cat([-z, z], dim=1)"
        )
    raise ImportRefusedError(f"{counts}; one label a line is expected, in the order of the outputs")


def output_kind(outputs: Scores, kind: str = "") -> str:
    """Return what the rows are, or `kind` where that is given; raise ImportRefusedError where it cannot be so."""
    low, high = float(outputs.min()), float(outputs.max())
    is_within = low >= -TOLERANCE and high <= 1 + TOLERANCE
    is_distribution = is_within and bool(np.all(np.abs(outputs.sum(axis=1) - 1) < TOLERANCE))
    if kind == PROBABILITIES and not is_within:
        raise ImportRefusedError(
            f"--kind {kind}, but the network puts out {low:.3g} to {high:.3g}: leave --kind out, and softmax is applied"
        )
    if kind == LOGITS and is_distribution:
        raise ImportRefusedError(
            f"--kind {kind}, but each row that the network puts out adds up to 1: softmax would be applied twice; "
            "leave --kind out"
        )
    return kind or (PROBABILITIES if is_distribution else LOGITS)


def check_outputs(outputs: Scores) -> None:
    """Raise ImportRefusedError unless there is a row of finite numbers for each image."""
    if outputs.ndim != 2:
        shape = ", ".join(["N", *map(str, outputs.shape[1:])])
        raise ImportRefusedError(f"the network puts out ({shape}); (N, classes) is expected: add a Flatten at its end")
    if not np.isfinite(outputs).all():
        raise ImportRefusedError(
            "the network puts out numbers that are none (NaN or infinite): are its weights whole, is it in float32?"
        )


def warnings(outputs: Scores, kind: str) -> list[str]:
    """Return what is odd about the rows of different images, and may be meant."""
    found = []
    if len(outputs) > 1 and float(np.ptp(outputs, axis=0).max()) < 1e-6:
        found.append("Its answer is the same for every image: is it trained, and is this its preset?")
    if kind == LOGITS and outputs.min() >= 0 and outputs.max() <= 1:
        found.append(
            "Its numbers lie between 0 and 1 and do not add up to 1. If they are probabilities of their own "
            "(sigmoid), pass --kind probabilities; they are taken for logits."
        )
    return found
