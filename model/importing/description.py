"""The description of an imported network in bundle.toml: preprocessing, labels and kind of outputs."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from importing.facts import Facts, check_pixels
from inference import preprocessing
from inference.arrays import Scores
from inference.errors import ImportRefusedError
from inference.preprocessing import Preprocessing

# How the common families of networks want their images: data, in one place.
PRESETS_FILE = Path(__file__).with_name("presets.toml")
LOGITS, PROBABILITIES = "logits", "probabilities"
TOLERANCE = 1e-3


def presets() -> dict[str, dict[str, Any]]:
    """Return the tables by the name of their family."""
    return tomllib.loads(PRESETS_FILE.read_text(encoding="utf-8"))


def preprocessing_table(facts: Facts, base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return [preprocessing] of a bundle for this graph: `base`, then `changes`, then what the graph fixes."""
    table = dict(base) | {key: value for key, value in changes.items() if value is not None}
    fixed = fixed_size(facts)
    if fixed is not None:
        size = changes.get("size")
        if size and tuple(size) != fixed:
            raise ImportRefusedError(
                f"--size {size[0]} {size[1]} is not what the graph takes: {facts.input}; leave --size out"
            )
        table["size"] = list(fixed)
    table["layout"] = facts.layout
    preprocessing.from_table(table)  # BundleError names what cannot be
    check_pixels(facts, table["mean"], table["std"])
    return table


def fixed_size(facts: Facts) -> tuple[int, int] | None:
    """Return the height and width that the graph fixes."""
    height, width = facts.size
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None


def repeated_normalisation(facts: Facts, known: Preprocessing) -> list[str]:
    """Return a remark where pixels are normalised by the bundle and perhaps by the graph as well."""
    if not facts.normalising or not (any(known.mean) or set(known.std) != {1}):
        return []
    return [
        f"The graph itself begins with {', '.join(facts.normalising)}. Where that normalises pixels from 0 to 255, "
        "pass --preset pixels."
    ]


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
