"""Renews and checks what the default bundles rest on: `python -m default_model.development calibrate|golden|torch`.

calibrate FOLDER  measures the activation ranges with every other .JPEG of the folder; the rest can show their
                  quality (`python -m cli.evaluate`). Afterwards the int8 bundle has another SHA-256. `--model lite1`
                  measures those of another variant.
golden            writes golden.toml after a wanted change of a graph, with the packages of requirements/lite1.txt and
                  lite2.txt. Look at the difference, and give the bundles new
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
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from default_model.checkpoint import find_checkpoint, load_checkpoint, read_verified
from default_model.golden import drawn_images, normalise, run, top_logits
from default_model.graphs import graph_file, measured_tensors, ranges_file
from default_model.network import fold
from default_model.recipe import GOLDEN_FILE, Precision, Recipe, label_bytes, labels
from default_model.variants import LITE0, VARIANTS, Variant
from importing import trial
from importing.precisions import prepared
from inference import preprocessing
from inference.bundle import Bundle

MAX_DIFFERENCE = 1e-3  # of a logit


def main() -> int:
    """Run the command; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    calibration = commands.add_parser("calibrate")
    calibration.add_argument("folder", type=Path, help="labelled photographs")
    commands.add_parser("golden")
    comparison = commands.add_parser("torch")
    for command in (calibration, comparison):
        command.add_argument("--model", choices=VARIANTS, default=LITE0.key, help="default: %(default)s")
    options = parser.parse_args()
    if options.command == "torch":
        return compare_with_torch(VARIANTS[options.model])
    if options.command == "golden":
        GOLDEN_FILE.write_text(golden_text(VARIANTS.values()), encoding="utf-8")
    else:
        calibrate(options.folder, VARIANTS[options.model])
    return 0


def calibrate(folder: Path, variant: Variant) -> None:
    """Write the variant's table of ranges: the extremes of each tensor over the folder's photographs."""
    recipe, model = Recipe(Precision.FP32, variant), graph_file(fold(load_checkpoint(variant), variant), Precision.FP32)
    known = preprocessing.from_table(tomllib.loads(recipe.description())["preprocessing"])
    made = Bundle(variant.name, recipe.version, recipe.precision, known, "logits", tuple(labels()), model)
    ranges = trial.ranges(made, "image", measured_tensors(variant), prepared(made, sorted(folder.glob("*.JPEG"))[::2]))
    with ranges_file(variant).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("tensor", "low", "high"))
        writer.writerows((name, f"{low:.3f}", f"{high:.3f}") for name, (low, high) in ranges.items())


def golden_text(variants: Iterable[Variant]) -> str:
    """Build the graphs of the variants and return what came out, as golden.toml has it."""
    models = {
        Recipe(precision, variant): graph_file(fold(load_checkpoint(variant), variant), precision)
        for variant in variants
        for precision in Precision
    }
    lines = ["# What a build must come to; written by development.py.", "[sha256]"]
    lines.append(f'"labels" = "{hashlib.sha256(label_bytes()).hexdigest()}"')
    lines += [f'"{each.identity}" = "{hashlib.sha256(model).hexdigest()}"' for each, model in models.items()]
    banks = [each.feature_bank for each in models if each.feature_bank]
    lines += [f'"{path.stem}" = "{hashlib.sha256(path.read_bytes()).hexdigest()}"' for path in banks]
    for recipe, model in models.items():
        for label, logits in top_logits(model, recipe.variant.input_size).items():
            lines += ["", f'[logits."{recipe.identity}".{label}]']
            lines += [f'"{index}" = {value:.4f}' for index, value in logits.items()]
    return "\n".join(lines) + "\n"


def compare_with_torch(variant: Variant) -> int:
    """Print the largest difference of a logit from the reference implementation; return 1 where it is too large."""
    noise = np.random.default_rng(0).integers(0, 256, (variant.input_size, variant.input_size, 3))
    images = np.stack([*map(normalise, drawn_images(variant.input_size).values()), normalise(noise)])
    torch = importlib.import_module("torch")
    path = find_checkpoint(variant)
    read_verified(path, variant)  # PyTorch unpickles the file: only the published one
    network = importlib.import_module("efficientnet_lite_pytorch").EfficientNet
    reference = network.from_pretrained(variant.name, weights_path=str(path)).eval()
    with torch.no_grad():
        expected = reference(torch.from_numpy(images)).numpy()
    (logits,) = run(graph_file(fold(load_checkpoint(variant), variant), Precision.FP32), images)
    difference = float(np.abs(logits - expected).max())
    sys.stdout.write(f"largest difference of a logit: {difference:.2e}, allowed: {MAX_DIFFERENCE:.0e}\n")
    return int(difference > MAX_DIFFERENCE)


if __name__ == "__main__":
    sys.exit(main())
