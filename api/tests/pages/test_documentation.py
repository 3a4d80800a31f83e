"""The documentation site below /help: linked where it is built, served inert, and nothing outside of its folder."""

import gzip
import os
import time
from pathlib import Path

import pytest
from flask.testing import FlaskClient

import settings
from pages.assets import FOR_A_YEAR, FOR_NOW
from pages.documentation import DIAGRAM_POLICY
from server.messages import PAGE_POLICY

FILES = {
    "index.html": "<h1>Sightline</h1>",
    "how-to/tune.html": "<h1>Tune</h1>" + "tune " * 100,
    "assets/javascripts/bundle.0123abcd.min.js": "1;",
    "search/search_index.js": "2;",
    "rooms.svg": "<svg/>",
    "benchmarks/own.csv": "a,b\n",
    "assets/main.css.map": "{}",
    "settings": "no suffix",
}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (tmp_path / "secret.html").write_text("outside")
    (folder / "link.html").symlink_to(tmp_path / "secret.html")
    monkeypatch.setattr(settings, "DOCUMENTATION_FOLDER", str(folder))
    return folder


def test_every_page_links_the_site_where_it_is_built(client: FlaskClient, site: Path) -> None:
    for path in ("/", "/docs", "/help", "/nowhere"):
        page = client.get(path, headers={"Accept": "text/html"}).text
        assert '<a href="/help/index.html">Documentation</a>' in page.partition("<footer")[2], path
    assert '<a href="/help/settings.html">' in client.get("/help").text


def test_without_a_site_every_page_links_the_short_page(client: FlaskClient) -> None:
    assert '<a href="/help">Documentation</a>' in client.get("/").text
    assert "/help/" not in client.get("/help").text
    assert client.get("/help/index.html").status_code == 404


def test_a_site_is_served_as_soon_as_it_is_built(client: FlaskClient, site: Path) -> None:
    assert client.get("/help/index.html").text == FILES["index.html"]
    (site / "index.html").write_text("<h1>Another</h1>")
    os.utime(site / "index.html", (time.time(), time.time() + 1))
    assert client.get("/help/index.html").text == "<h1>Another</h1>"


def test_the_folder_leads_to_the_first_page(client: FlaskClient, site: Path) -> None:
    answer = client.get("/help/")
    assert (answer.status_code, answer.location) == (302, "/help/index.html")


@pytest.mark.parametrize(
    ("path", "media_type", "caching"),
    [
        ("how-to/tune.html", "text/html; charset=utf-8", FOR_NOW),
        ("assets/javascripts/bundle.0123abcd.min.js", "text/javascript; charset=utf-8", FOR_A_YEAR),
        ("search/search_index.js", "text/javascript; charset=utf-8", FOR_NOW),
        ("benchmarks/own.csv", "text/plain; charset=utf-8", FOR_NOW),
    ],
)
def test_files_have_a_type_a_policy_and_a_time_to_keep_them(
    client: FlaskClient, site: Path, path: str, media_type: str, caching: str
) -> None:
    answer = client.get(f"/help/{path}")
    assert (answer.status_code, answer.content_type, answer.headers["Cache-Control"]) == (200, media_type, caching)
    assert answer.headers["Content-Security-Policy"] == PAGE_POLICY
    kept = client.get(f"/help/{path}", headers={"If-None-Match": answer.headers["ETag"]})
    assert (kept.status_code, kept.data) == (304, b"")


def test_pages_are_compressed_and_a_diagram_may_style_itself(client: FlaskClient, site: Path) -> None:
    answer = client.get("/help/how-to/tune.html", headers={"Accept-Encoding": "gzip"})
    assert gzip.decompress(answer.data).decode() == FILES["how-to/tune.html"]
    assert client.get("/help/rooms.svg").headers["Content-Security-Policy"] == DIAGRAM_POLICY


@pytest.mark.parametrize(
    "path",
    [
        *("../secret.html", "%2e%2e/secret.html", "how-to/../../secret.html", "..%2fsecret.html", "/etc/hostname"),
        *("link.html", "how-to", "how-to/", "settings", "assets/main.css.map", "none.html", "index.html%00.svg"),
        "%ff.html",
        "a" * 300 + ".html",
    ],
)
def test_nothing_else_is_served(client: FlaskClient, site: Path, path: str) -> None:
    assert client.get(f"/help/{path}").status_code == 404


def test_the_site_can_only_be_read(client: FlaskClient, site: Path) -> None:
    head = client.head("/help/index.html")
    assert (head.status_code, head.data) == (200, b"")
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert client.open("/help/index.html", method=method).status_code == 405
