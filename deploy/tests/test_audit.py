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
