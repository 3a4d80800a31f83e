"""Features of pictures that never were: what the old head itself remembers of its classes.

Somewhere between an ordinary picture and a reported one, moved along a class's own row of weights until the old model
is sure of that class. That it stays sure teaches the new rows to leave old classes alone, also where no picture of
theirs is stored. Some are of every class in turn, some of those that the reported pictures were taken for: they look
alike, so they are the first that a new class would swallow.
"""

import numpy as np

from inference.arrays import Floats
from onnx_tools.head import Head
from training.softmax import log_sum_exp

SEED = 1
# How sure the old model becomes. From 0.5 to 0.95 the new classes shrink until they miss their own.
SURE = (0.99, 0.999)
MOST_MOVES = 8
NEAR, NEAREST = 300, 3  # so many more, of the classes that the old model puts first in reported pictures


def replayed(head: Head, anchors: Floats, reported: Floats, count: int) -> Floats:
    """So many rows of features, each of another class as long as there are others, and NEAR; always the same ones."""
    draw = np.random.default_rng(SEED)
    order = np.concatenate([draw.permutation(len(head.weights)) for _ in range(-(-count // len(head.weights)))])
    likely = np.argsort(-head.logits(reported), axis=1)[:, :NEAREST].reshape(-1)
    classes = np.concatenate([order[:count], draw.choice(likely, NEAR)])
    between = draw.random((len(classes), 1))
    starts = between * anchors[draw.integers(0, len(anchors), len(classes))]
    starts += (1 - between) * reported[draw.integers(0, len(reported), len(classes))]
    return _moved(head, starts.astype(np.float32), classes, draw.uniform(*SURE, len(classes)))


def _moved(head: Head, features: Floats, classes: np.ndarray, sure: np.ndarray) -> Floats:
    """Along the rows of the classes until their probability is `sure`; features stay positive, as pooled ones are."""
    rows = head.weights - head.weights.mean(axis=0)
    directions = rows[classes] / (rows[classes] ** 2).sum(axis=1, keepdims=True)
    wanted, each = np.log(sure / (1 - sure)), np.arange(len(features))
    for _ in range(MOST_MOVES):
        logits = head.logits(features)
        own = logits[each, classes]
        logits[each, classes] = -np.inf
        missing = np.maximum(0, wanted - (own - log_sum_exp(logits)))
        features = np.maximum(0, features + missing[:, None] * directions).astype(np.float32)
    return features
