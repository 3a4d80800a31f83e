"""From features of reviewed cases and of ordinary pictures to a new last layer."""

from dataclasses import dataclass

import numpy as np

from inference.arrays import Flags, Floats
from onnx_tools.head import Head
from training.fitting import Cases, fit
from training.softmax import softmax

# A picture of the traffic that the first fit takes for one of the reported classes is perhaps just what people have
# not reported yet: it says nothing against the class, unless the old model was sure of something else.
DISPUTED = 0.02
SURE = 0.9


@dataclass(frozen=True)
class Material:
    """What a last layer is fitted on."""

    cases: Cases
    ordinary: Floats  # pictures made by code
    traffic: Floats  # what was sent and never reported; may be empty


def improved(base: Head, material: Material) -> tuple[Head, int]:
    """The base with the rows of the cases' classes fitted, and how many pictures of the traffic it was held to."""
    head = fit(base, material.cases, material.ordinary)
    if not len(material.traffic):
        return head, 0
    kept = material.traffic[_undisputed(base, head, material)]
    return fit(base, material.cases, np.concatenate([material.ordinary, kept])), len(kept)


def _undisputed(base: Head, head: Head, material: Material) -> Flags:
    before = softmax(base.logits(material.traffic))
    after = softmax(head.logits(material.traffic))
    moved = np.unique(material.cases.classes)
    known = moved[moved < before.shape[1]]
    gained = after[:, moved].sum(axis=1) - before[:, known].sum(axis=1)
    undisputed: Flags = (gained < DISPUTED) | (before.max(axis=1) >= SURE)
    return undisputed
