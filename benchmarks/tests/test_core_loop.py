from collections.abc import Mapping

from benchmarks.core_loop import Form, Work, limit


def parts(form: Form) -> Mapping[str, Work]:
    """Work that grows with the batch, except in the form that is to be chosen."""
    repeats = 1 if form == Form("quick", 8) else 50

    def work(_: int) -> int:
        return form.batch if sum(range(1000 * repeats)) else 0

    return {"decode + inference": work, "decode": work, "inference": work}


def test_the_limit_is_that_of_the_form_that_takes_least() -> None:
    forms = [Form("slow", 1), Form("quick", 8), Form("slow", 8)]
    rows = {row["part"]: row for row in limit(parts, forms, 0.3, 1)}
    assert list(rows) == [
        "decode + inference",
        "decode",
        "inference",
        "inference, slow by 1",
        "inference, quick by 8",
        "inference, slow by 8",
    ]
    assert rows["inference"]["cpu_ms"] < rows["inference, slow by 8"]["cpu_ms"] / 2
