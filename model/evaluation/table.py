"""A comparison of two versions as lines for a terminal."""

from collections.abc import Iterable, Sequence

from evaluation.comparison import Comparison

SHOWN_CLASSES = 10
SHOWN_PICTURES = 5


def table(names: tuple[str, str], comparisons: Sequence[Comparison]) -> str:
    """The whole text."""
    lines = [f"A: {names[0]}", f"B: {names[1]}", ""]
    for comparison in comparisons:
        lines += [f"{comparison.title} ({len(comparison.pairs)}): {comparison.remark}", *_lines(comparison), ""]
    return "\n".join(lines)


def _lines(comparison: Comparison) -> Iterable[str]:
    count = len(comparison.pairs)
    yield f"  named alike                {comparison.agreeing / count:7.1%}"
    if not comparison.labelled:
        for pair in comparison.changed()[:SHOWN_PICTURES]:
            yield f"    {pair.path.name}: {pair.first[0][0]} -> {pair.second[0][0]}"
        return
    first, second = comparison.figures()
    yield "                                   A        B"
    yield f"  right                      {first.right / count:7.1%}  {second.right / count:7.1%}"
    yield f"  among the first five       {first.among_five / count:7.1%}  {second.among_five / count:7.1%}"
    yield f"  error of the scores (ECE)  {first.calibration_error:7.3f}  {second.calibration_error:7.3f}"
    yield f"  better: {len(comparison.better())}, worse: {len(comparison.worse())}"
    for row in [row for row in comparison.classes() if row.first != row.second][:SHOWN_CLASSES]:
        yield f"    {row.label[:30]:30} {row.first:4} -> {row.second:4} of {row.pictures}"
    for pair in comparison.worse()[:SHOWN_PICTURES]:
        yield f"    worse: {pair.path.name}, {pair.label}: now {pair.second[0][0]}"
