"""The documentation site that `make docs` has built: complete, accessible, and without other hosts."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import urlopen

import pytest
from playwright.sync_api import Browser

from sightline_testing.browser import VIEWS, Visitor, needed_chromium, running_chromium
from sightline_testing.redis_server import free_port
from sightline_testing.service import REPOSITORY, START_TIMEOUT_S

SITE = Path(os.environ.get("STATE_DIR") or REPOSITORY / "var").resolve() / "site"
PAGES = sorted(str(page.relative_to(SITE)) for page in SITE.rglob("*.html"))
# One of each kind; all pages have the same template.
LOOKED_AT = ("index.html", "getting-started.html", "architecture.html", "settings.html")
PREFIX = "/a/b"
# Paths that .dockerignore lets into the context of an image.
IN_IMAGES = re.compile(r"^!(.+)$", re.MULTILINE)
LINK = re.compile(r'(?:href|src)="([^"]+)"')


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_chromium(needed_chromium()) as browser:
        yield browser


def test_the_site_was_built() -> None:
    assert {"index.html", "getting-started.html", "how-to/tune.html", "security.html"} <= set(PAGES), (
        "build it first: make docs"
    )


def test_an_image_is_built_with_the_same_site(tmp_path: Path) -> None:
    paths = IN_IMAGES.findall((REPOSITORY / ".dockerignore").read_text())
    names = subprocess.run(
        ["git", "ls-files", *(f":(glob){path}" for path in paths)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in names.stdout.splitlines():
        copy = tmp_path / "repository" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, copy)
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    environment = os.environ | {"PYTHONPATH": ".", "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(
        command, cwd=tmp_path / "repository", env=environment, capture_output=True, text=True, check=False
    )
    assert (built.returncode, built.stderr) == (0, "")
    assert sorted(str(page.relative_to(tmp_path / "site")) for page in tmp_path.glob("site/**/*.html")) == PAGES


@pytest.mark.parametrize("page", PAGES)
def test_nothing_is_loaded_from_elsewhere_and_every_link_leads_somewhere(page: str) -> None:
    text = (SITE / page).read_text()
    assert re.findall(r'<(?:script|img|link|iframe)[^>]*(?:src|href)="(?:https?:)?//[^"]*"', text) == []
    if page == "404.html":  # served for any address, so its links begin at the root
        return
    links = {unquote(urlsplit(link).path) for link in LINK.findall(text) if not urlsplit(link).scheme}
    assert [link for link in links if link and not ((SITE / page).parent / link).exists()] == []


@pytest.mark.parametrize("page", ["index.html", "how-to/tune.html"])
def test_search_works_on_pages_opened_from_disk(browser: Browser, page: str) -> None:
    visitor = Visitor(browser.new_page(), f"{SITE.as_uri()}/")
    visitor.open(page)
    visitor.page.click(".md-search__input")
    visitor.page.keyboard.type("backup")
    visitor.page.wait_for_selector(".md-search-result__link")
    visitor.page.close()


def test_every_code_block_has_a_copy_button(browser: Browser) -> None:
    visitor = Visitor(browser.new_page(), f"{SITE.as_uri()}/")
    visitor.open("getting-started.html")
    visitor.page.wait_for_selector(".md-code__button")
    visitor.page.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the site by the api, below a path, with its own policies for scripts and styles."""
    folder = tmp_path_factory.mktemp("api")
    address = f"http://127.0.0.1:{(port := free_port())}"
    own = {
        "PYTHONPATH": ".",
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "SCRIPT_NAME": PREFIX,
        "DOCUMENTATION_FOLDER": str(SITE),
        "UPLOAD_FOLDER": str(folder / "uploads"),
        "FEEDBACK_FILEPATH": str(folder / "feedback" / "feedback"),
    }
    log = folder / "api.log"
    with log.open("wb") as output:
        command = [sys.executable, "app.py"]
        api = subprocess.Popen(
            command,
            cwd=REPOSITORY / "api",
            env=os.environ | own,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        until = time.monotonic() + START_TIMEOUT_S
        while not is_live(address):
            assert api.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.05)
        yield f"{address}{PREFIX}/help"
    finally:
        api.terminate()
        api.wait(START_TIMEOUT_S)


def is_live(address: str) -> bool:
    try:
        return bool(urlopen(f"{address}/livez").status == HTTPStatus.OK)  # noqa: S310  our own address
    except OSError:
        return False


def test_the_service_serves_the_site_with_working_search_and_links(browser: Browser, address: str) -> None:
    visitor = Visitor(browser.new_page(), address.removesuffix("/help"))
    visitor.open()
    with visitor.navigation():
        visitor.page.click("footer >> text=Documentation")
    assert visitor.page.url == f"{address}/index.html"
    visitor.page.click(".md-search__input")
    visitor.page.keyboard.type("backup")
    visitor.page.click(".md-search-result__link >> nth=0")
    visitor.page.wait_for_url(f"{address}/**/*.html*")
    visitor.page.close()
    assert visitor.complaints == []


@pytest.mark.parametrize(("scheme", "width"), VIEWS)
def test_no_page_has_a_barrier_or_scrolls_sideways(browser: Browser, address: str, scheme: str, width: int) -> None:
    options: dict[str, Any] = {"color_scheme": scheme, "viewport": {"width": width, "height": 800}}
    context = browser.new_context(**options)
    visitor = Visitor(context.new_page(), address)
    asked: list[str] = []
    visitor.page.on("request", lambda request: asked.append(request.url))
    found = {}
    for page in LOOKED_AT if width > 360 else (page for page in PAGES if page != "404.html"):
        visitor.open(f"/{page}")
        barriers = visitor.barriers() if page in LOOKED_AT else ()
        found[page] = [*barriers, *(["scrolls sideways"] if visitor.overflow() else [])]
    context.close()
    assert {page: faults for page, faults in found.items() if faults} == {}
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
    assert visitor.complaints == []
