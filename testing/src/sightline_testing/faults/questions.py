"""Images whose answers are known, each in endless copies that no cache can take for one another."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from PIL import Image

from sightline_testing.client import Client
from sightline_testing.sample_images import PHOTOGRAPH_LABEL, SCENE_LABEL, encode, photograph, scene

CROPS = ((0, 0, 512, 512), (60, 60, 460, 460), (100, 40, 400, 340), (0, 100, 300, 400), (150, 50, 512, 412))
# One engine may add in another order when it works for one image alone.
SCORE_TOLERANCE = 0.01


@dataclass(frozen=True, slots=True)
class Question:
    """A JPEG, and what the right answer to it is."""

    content: bytes
    label: str
    score: float = -1.0

    def copy(self, mark: bytes) -> bytes:
        """The same image in other bytes: a JPEG comment with the mark stands in front."""
        return b"\xff\xd8\xff\xfe" + (len(mark) + 2).to_bytes(2, "big") + mark + self.content[2:]

    def is_right(self, label: object, score: object) -> bool:
        """Whether this is the answer, to this image and not to one of the others."""
        return label == self.label and isinstance(score, float) and abs(score - self.score) <= SCORE_TOLERANCE


def questions(client: Client, width: int = 256) -> list[Question]:
    """Return every image with its score, from the idle service; raise AssertionError for a wrong label."""
    return [_with_score(question, client) for question in _images(width)]


def copies(asked: Sequence[Question]) -> Iterator[tuple[str, Question, bytes]]:
    """Request ids with questions in turn and bytes of their own, for ever."""
    run = secrets.token_hex(6)
    for number, question in zip(itertools.count(), itertools.cycle(asked), strict=False):
        request_id = f"{run}-{number}"
        yield request_id, question, question.copy(request_id.encode())


def _images(width: int) -> Iterator[Question]:
    height = width * 3 // 4
    for seed in range(1, 5):
        yield Question(encode(scene(width, height, seed), "JPEG", quality=85), SCENE_LABEL)
    for crop in CROPS:
        cut = photograph().crop(crop).resize((height, height), Image.Resampling.BICUBIC)
        yield Question(encode(cut, "JPEG", quality=85), PHOTOGRAPH_LABEL)


def _with_score(question: Question, client: Client) -> Question:
    response = client.upload("/predict", question.content)
    assert response.status == 200, f"the idle service answers {response.status}: {response.text}"
    answer = response.json()
    assert answer["prediction"] == question.label, f"{answer['prediction']} is not {question.label}"
    return replace(question, score=answer["score"])
