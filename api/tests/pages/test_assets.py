"""The pages' own files: addresses that change with the content, caching, compression, and what is loaded together."""

import gzip
import re
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app import create_app
from pages import assets
from pages.assets import FOR_A_YEAR, FOR_NOW, Assets

FIRST_LOAD_BYTES = 60_000


def addresses(page: str) -> list[str]:
    return re.findall(r'(?:href|src|data-image)="(/assets/[^"]+)"', page)


def test_every_file_of_a_page_is_kept_for_a_year_under_an_address_of_its_content(client: FlaskClient) -> None:
    found = addresses(client.get("/").text)
    assert {Path(address).suffix for address in found} == {".css", ".js", ".svg", ".webp", ".jpg"}
    for address in found:
        answer = client.get(address)
        assert (answer.status_code, answer.headers["Cache-Control"]) == (200, FOR_A_YEAR), address


def test_an_address_changes_with_the_content_of_any_file(application: Flask, tmp_path: Path) -> None:
    files = [tmp_path / "a.js", tmp_path / "b.js"]
    for file in files:
        file.write_text("1;")
    with application.test_request_context():
        before, again = (Assets({"": tmp_path}).address("a.js") for _ in range(2))
        files[1].write_text("2;")
        assert before == again != Assets({"": tmp_path}).address("a.js")


@pytest.mark.parametrize("folder", ["", f"{0:016x}/"])
def test_a_file_without_the_digest_or_with_that_of_another_version_is_asked_for_again(
    client: FlaskClient, folder: str
) -> None:
    answer = client.get(f"/assets/{folder}css/base.css")
    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, FOR_NOW)
    assert (
        client.get(f"/assets/{folder}css/base.css", headers={"If-None-Match": answer.headers["ETag"]}).status_code
        == 304
    )


@pytest.mark.parametrize(
    "path", ["css/none.css", "../app.py", "%2e%2e/app.py", "css", "", f"{0:016x}", f"{0:016x}/../../app.py", "css/"]
)
def test_nothing_else_is_a_file_of_the_pages(client: FlaskClient, path: str) -> None:
    assert client.get(f"/assets/{path}").status_code == 404


@pytest.mark.parametrize(
    ("accepted", "coding"), [("gzip, br", "gzip"), ("*", "gzip"), ("identity", None), ("gzip;q=0", None), ("", None)]
)
def test_texts_are_compressed_for_whoever_takes_that(client: FlaskClient, accepted: str, coding: str | None) -> None:
    plain = client.get("/assets/css/base.css").data
    answer = client.get("/assets/css/base.css", headers={"Accept-Encoding": accepted})
    assert (answer.headers.get("Content-Encoding"), answer.headers["Vary"]) == (coding, "Accept-Encoding")
    assert (gzip.decompress(answer.data) if coding else answer.data) == plain


def test_a_script_names_all_that_it_imports(application: Flask, tmp_path: Path) -> None:
    (tmp_path / "js").mkdir()
    for name, imports in {"main": "ab", "a": "c", "b": "c", "c": "", "unused": "a"}.items():
        text = "".join(f'import {{ {each},\n  x }} from "./{each}.js";\n' for each in imports)
        (tmp_path / "js" / f"{name}.js").write_text(text)
    with application.test_request_context():
        found = Assets({"": tmp_path}).imported("js/main.js")
    assert [Path(address).stem for address in found] == ["a", "b", "c"]


@pytest.mark.parametrize("path", ["/", "/docs", "/help", "/feedback", "/review/login"])
def test_every_script_of_a_page_is_loaded_at_once(client: FlaskClient, path: str) -> None:
    page = client.get(path).text
    scripts = set(re.findall(r'<script type="module" src="([^"]+)"', page))
    preloaded = set(re.findall(r'<link rel="modulepreload" href="([^"]+)"', page))
    imported = {
        str(Path(script).parent / name)
        for script in scripts | preloaded
        for name in re.findall(r'from "\./([^"]+)"', client.get(script).text)
    }
    assert imported <= scripts | preloaded


def test_the_first_load_of_the_start_page_is_small(client: FlaskClient) -> None:
    page = client.get("/").data
    files = [
        client.get(address, headers={"Accept-Encoding": "gzip"}).data
        for address in dict.fromkeys(re.findall(r'(?:<link[^>]* href|src)="(/assets/[^"]+)"', page.decode()))
    ]
    assert len(gzip.compress(page)) + sum(map(len, files)) < FIRST_LOAD_BYTES


def test_a_page_that_names_a_file_that_is_not_there_cannot_be_rendered(application: Flask) -> None:
    with application.test_request_context(), pytest.raises(KeyError, match=r"css/none\.css"):
        application.jinja_env.globals["asset"]("css/none.css")  # type: ignore[operator]


def test_without_sample_images_the_page_offers_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("pages.samples.FOLDERS", (tmp_path / "missing",))
    assert "/samples/" not in create_app().test_client().get("/").text
    assert assets.ENDPOINT == "static"
