"""The operator's page: its figures are those of what was done, and they keep up without a reload."""

import re
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import expect

from sightline_testing.browser import Visitor
from sightline_testing.client import Client
from sightline_testing.service import Service

Visit = Callable[..., Visitor]
OF_IMAGES = re.compile(
    r'sightline_requests_total\{code="\d+",endpoint="(/predict|/v[12]/\S*(infer|:predict)|/hf/|/invocations|/predictions/)'
)


def counted(service: Service) -> int:
    """Return the number of answered requests with images, from /metrics."""
    lines = Client(service.url).get("/metrics").text.splitlines()
    return sum(int(float(line.rpartition(" ")[2])) for line in lines if OF_IMAGES.match(line))


def test_the_figures_are_those_of_what_was_done_and_keep_up(visit: Visit, service: Service, image: Path) -> None:
    assert service.state_dir is not None
    visitor = visit("/operate")
    page = visitor.page
    page.locator("[name=key]").fill((service.state_dir / "operator_key").read_text())
    with visitor.navigation():
        page.keyboard.press("Enter")
    page.get_by_role("heading", name="Operate", exact=True).wait_for()
    before = counted(service)
    for _ in range(3):
        assert Client(service.url).upload("/predict", image.read_bytes()).status == 200
    assert counted(service) == before + 3
    requests = page.locator("#requests")
    expect(requests).to_have_text(str(before + 3))
    for view in visitor.views():
        assert visitor.overflow() == 0, view
        assert visitor.barriers() == [], view
        visitor.photograph("SCREENSHOTS_DIR", f"operate-{view}", full_page=True)
