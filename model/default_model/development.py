"""Renews and checks what the default bundles rest on: `python -m default_model.development calibrate|golden|torch`.

calibrate FOLDER  measures the activation ranges with every other .JPEG of the folder; the rest can show what they are
                  worth (`python -m cli.evaluate`). Afterwards the int8 bundle has another SHA-256.
golden            writes golden.toml after a wanted change of a graph. Look at the difference, and give the bundles new
                  versions where a deployed one would answer differently.
torch             compares the fp32 graph with the network's PyTorch implementation; it needs `pip install torch==2.13.0
                  efficientnet-lite-pytorch`, gigabytes that set-up does without.
"""

import argparse
import csv
import hashlib
import importlib
import sys
import tomllib
from pathlib import Path

import numpy as np

from default_model.checkpoint import find_checkpoint, load_checkpoint, read_verified
from default_model.golden import drawn_images, normalise, run, top_logits
from default_model.graphs import RANGES_FILE, graph_file, measured_tensors
from default_model.network import INPUT_SIZE, fold
from default_model.recipe import GOLDEN_FILE, NAME, Precision, Recipe, label_bytes, labels
from importing import trial
from importing.precisions import prepared
from inference import preprocessing
from inference.bundle import Bundle

MAX_DIFFERENCE = 1e-3  # of a logit


def main() -> int:
    """Run the command; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("calibrate").add_argument("folder", type=Path, help="labelled photographs")
    commands.add_parser("golden")
    commands.add_parser("torch")
    options = parser.parse_args()
    if options.command == "torch":
        return compare_with_torch()
    if options.command == "golden":
        GOLDEN_FILE.write_text(golden_text(), encoding="utf-8")
    else:
        calibrate(options.folder)
    return 0


def calibrate(folder: Path) -> None:
    """Write activation_ranges.csv: the lowest and the highest value of each tensor over the folder's photographs."""
    recipe, model = Recipe(Precision.FP32), graph_file(fold(load_checkpoint()), Precision.FP32)
    known = preprocessing.from_table(tomllib.loads(recipe.description())["preprocessing"])
    made = Bundle(NAME, recipe.version, recipe.precision, known, "logits", tuple(labels()), model)
    ranges = trial.ranges(made, "image", measured_tensors(), prepared(made, sorted(folder.glob("*.JPEG"))[::2]))
    with RANGES_FILE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("tensor", "low", "high"))
        writer.writerows((name, f"{low:.3f}", f"{high:.3f}") for name, (low, high) in ranges.items())


def golden_text() -> str:
    """Build both graphs and return what came out, as golden.toml has it."""
    network = fold(load_checkpoint())
    models = {precision: graph_file(network, precision) for precision in Precision}
    lines = ["# What a build must come to; written by development.py.", "[sha256]"]
    lines.append(f'"labels" = "{hashlib.sha256(label_bytes()).hexdigest()}"')
    lines += [f'"{Recipe(each).version}" = "{hashlib.sha256(model).hexdigest()}"' for each, model in models.items()]
    for precision, model in models.items():
        for label, logits in top_logits(model).items():
            lines += ["", f"[logits.{precision}.{label}]"]
            lines += [f'"{index}" = {value:.4f}' for index, value in logits.items()]
    return "\n".join(lines) + "\n"


def compare_with_torch() -> int:
    """Print the largest difference of a logit from the reference implementation; return 1 where it is too large."""
    noise = np.random.default_rng(0).integers(0, 256, (INPUT_SIZE, INPUT_SIZE, 3))
    images = np.stack([*map(normalise, drawn_images().values()), normalise(noise)])
    torch = importlib.import_module("torch")
    path = find_checkpoint()
    read_verified(path)  # PyTorch unpickles the file: only the published one
    network = importlib.import_module("efficientnet_lite_pytorch").EfficientNet
    reference = network.from_pretrained("efficientnet-lite0", weights_path=str(path)).eval()
    with torch.no_grad():
        expected = reference(torch.from_numpy(images)).numpy()
    (logits,) = run(graph_file(fold(load_checkpoint()), Precision.FP32), images)
    difference = float(np.abs(logits - expected).max())
    sys.stdout.write(f"largest difference of a logit: {difference:.2e}, allowed: {MAX_DIFFERENCE:.0e}\n")
    return int(difference > MAX_DIFFERENCE)


if __name__ == "__main__":
    sys.exit(main())
