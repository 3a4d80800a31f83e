"""The numbers of classes: a class keeps its number in every version that is fitted from one base."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from onnx_tools.head import Head
from training.fitting import NEVER
from wire.tables.labels import Spelling


def numbered(labels: Sequence[str], names: Spelling) -> tuple[str, ...]:
    """Return the labels by the names that their classes have now, each at its number.

    A class that was merged into another one leaves its number and its label unused.
    """
    taken = {label for label in labels if names.of(label) == label}
    found = []
    for label in labels:
        name = names.of(label)
        found.append(label if name in taken else name)
        taken.add(found[-1])
    return tuple(found)


def unused(labels: Sequence[str], names: Spelling, base_count: int, shown: Collection[str]) -> Iterator[int]:
    """Yield the numbers of classes that are merged into others, and of those beyond the base that no case shows."""
    for number, label in enumerate(labels):
        if names.of(label) != label or (number >= base_count and label not in shown):
            yield number


def without(head: Head, count: int, numbers: Sequence[int]) -> Head:
    """Return the head with rows for `count` classes, of which those with these numbers are never answered."""
    head = head.extended(count - len(head.weights))
    weights, biases = head.weights.copy(), head.biases.copy()
    weights[numbers], biases[numbers] = 0, NEVER
    return replace(head, weights=weights, biases=biases)
