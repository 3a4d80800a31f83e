"""Which images are suggested: on features that are laid out by hand."""

import numpy as np

from evaluation.suggestions import Known, Look, choose, distances
from inference.arrays import Floats

AXES = np.eye(60, dtype=np.float32)


def look(name: str, score: float = 0.9, candidate: str = "", features: Floats | None = None) -> Look:
    return Look(name, f"{name}.jpg", "tabby", score, candidate, features)


def reasons(looks: list[Look], known: Known | None = None) -> dict[str, dict[str, str]]:
    return {found.look.image: dict(found.reasons) for found in choose(looks, known)}


def bank() -> Known:
    """Pairs of images that are like each other, and no other ones."""
    rows = np.concatenate([AXES[:50], AXES[:50] + 0.2 * AXES[1:51]]).astype(np.float32)
    return Known(rows, [""] * len(rows))


def test_sure_answers_that_nobody_disputes_are_worth_no_look() -> None:
    assert reasons([look("a"), look("b", candidate="Tabby")]) == {}


def test_unsure_and_disputed_answers_are_the_least_sure_and_the_surest_first() -> None:
    looks = [look("a", 0.4), look("b", 0.1), look("c", 0.8, "lynx"), look("d", 0.3, "lynx")]
    assert reasons(looks) == {
        "c": {"disputed": "lynx"},
        "b": {"unsure": ""},
        "d": {"unsure": "", "disputed": "lynx"},
        "a": {"unsure": ""},
    }
    assert [found.look.image for found in choose(looks, None)] == ["b", "c", "d", "a"]


def test_an_image_is_unlike_training_where_it_is_further_from_it_than_its_images_from_one_another() -> None:
    looks = [look("like", features=AXES[3] + 0.1 * AXES[20]), look("unlike", features=AXES[55])]
    assert reasons(looks, bank()) == {"unlike": {"unlike": ""}}


def test_what_is_like_the_cases_of_a_class_and_answered_as_another_is_near_it() -> None:
    cases = np.stack([AXES[52] + 0.2 * AXES[53 + at] for at in range(3)])
    known = bank()
    known = Known(np.concatenate([known.features, cases]), [*known.labels, "lynx", "lynx", "lynx"])
    near = AXES[52] + 0.2 * AXES[53]
    looks = [look("near", features=near), look("far", features=AXES[3]), look("is it", features=near)]
    looks[2] = looks[2]._replace(prediction="Lynx")
    assert reasons(looks, known) == {"near": {"near": "lynx"}}


def test_with_few_images_to_compare_with_nothing_is_unlike_them() -> None:
    assert reasons([look("a", features=AXES[55])], Known(AXES[:2], ["", ""])) == {}


def test_the_distance_from_training_names_the_furthest_images() -> None:
    looks = [look("like", features=AXES[3] + 0.1 * AXES[20]), look("unlike", features=AXES[55]), look("none")]
    found = distances(looks, bank())
    assert found is not None
    assert found.images == 2
    assert [name for name, _ in found.furthest] == ["unlike.jpg", "like.jpg"]
    assert found.furthest[0][1] > 0.5 > found.in_training[1] >= found.in_training[0]
    assert found.quantiles[0] > found.in_training[0]
    assert distances(looks, None) is None
    assert distances(looks[2:], bank()) is None
    assert distances(looks, Known(AXES[:2], ["", ""])) is None
