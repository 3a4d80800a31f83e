"""Visitors of these tests share pages, and each finds one that no one has used."""

from playwright.sync_api import Browser

from sightline_testing.browser import WINDOW, Visitor
from sightline_testing.service import Service

FOUND = """async () => ({
  cookie: document.cookie,
  local: localStorage.length,
  session: sessionStorage.length,
  databases: (await indexedDB.databases()).length,
  caches: (await caches.keys()).length,
  isDark: matchMedia("(prefers-color-scheme: dark)").matches,
  isStill: matchMedia("(prefers-reduced-motion: reduce)").matches,
  window: [innerWidth, innerHeight],
  clipboard: (await navigator.permissions.query({name: "clipboard-read"})).state,
})"""
USE = """async () => {
  document.cookie = "a=b";
  localStorage.a = sessionStorage.a = "b";
  await caches.open("a");
  await new Promise((done) => { indexedDB.open("a").onsuccess = done; });
}"""


def test_a_visitor_finds_nothing_of_the_one_before(browser: Browser, service: Service) -> None:
    context = browser.new_context()
    first = Visitor(context.new_page(), service.url)
    first.open()
    untouched = first.page.evaluate(FOUND)
    first.page.evaluate(USE)
    context.grant_permissions(["clipboard-read"])
    first.page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    first.page.set_viewport_size({"width": 360, "height": 500})
    first.page.route("**/livez", lambda route: route.abort())
    context.set_offline(True)
    context.new_page()
    used = first.page.evaluate(FOUND)
    assert {name for name in used if used[name] == untouched[name]} == set()
    first.leave()
    second = Visitor(first.page, service.url)
    second.open()
    assert second.page.evaluate(FOUND) == untouched
    assert untouched["window"] == [WINDOW["width"], WINDOW["height"]]
    assert context.pages == [second.page]
    with second.page.expect_console_message(lambda message: message.text == "no image"):
        second.page.evaluate("console.error('no image')")
    assert (first.complaints, second.complaints) == ([], ["error: no image"])
    context.close()
