"""What `make audit` makes of an advisory service's answer; the answers are written here, the service may be away."""

import audit

WEAK = {"id": "PYSEC-2026-1", "fix_versions": ["3.1.4"], "aliases": [], "description": ""}


def test_a_weakness_is_told_with_its_package_and_what_mends_it() -> None:
    report = {"dependencies": [{"name": "flask", "version": "3.1.3", "vulns": [WEAK]}]}
    assert audit.judged(report) == audit.Verdict(1, (), ("flask 3.1.3: PYSEC-2026-1, fixed in 3.1.4",))


def test_what_the_service_does_not_know_is_not_taken_for_sound() -> None:
    sound = {"name": "flask", "version": "3.1.3", "vulns": []}
    report = {"dependencies": [sound, {"name": "click", "skip_reason": "not found"}]}
    assert audit.judged(report) == audit.Verdict(1, ("click",), ())


def test_what_could_not_be_looked_up_is_told_last_and_by_number() -> None:
    lines = list(audit.told(audit.Verdict(2, tuple("abcdefg"), ())))
    assert lines == [
        "packages: 2 of 9 checked, 0 weaknesses known",
        "NOT CHECKED: 7 of 9 packages, since no advisory service answered: a, b, c, d, e, …",
    ]
    assert list(audit.told(audit.Verdict(9, (), ()))) == ["packages: 9 of 9 checked, 0 weaknesses known"]


def test_without_a_service_every_pinned_package_counts_as_not_checked() -> None:
    lists = ["flask==3.1.3 \\\n    --hash=sha256:00\nclick==8.5.1 \\\n", "click==8.5.1\n# via a==1\nplaywright[x]==2\n"]
    assert audit.pinned(lists) == ["click", "flask", "playwright"]
