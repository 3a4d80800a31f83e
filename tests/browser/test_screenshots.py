"""Images of the page for people to look at, in SCREENSHOTS_DIR where it is set.

README_SCREENSHOT=docs/screenshot.png makes the image in the README.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sightline_testing.browser import Visitor
from sightline_testing.sample_images import bad
from sightline_testing.still_life import clock_on_a_wall

Visit = Callable[..., Visitor]


@pytest.fixture
def subject(tmp_path: Path) -> Path:
    image = tmp_path / "clock.png"
    clock_on_a_wall().save(image)
    return image


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_can_be_looked_at(visit: Visit, subject: Path, tmp_path: Path, scheme: str, width: int) -> None:
    is_phone = width < 500
    visitor = visit(
        color_scheme=scheme,
        viewport={"width": width, "height": 740 if is_phone else 800},
        is_mobile=is_phone,
        has_touch=is_phone,
        device_scale_factor=2 if is_phone else 1,
        reduced_motion="reduce",
    )

    def shoot(state: str) -> None:
        visitor.photograph("SCREENSHOTS_DIR", f"{state}-{width}-{scheme}", full_page=True)

    shoot("start")
    visitor.choose(subject)
    visitor.answer()
    visitor.page.locator("#view img").evaluate("image => image.decode()")
    shoot("answer")
    readme = os.environ.get("README_SCREENSHOT")
    if readme and (width, scheme) == (1280, "light"):
        visitor.page.screenshot(path=readme, full_page=True)
    visitor.report()
    visitor.reported()
    shoot("reported")
    damaged = tmp_path / "holiday.jpg"
    damaged.write_bytes(bad("truncated.jpg").content)
    visitor.choose(damaged)
    visitor.error()
    shoot("error")
