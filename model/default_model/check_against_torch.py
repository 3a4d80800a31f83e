"""Compares the fp32 graph with the network's PyTorch implementation: `python -m default_model.check_against_torch`.

Development only: it wants `pip install torch==2.13.0 efficientnet-lite-pytorch`, gigabytes that set-up does without.
"""

import importlib
import sys

import numpy as np

from default_model.checkpoint import find_checkpoint, load_checkpoint, read_verified
from default_model.drawn import drawn_pictures
from default_model.engine import run
from default_model.float_graph import float_graph
from default_model.folding import Floats, fold
from default_model.pixels import normalise

TOLERANCE = 1e-3


def main() -> int:
    """Print the largest difference; return 1 where it is too large."""
    images = np.stack([*map(normalise, drawn_pictures().values()), _noise()])
    (logits,) = run(float_graph(fold(load_checkpoint())), images)
    difference = float(np.abs(logits - reference_logits(images)).max())
    sys.stdout.write(f"largest difference of a logit: {difference:.2e}, allowed: {TOLERANCE:.0e}\n")
    return int(difference > TOLERANCE)


def reference_logits(images: Floats) -> Floats:
    """Return what the reference implementation computes from the same checkpoint."""
    torch = importlib.import_module("torch")
    network = importlib.import_module("efficientnet_lite_pytorch").EfficientNet
    path = find_checkpoint()
    read_verified(path)  # PyTorch unpickles the file: only the published one
    reference = network.from_pretrained("efficientnet-lite0", weights_path=str(path)).eval()
    with torch.no_grad():
        logits: Floats = reference(torch.from_numpy(images)).numpy()
    return logits


def _noise() -> Floats:
    return normalise(np.random.default_rng(0).integers(0, 256, (224, 224, 3)))


if __name__ == "__main__":
    sys.exit(main())
