"""The service below a path of a host, behind real proxies with the configurations of deploy/proxy."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser

from sightline.client import Client
from sightline_testing import client as api
from sightline_testing.browser import Visitor
from sightline_testing.redis_server import free_port
from sightline_testing.sample_images import jpeg
from sightline_testing.service import REPOSITORY, START_TIMEOUT_S, Service, running_service
from sightline_testing.waiting import wait_for_end, wait_until

PROXIES = REPOSITORY / "deploy" / "proxy"
KEY = "the-key-of-these-tests"
# Another path than that of SCRIPT_NAME, so that it can only come from the header.
OF_NGINX, OF_CADDY = "/x/y", "/a/b"
NGINX = """daemon off;
pid nginx.pid;
error_log stderr error;
events {{}}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
{server}
}}
"""
OPENED = "() => document.querySelector('.case .view img').naturalWidth > 0"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    told = {"SCRIPT_NAME": "/a/b", "TRUSTED_PROXIES": "1", "OPERATOR_KEY": KEY, "REQUEST_TIMEOUT_S": "60"}
    with running_service(tmp_path_factory.mktemp("below"), told) as service:
        # The first map has to wait until what makes it is loaded.
        explained = "/predict?explain=1"
        wait_until(lambda: api.Client(service.url).upload(explained, jpeg()).status == 200, "maps", START_TIMEOUT_S)
        yield service


@pytest.fixture(params=["nginx", "caddy"])
def below(request: pytest.FixtureRequest, service: Service, tmp_path: Path) -> Iterator[str]:
    """The address of the service behind a proxy."""
    if shutil.which(request.param) is None:
        if os.environ.get("CI"):
            pytest.fail(f"no {request.param}: install it")
        pytest.skip(f"no {request.param}")
    port, place = free_port(), urlsplit(service.url).netloc
    command, path = (nginx if request.param == "nginx" else caddy)(tmp_path, port, place)
    environment = os.environ | {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}
    proxy = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    try:
        address = f"http://127.0.0.1:{port}{path}"
        wait_until(Client(address).is_alive, "the proxy", START_TIMEOUT_S)
        yield address
    finally:
        proxy.terminate()
        wait_for_end(proxy, "the proxy ended after SIGTERM")


def nginx(folder: Path, port: int, place: str) -> tuple[list[str], str]:
    server = (PROXIES / "nginx.conf").read_text()
    server = server.replace("listen 80;", f"listen 127.0.0.1:{port};").replace("127.0.0.1:8000", place)
    user = "user root;\n" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(user + NGINX.format(server=server.replace("/a/b", OF_NGINX)))
    return ["nginx", "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")], OF_NGINX


def caddy(folder: Path, port: int, place: str) -> tuple[list[str], str]:
    site = (PROXIES / "Caddyfile").read_text().replace("\n:80 {", f"\nhttp://127.0.0.1:{port} {{")
    settings = "{\n\tadmin off\n}\n"
    (folder / "Caddyfile").write_text(settings + site.replace("127.0.0.1:8000", place))
    return ["caddy", "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"], OF_CADDY


def test_everything_works_below_the_path(browser: Browser, below: str, image: Path) -> None:
    context = browser.new_context()
    visitor = Visitor(context.new_page(), below)
    page, failed, elsewhere = visitor.page, [], []
    page.on("response", lambda response: failed.append(response.url) if response.status >= 400 else None)
    page.on(
        "request",
        lambda request: elsewhere.append(request.url) if not request.url.startswith((f"{below}/", "blob:")) else None,
    )
    visitor.open()
    visitor.choose(image)
    visitor.answer()
    page.locator(".prediction-map").first.click()
    page.locator("#view .map").wait_for()
    page.locator("#report-label").focus()
    page.locator("#labels option").nth(999).wait_for(state="attached")
    page.locator("#report-label").fill("lighthouse")
    visitor.report()
    visitor.reported()
    for link in ("About reports", "To the page", "API"):
        with visitor.navigation():
            page.get_by_role("link", name=link, exact=link == "API").click()
    shown = [text for text in page.locator(".docs-example").all_inner_texts() if "http://" in text]
    assert shown
    assert [text for text in shown if f"{below}/" not in text] == []
    page.locator("#try-form button").click()
    page.locator("#try-response", has_text='"success": true').wait_for()
    with page.expect_response("**/openapi.json") as described:
        page.get_by_role("link", name="openapi.json").first.click()
    assert described.value.json()["servers"] == [{"url": urlsplit(below).path}]

    visitor.sign_in(KEY)
    page.wait_for_function(OPENED)
    page.keyboard.press("m")
    page.locator(".case .map").wait_for()
    page.keyboard.press("a")
    page.locator(".case:not([data-status=open])").wait_for()
    with page.expect_download() as archive:
        page.get_by_role("link", name="download the ZIP").click()
    assert archive.value.suggested_filename == "cases.zip"
    assert {cookie["path"] for cookie in context.cookies()} == {urlsplit(below).path}
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("Your name").wait_for()
    assert (failed, elsewhere, visitor.complaints) == ([], [], [])
    context.close()


def test_without_scripts_and_for_programs_too(browser: Browser, below: str, image: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{below}/nowhere")
    page.get_by_role("link", name="To the page").click()
    page.locator("#file").set_input_files(image)
    page.locator("#submit").click()
    page.locator("#answer-name").wait_for()
    page.locator("#file").set_input_files({"name": "a.txt", "mimeType": "text/plain", "buffer": b"no image"})
    page.locator("#submit").click()  # back to the page, with a message that a cookie carries
    page.locator("#error-line").wait_for()
    assert page.url == f"{below}/"
    context.close()

    with Client(below) as client:
        assert client.classify(image.read_bytes()).label
    place = urlsplit(below)
    headers = {"Content-Type": "image/jpeg", "Prefer": "respond-async"}
    accepted = api.Client(below).send("POST", f"{place.path}/predict", image.read_bytes(), headers)
    location = accepted.headers["Location"]
    assert (accepted.status, location.startswith(f"{place.path}/jobs/")) == (202, True)
    assert api.Client(below).get(location).status == 200
