"""One image in sixty encodings: for any encoding, the same image gets the same answer."""

import pytest

from sightline_testing.hostile.asking import Sender
from sightline_testing.hostile.encodings import ENCODINGS, Kind
from sightline_testing.hostile.measured import Measured
from sightline_testing.sample_images import SCENE_LABEL

REFERENCE = {Kind.LOSSLESS: "colour.png", Kind.GREY: "grey.png", Kind.LOSSY: "colour.png"}
# Lossy ones are other pixels: they differ by what they lost.
MAX_DIFFERENCE = {Kind.LOSSLESS: 0.02, Kind.GREY: 0.02, Kind.LOSSY: 0.1}


def answer(sender: Sender, name: str) -> tuple[str, float]:
    reply = sender.send(ENCODINGS[name][1]())
    assert reply.status == 200, (name, reply.body)
    return reply.problem["prediction"], reply.problem["score"]


@pytest.mark.parametrize("name", ENCODINGS)
def test_one_image_has_one_answer(sender: Sender, measured: Measured, name: str) -> None:
    kind = ENCODINGS[name][0]
    label, score = answer(sender, name)
    expected_label, expected_score = answer(sender, REFERENCE[kind])
    measured.most(f"encodings, {kind.value}: difference of the probability", abs(score - expected_score))
    assert label == expected_label
    assert score == pytest.approx(expected_score, abs=MAX_DIFFERENCE[kind])


def test_there_are_sixty_and_the_answer_is_right(sender: Sender) -> None:
    assert len(ENCODINGS) >= 60
    assert answer(sender, "colour.png")[0] == SCENE_LABEL
