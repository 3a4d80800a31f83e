"""What is shown of a comparison: new classes, those that resemble them, and everything else."""

import json
from pathlib import Path

from evaluation import summary
from evaluation.comparison import Comparison, Pair
from evaluation.promotion_gate import Evidence, Outcome, Paired, Verdict


def pair(name: str, label: str, first: str, second: str, folder: str = "") -> Pair:
    return Pair(Path(folder, name), label, ((first, 0.9),), ((second, 0.8),))


CASES = Comparison(
    "Reviewed cases",
    "remark",
    [pair(f"new{at}.jpg", "pie chart", "pinwheel", "pie chart" if at else "pinwheel") for at in range(4)],
    ["a note"],
)
TRAFFIC = Comparison(
    "Unreported images",
    "remark",
    [
        pair("kept.jpg", "", "pinwheel", "pinwheel"),
        pair("lost.jpg", "", "pinwheel", "pie chart"),
        pair("cat.jpg", "", "tabby", "tabby"),
    ],
)


def test_the_classes_are_counted_with_those_that_they_resemble() -> None:
    found = summary.of_classes([CASES, TRAFFIC], ["tabby", "pinwheel"], ["tabby", "pinwheel", "pie chart"])
    assert found == {
        "new": [{"label": "pie chart", "images": 4, "right": 3}],
        "look_alikes": [{"label": "pinwheel", "examples": 4, "images": 2, "kept": 1}],
        "others": {"images": 1, "kept": 1},
    }


def test_images_are_named_and_only_stored_ones_can_be_shown() -> None:
    changed = summary.of_comparison(TRAFFIC)["changed"]
    assert changed["count"] == 1
    assert changed["shown"] == [
        {"name": "lost.jpg", "is_stored": True, "label": "", "first": "pinwheel", "second": "pie chart"}
    ]
    labelled = Comparison("Labelled images", "", [pair("a.jpg", "tabby", "tabby", "lynx", "/photographs")])
    [shown] = summary.of_comparison(labelled)["worse"]["shown"]
    assert (shown["name"], shown["is_stored"]) == ("a.jpg", False)


def test_everything_is_json_and_bounded() -> None:
    many = Comparison("Reviewed cases", "", [pair(f"{at}.jpg", "pie chart", "x", "pie chart") for at in range(100)])
    found = summary.of_comparison(many)
    assert len(found["better"]["shown"]) == summary.MAX_IMAGES
    assert found["better"]["count"] == 100
    evidence = Evidence(5, labelled=[Paired("photographs", 10, 1, 0)])
    told = summary.of_verdict(evidence, Verdict(Outcome.PROVISIONAL, ["few images"]))
    assert told["labelled"] == [{"what": "photographs", "images": 10, "lost": 1, "gained": 0}]
    assert json.loads(json.dumps([found, told])) == [found, told]
