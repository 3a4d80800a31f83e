"""The sentences and verdicts follow from the figures."""

from stress_test.conclusions import conclude, verdicts
from stress_test.tests.rows import exercise, matrix, overload, row


def text_of(rows: list[dict[str, object]]) -> str:
    return "\n".join(conclude(rows, cores=2))


def verdict_on(rows: list[dict[str, object]], words: str) -> bool:
    (found,) = [verdict for verdict in verdicts(rows) if words in verdict.text]
    return found.held


def test_it_saturates_where_more_users_bring_no_more() -> None:
    assert "**It saturates at 8 users**: 132 images/s (1 x model, batches up to 8)" in text_of(matrix())


def test_what_fills_the_cores_is_what_limits() -> None:
    assert (
        "1.97 of 2 cores are busy (model 1.20, api 0.40, locust 0.25, redis 0.10), most of them with model"
        in text_of(matrix())
    )


def test_cores_that_are_idle_limit_nothing() -> None:
    rows = [row(users, 100, busy_cores=0.9) for users in (1, 8)]
    assert "The processor is not what limits it: 0.90 of 2 cores" in text_of(rows)


def test_other_programs_are_named_before_anything_is_concluded() -> None:
    rows = [each | {"others_cores": 1.4} for each in matrix()]
    first, *_ = conclude(rows, cores=2)
    assert first.startswith("**Other programs kept 1.4 of 2 cores busy**")
    assert "where its own limit lies does not show" in text_of(rows)


def test_a_second_instance_that_shares_the_cores_is_said_to_bring_nothing() -> None:
    said = text_of(matrix())
    assert "**2 model instances instead of 1** answer no more and no fewer at 128 users" in said
    assert "An instance has a consumer for each core" in said


def test_a_second_instance_that_helps_is_said_to_help() -> None:
    rows = [row(8, 60, busy_cores=1.1), row(8, 110, instances=2)]
    assert "**2 model instances instead of 1** answer +83 % at 8 users (60 and 110 images/s). 1 did not use" in text_of(
        rows
    )


def test_what_batching_saves_is_told_by_service() -> None:
    said = text_of(matrix())
    assert "**Batching** answers +10 % at 128 users" in said
    assert "5.5 jobs went together on average" in said
    assert "model 9.84 and 8.94, redis 0.82 and 0.75" in said


def test_a_failure_is_a_promise_missed_and_is_named() -> None:
    good = matrix()
    bad = [*good, row(8, 50, experiment="serve", faults={"status 504": 1}, all=good[0]["all"] | {"failed": 1})]
    assert verdict_on(good, "No failure")
    assert not verdict_on(bad, "status 504")


def test_the_slowest_of_128_users_waits_at_most_three_times_the_median() -> None:
    fair, starved = row(128, 120), row(128, 120)
    starved["requests"]["predict"]["max_ms"] = 3.1 * starved["requests"]["predict"]["p50_ms"]
    assert verdict_on([fair], "First come, first served at 128 users")
    assert not verdict_on([starved], "First come, first served at 128 users")


def test_nothing_answered_is_not_fair() -> None:
    silent = row(128, 120)
    silent["requests"] = {}
    assert not verdict_on([silent], "First come")


def test_an_overload_is_refused_honestly_or_missed() -> None:
    assert verdict_on([overload()], "Past the queue's bound of 500 (1100 users)")
    assert not verdict_on([overload(failed=1)], "Past the queue's bound")
    assert not verdict_on([overload(refused=0)], "Past the queue's bound")


def test_an_overload_that_does_not_pass_is_missed() -> None:
    ill = overload()
    ill["recovery"]["faults"] = {"status 504": 2}
    assert verdict_on([overload()], "It recovers")
    assert not verdict_on([ill], "It recovers")


def test_the_exercise_is_compared_with_the_published_rate() -> None:
    with_pauses, without = (verdict.text for verdict in verdicts(exercise()) if "31" in verdict.text)
    assert "32.5 requests/s" in with_pauses
    assert "cannot ask for more than 33 requests/s" in with_pauses
    assert "155.0 requests/s, 5.0 times" in without


def test_what_was_not_run_is_not_judged() -> None:
    assert verdicts([]) == []
    assert conclude([], cores=2) == []
