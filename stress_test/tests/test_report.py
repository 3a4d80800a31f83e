"""REPORT.md has the requested tables, and no figure that was not measured."""

from stress_test.report import report
from stress_test.tests.rows import exercise, matrix, overload, row

MACHINE = {"processor": "EPYC", "cores": 2, "Python": "3.11.7"}


def test_users_stand_by_instances_with_and_without_batching() -> None:
    text = report(MACHINE, matrix())
    assert "| model instances | batching | 1 users | 8 users | 32 users | 128 users |" in text
    assert "| 2 | up to 8 | 43.6 | 130.7 | 135.0 | 132.9 |" in text


def test_each_run_with_batching_stands_beside_the_one_without() -> None:
    assert "| 1 | 128 | 122.0 | 134.2 | +10 % | 1469 | 1335 | 5.5 |" in report(MACHINE, matrix())


def test_every_run_has_its_row_and_its_costs() -> None:
    text = report(MACHINE, [*matrix(), *exercise(), overload()])
    assert "| overload | compose | 2 | off | 1100 | 100.0 | 100.0 |" in text
    assert "| matrix | compose | 1 | off | 1 | 0.40, 60 | 1.20, 220 | 0.10, 12 | 0.25, 140 | 0.02 |" in text


def test_the_machine_is_described() -> None:
    assert "| processor | EPYC |" in report(MACHINE, matrix())


def test_a_run_of_one_kind_alone_is_reported_too() -> None:
    text = report(MACHINE, [row(8, 50, experiment="serve", target="serve", queue=[], batches=[])])
    assert "| serve | serve | 1 | off | 8 | 50.0 |" in text
    assert "Without and with batching" not in text
