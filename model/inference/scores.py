"""From what a model puts out to probabilities."""

import numpy as np

from inference.arrays import Scores


def probabilities(outputs: Scores, kind: str) -> Scores:
    """Softmax of each row where the model puts out logits; rows of probabilities stay as they are."""
    if kind == "probabilities":
        return outputs
    exponentials = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    scores: Scores = exponentials / exponentials.sum(axis=1, keepdims=True)
    return scores
