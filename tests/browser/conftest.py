"""One browser for all of these tests; a new visitor for each."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from sightline_testing import sample_images
from sightline_testing.browser import Visitor, needed_chromium, running_chromium
from sightline_testing.sample_images import encode, good
from sightline_testing.service import Service

Visit = Callable[..., Visitor]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with running_chromium(needed_chromium()) as browser:
        yield browser


@pytest.fixture(scope="session")
def left_pages() -> list[Page]:
    """Pages that visitors have left, for those after them: a new one takes half a second of processor time."""
    return []


@pytest.fixture
def visit(browser: Browser, service: Service, left_pages: list[Page]) -> Iterator[Visit]:
    """Open the page with the given options of Playwright's new_context; at the end, the browser has no complaints.

    Without options, the page is one that another visitor has left, if there is one.
    """
    usual: list[Visitor] = []
    special: list[Visitor] = []

    def begin(path: str = "/", **options: Any) -> Visitor:
        page = left_pages.pop() if left_pages and not options else browser.new_context(**options).new_page()
        visitor = Visitor(page, service.url)
        (special if options else usual).append(visitor)
        visitor.open(path)
        return visitor

    yield begin
    for visitor in usual:
        if visitor.is_clock_stopped:
            visitor.page.context.close()
        else:
            visitor.leave()
            left_pages.append(visitor.page)
    for visitor in special:
        visitor.page.context.close()
    assert [complaint for visitor in usual + special for complaint in visitor.complaints] == []


@pytest.fixture
def visitor(visit: Visit) -> Visitor:
    """A visitor at a desktop, in front of the page."""
    return visit()


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An image that the service has an answer to."""
    return written(tmp_path, "scene.jpg", good("baseline.jpg").content)


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    """A photograph of the class PHOTOGRAPH_LABEL."""
    return written(tmp_path, "photograph.png", encode(sample_images.photograph(), "PNG"))


def written(folder: Path, name: str, content: bytes) -> Path:
    file = folder / name
    file.write_bytes(content)
    return file
