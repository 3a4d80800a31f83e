"""What a version would say of its own cases, had it not been fitted on them."""

import numpy as np

from inference.arrays import Floats
from onnx_tools.head import Head
from training.fitting import fit
from training.improving import Material

FOLDS = 5
SEED = 1


def held_out_logits(base: Head, material: Material, first_views: Floats) -> Floats:
    """Logits of each case's picture by a head that was fitted on the other folds' cases alone.

    `first_views` holds a row for each picture, in the order of the cases' numbers.
    """
    count = len(first_views)
    classes = int(material.cases.classes.max()) + 1
    folds = np.random.default_rng(SEED).permutation(count) % min(FOLDS, max(2, count))
    anchors = np.concatenate([material.ordinary, material.traffic])
    logits = np.full((count, max(classes, len(base.weights))), -np.inf, np.float32)
    for fold in np.unique(folds):
        others = material.cases.only(folds[material.cases.pictures] != fold)
        head = fit(base, others, anchors) if len(others.classes) else base
        rows = folds == fold
        logits[np.ix_(rows, np.arange(len(head.weights)))] = head.logits(first_views[rows])
    return logits
