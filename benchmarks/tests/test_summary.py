"""Figures of several repeats become medians, spreads, ratios and verdicts."""

from benchmarks.summary import Figure, ratio, summarise
from benchmarks.targets import judge


def test_repeats_become_a_median_with_its_spread() -> None:
    rows = [{"experiment": "speed", "system": "mosec", "repeat": n, "images_per_s": x} for n, x in enumerate([5, 9, 6])]

    (line,) = summarise(rows)

    assert line.dimensions == {"experiment": "speed", "system": "mosec"}
    assert line.figures == {"images_per_s": Figure(6, 5, 9)}


def test_a_ratio_is_formed_within_each_repeat() -> None:
    # The machine is half as fast in the second repeat; the ratio is the same in both.
    rows = [
        {"system": "a", "repeat": 1, "images_per_s": 300},
        {"system": "b", "repeat": 1, "images_per_s": 200},
        {"system": "a", "repeat": 2, "images_per_s": 150},
        {"system": "b", "repeat": 2, "images_per_s": 100},
        {"system": "a", "repeat": 3, "images_per_s": 999},
    ]

    assert ratio(rows, {"system": "a"}, {"system": "b"}, "images_per_s") == Figure(1.5, 1.5, 1.5)


def test_nobody_is_compared_with_a_system_that_answered_nothing() -> None:
    rows = [
        {"system": "a", "repeat": 1, "images_per_s": 300},
        {"system": "b", "repeat": 1, "images_per_s": 0},
    ]

    assert ratio(rows, {"system": "a"}, {"system": "b"}, "images_per_s") is None


def test_what_was_not_measured_is_neither_held_nor_missed() -> None:
    verdicts = judge([])

    assert verdicts
    assert not any(verdict.held for verdict in verdicts)
    assert all("(not measured)" in verdict.text() for verdict in verdicts)


def test_a_promise_is_judged_by_its_median() -> None:
    held, missed = (_idle_memory_verdict(megabytes) for megabytes in (250, 270))

    assert "held" in held
    assert "MISSED" in missed


def test_mosec_counts_in_the_form_that_gives_more_images() -> None:
    speed = {"experiment": "speed", "precision": "int8", "body": "raw", "connections": 32, "repeat": 1}
    figures = {"sightline": 300, "mosec": 200, "mosec-single": 250}
    rows = [speed | {"system": system, "images_per_s": figure} for system, figure in figures.items()]

    text = next(each.text() for each in judge(rows) if each.what.startswith("images/s at 32"))

    assert "MISSED" in text
    assert "1.2, wanted >= 1.35" in text


def test_less_is_wanted_of_a_processor_without_vnni() -> None:
    with_vnni, without = (judge([], has_vnni=each)[0].wanted for each in (True, False))

    assert (with_vnni, without) == (">= 1.35", ">= 1.2")


def _idle_memory_verdict(megabytes: int) -> str:
    rows = [{"experiment": "speed", "system": "sightline", "repeat": 1, "idle_mb": megabytes, "cold_start_s": 1}]
    return next(verdict.text() for verdict in judge(rows) if "idle memory" in verdict.what)
