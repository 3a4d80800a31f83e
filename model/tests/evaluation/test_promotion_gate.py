import pytest

from evaluation.promotion_gate import Changes, Evidence, Limits, LookAlike, Outcome, Paired, decide

LIMITS = Limits(max_accuracy_drop=0.01, min_agreement=0.95)
ENOUGH = 100


@pytest.mark.parametrize(
    "evidence",
    [
        Evidence(10, labelled=[Paired("labelled images", 100, 1, 0)]),
        Evidence(10, labelled=[Paired("labelled images", 20, 2, 1)]),
        Evidence(10, labelled=[Paired("labelled images", 900, 12, 14)]),
        Evidence(10, labelled=[Paired("labelled images", 100_000, 30, 5)]),  # not by chance, but far less than a drop
        Evidence(10, changes=[Changes("unreported images", 100, 5, 1)]),
        Evidence(10, changes=[Changes("unreported images", 40, 3, 0, neutral=20)]),
        Evidence(10, by_label=[Paired("cases", 10, 2, 1), Paired("cases", 10, 0, 9)]),
        Evidence(None, changes=[Changes("unreported images", 30, 0, 0)]),
        Evidence(10, sure_otherwise=(("maze", 4),)),
        Evidence(5),
    ],
)
def test_what_chance_explains_is_no_harm(evidence: Evidence) -> None:
    assert decide(evidence.with_labelled(Paired("more", ENOUGH, 0, 0), {}), LIMITS).outcome is Outcome.PASSED


@pytest.mark.parametrize(
    ("evidence", "reason"),
    [
        (Evidence(4), "it was made of 4 images; at least 5 are required"),
        (Evidence(10, labelled=[Paired("labelled images", 100, 5, 0)]), "it loses 5 and gains 0 right answers"),
        (Evidence(10, labelled=[Paired("bank", 900, 20, 6)]), "of 900 bank it loses 20"),
        (
            Evidence(10, by_label=[Paired("reviewed cases of 'cat'", 9, 8, 0)]),
            "of 9 reviewed cases of 'cat' it loses 8",
        ),
        (Evidence(10, changes=[Changes("unreported images", 100, 4, 4)]), "another top-1 for 4 of 100"),
        (Evidence(10, changes=[Changes("unreported images", 100, 11, 0)]), "agrees with the active version on 89 of"),
        (Evidence(34, sure_otherwise=(("maze", 10), ("cat", 4))), "is sure that 14 of 34 cases show other labels"),
        (Evidence(10, look_alikes=[LookAlike("odd", "terminal", 5, 4)]), "4 of 5 cases of 'odd' are 'terminal'"),
    ],
)
def test_harm_beyond_chance_is_refused_and_named(evidence: Evidence, reason: str) -> None:
    verdict = decide(evidence.with_labelled(Paired("more", ENOUGH, 0, 0), {}), LIMITS)
    assert verdict.outcome is Outcome.REFUSED
    assert [reason in each for each in verdict.reasons] == [True]


@pytest.mark.parametrize(
    ("photographs", "outcome"), [(0, Outcome.PROVISIONAL), (19, Outcome.PROVISIONAL), (20, Outcome.PASSED)]
)
def test_without_enough_images_of_the_service_it_passes_provisionally(photographs: int, outcome: Outcome) -> None:
    verdict = decide(Evidence(10, photographs=photographs), LIMITS)
    assert verdict.outcome is outcome
    assert ("--labelled" in "".join(verdict.reasons)) == (outcome is Outcome.PROVISIONAL)


def test_harm_is_refused_however_little_was_compared() -> None:
    found = decide(Evidence(10, look_alikes=[LookAlike("odd", "terminal", 5, 4)]), LIMITS)
    assert found.outcome is Outcome.REFUSED


@pytest.mark.parametrize(
    ("images", "lost", "outcome"), [(10, 0, Outcome.PROVISIONAL), (9, 0, Outcome.REFUSED), (10, 1, Outcome.REFUSED)]
)
def test_labelled_images_of_the_class_that_it_might_take_clear_a_look_alike(
    images: int, lost: int, outcome: Outcome
) -> None:
    found = Paired("labelled images", images, lost, 0)
    evidence = Evidence(10, look_alikes=[LookAlike("odd", "terminal", 5, 4)]).with_labelled(found, {"terminal": found})
    assert decide(evidence, LIMITS).outcome is outcome


@pytest.mark.parametrize(
    ("images", "lost", "outcome"), [(10, 0, Outcome.PASSED), (9, 0, Outcome.REFUSED), (10, 1, Outcome.REFUSED)]
)
def test_labelled_images_of_a_class_that_are_kept_explain_what_was_taken_from_it(
    images: int, lost: int, outcome: Outcome
) -> None:
    found = Paired("labelled images", images, lost, 0)
    changes = Changes("unreported images", ENOUGH, 6, 6, taken=(("terminal", 5), ("maze", 1)))
    evidence = Evidence(10, changes=[changes], sure_otherwise=(("terminal", 6),), photographs=ENOUGH)
    refused = decide(evidence, LIMITS)
    assert refused.outcome is Outcome.REFUSED
    assert sorted("If they do not show it, review" in each for each in refused.reasons) == [False, True]
    assert decide(evidence.with_labelled(found, {"terminal": found}), LIMITS).outcome is outcome


def test_what_was_taken_from_other_classes_still_counts() -> None:
    found = Changes("unreported images", ENOUGH, 8, 6, 1, (("terminal", 4), ("maze", 2))).without({"terminal", "cat"})
    assert found == Changes("unreported images", ENOUGH, 4, 2, 5, (("maze", 2),))
