"""Writes golden.toml anew after a wanted change: `python -m default_model.record_golden`. Development only.

A change of the graph is a change of the bundle: look at the difference, and give the bundles new versions where a
deployed one would answer differently.
"""

import hashlib
import sys

from default_model.build import label_bytes
from default_model.checkpoint import load_checkpoint
from default_model.folding import fold
from default_model.golden_outputs import top_logits
from default_model.graphs import graph_file
from default_model.recipe import HERE, Precision, Recipe


def main() -> None:
    """Build both graphs and write down what came out."""
    network = fold(load_checkpoint())
    models = {precision: graph_file(network, precision) for precision in Precision}
    lines = ["# What a build must come to; written by record_golden.py.", "[sha256]"]
    lines.append(_entry("labels", f'"{_sha256(label_bytes())}"'))
    lines += [_entry(Recipe(precision).version, f'"{_sha256(model)}"') for precision, model in models.items()]
    for precision, model in models.items():
        for label, logits in top_logits(model).items():
            lines += ["", f"[logits.{precision}.{label}]"]
            lines += [_entry(str(index), f"{value:.4f}") for index, value in logits.items()]
    (HERE / "golden.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    sys.stdout.write("golden.toml is written\n")


def _entry(key: str, value: str) -> str:
    return f'"{key}" = {value}'


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    main()
