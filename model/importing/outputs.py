"""What a network's raw numbers are: probabilities, or logits that softmax makes into such. Numbers only."""

import numpy as np

from inference.arrays import Scores
from inference.errors import ImportRefusedError

LOGITS, PROBABILITIES = "logits", "probabilities"
TOLERANCE = 1e-3


def kind_of(outputs: Scores, told: str = "") -> str:
    """What the rows are, or what they are told to be where that can be so."""
    low, high = float(outputs.min()), float(outputs.max())
    is_within = low >= -TOLERANCE and high <= 1 + TOLERANCE
    is_distribution = is_within and bool(np.all(np.abs(outputs.sum(axis=1) - 1) < TOLERANCE))
    if told == PROBABILITIES and not is_within:
        raise ImportRefusedError(
            f"--kind {told}, but the network puts out {low:.3g} to {high:.3g}: leave --kind out, and softmax is applied"
        )
    if told == LOGITS and is_distribution:
        raise ImportRefusedError(
            f"--kind {told}, but each row that the network puts out adds up to 1: softmax would be applied twice; "
            "leave --kind out"
        )
    return told or (PROBABILITIES if is_distribution else LOGITS)


def check(outputs: Scores) -> None:
    """Refuse what is no row of finite numbers for each picture."""
    if outputs.ndim != 2:
        shape = ", ".join(["N", *map(str, outputs.shape[1:])])
        raise ImportRefusedError(f"the network puts out ({shape}); (N, classes) is expected: add a Flatten at its end")
    if not np.isfinite(outputs).all():
        raise ImportRefusedError(
            "the network puts out numbers that are none (NaN or infinite): are its weights whole, is it in float32?"
        )


def doubts(outputs: Scores, kind: str) -> list[str]:
    """What is odd about the rows of different pictures, and may be meant."""
    found = []
    if len(outputs) > 1 and float(np.ptp(outputs, axis=0).max()) < 1e-6:
        found.append("It answers alike whatever the picture: is it trained, and is this its preset?")
    if kind == LOGITS and outputs.min() >= 0 and outputs.max() <= 1:
        found.append(
            "Its numbers lie between 0 and 1 and do not add up to 1. If they are probabilities of their own "
            "(sigmoid), say --kind probabilities; they are taken for logits."
        )
    return found
