"""How the common families of networks want their pictures, read from presets.toml: data, in one place."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inference import preprocessing
from inference.errors import ImportRefusedError
from onnx_tools.facts import Facts

FILE = Path(__file__).with_name("presets.toml")


def presets() -> dict[str, dict[str, Any]]:
    """The tables by the name of their family."""
    return tomllib.loads(FILE.read_text(encoding="utf-8"))


def table_for(facts: Facts, preset: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The table [preprocessing] of a bundle for this graph: the preset, what is told otherwise, the graph's own."""
    table = presets()[preset] | {key: value for key, value in changes.items() if value is not None}
    fixed = [length for length in facts.size if isinstance(length, int)]
    if len(fixed) == len(facts.size):
        told = changes.get("size")
        if told and list(told) != fixed:
            raise ImportRefusedError(
                f"--size {told[0]} {told[1]} is not what the graph takes: {facts.input}; leave --size out"
            )
        table["size"] = fixed
    table["layout"] = facts.layout
    preprocessing.from_table(table)  # BundleError names what cannot be
    return table
