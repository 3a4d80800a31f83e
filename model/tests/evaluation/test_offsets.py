import numpy as np

from evaluation import offsets
from onnx_tools.head import Head
from training.fitting import Cases
from training.train import HeldOut, TrainingSet

WIDTH = 4


def test_a_higher_offset_finds_more_of_the_new_classes_and_keeps_fewer_old_answers() -> None:
    base = Head(np.eye(2, WIDTH, dtype=np.float32), np.zeros(2, np.float32))
    known = np.eye(2, WIDTH, dtype=np.float32)
    cases = Cases(np.ones((3, WIDTH), np.float32), np.array([2, 2, 0]), np.arange(3))
    held_out = HeldOut(
        np.array([[0.05, 0.05, 0.9], [0.7, 0.1, 0.2], [0.2, 0.2, 0.6]], np.float32),
        np.array([[0.9, 0.05, 0.05], [0.2, 0.6, 0.2]], np.float32),
        np.ones(3),
    )
    training_set = TrainingSet(base, known, known[:0])
    found = offsets.curve(cases, training_set, held_out)
    assert [(point.offset, point.found, point.kept) for point in found] == [
        (-3, 0, 1),
        (-2, 0.5, 1),
        (-1, 0.5, 1),
        (0, 0.5, 1),
        (1, 0.5, 1),
        (2, 1, 0.5),
        (3, 1, 0),
    ]
    assert "+2: 100%, 50.0%" in offsets.notes(cases, training_set, held_out)[0]
    assert offsets.notes(cases.only(cases.classes < 2), training_set, held_out) == []
