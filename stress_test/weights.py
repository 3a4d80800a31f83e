"""Weights by name, as options carry them: index=5,predict=90."""

import random

Weights = dict[str, float]


def parse(text: str, known: tuple[str, ...]) -> Weights:
    """Read weights; a name that is left out has none."""
    weights: Weights = {}
    for part in filter(None, text.split(",")):
        name, _, number = part.strip().partition("=")
        if name not in known:
            raise ValueError(f"{name!r} in {text!r} is unknown: give weights of {', '.join(known)}")
        try:
            weights[name] = float(number)
        except ValueError:
            raise ValueError(f"{part!r} in {text!r} has no number: write {name}=1") from None
    if not any(weights.values()) or min(weights.values()) < 0:
        raise ValueError(f"{text!r}: one weight at least must be above 0, and none below")
    return {name: weights.get(name, 0.0) for name in known}


def choose(weights: Weights) -> str:
    """Draw a name."""
    return random.choices(list(weights), list(weights.values()))[0]
