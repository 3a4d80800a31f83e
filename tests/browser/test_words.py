"""The scripts and the templates say the same things in the same words."""

from functools import cache
from typing import Any

from jinja2 import Environment, FileSystemLoader, Template

from sightline_testing.browser import Visitor
from sightline_testing.service import REPOSITORY

# Every score that can be given: four decimals.
SCORES = [score / 10_000 for score in range(10_001)]


@cache
def templates() -> Environment:
    return Environment(loader=FileSystemLoader(REPOSITORY / "api" / "templates"), autoescape=True)


def rendered(macro: str, values: list[Any]) -> list[str]:
    template: Template = templates().from_string(
        f'{{% from "macros.html" import {macro} %}}{{% for value in values %}}{{{{ {macro}(value) }}}}\n{{% endfor %}}'
    )
    return template.render(values=values).replace("&lt;", "<").replace("&gt;", ">").replace("&#39;", "'").splitlines()


def scripted(visitor: Visitor, call: str, values: list[Any]) -> list[Any]:
    said: list[Any] = visitor.page.evaluate(
        f"""async (values) => {{
          const words = await import("/assets/js/words.js");
          const sureness = JSON.parse(document.getElementById("stage").dataset.sureness);
          return values.map((value) => {call});
        }}""",
        values,
    )
    return said


def test_every_score_has_the_same_percentage_and_opening_in_both(visitor: Visitor) -> None:
    assert scripted(visitor, "words.percent(value)", SCORES) == rendered("percent", SCORES)
    assert scripted(visitor, "words.opening(value, sureness)", SCORES) == rendered("opening", SCORES)


def test_a_label_is_spoken_with_spaces_in_both(visitor: Visitor) -> None:
    labels = ["carpenter's_kit", "black_and_gold_garden_spider", "jack-o'-lantern", "espresso"]
    assert scripted(visitor, "words.spoken(value)", labels) == rendered("spoken", labels)
    assert rendered("spoken", labels)[0] == "carpenter's kit"
