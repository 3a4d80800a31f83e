"""The page as its visitor meets it: a real Chromium, driven by Playwright."""

import base64
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Error,
    Locator,
    Page,
    Request,
    Route,
    ViewportSize,
    expect,
    sync_playwright,
)

# What Playwright switches off, whose list this one replaces, and the suggestions below Chromium's address bar, which
# take as long for each new page as the page itself.
FEATURES = (
    "AimEnabled,AvoidCorsURLLoaderRestartOnRedirect,AvoidUnnecessaryBeforeUnloadCheckSync,DestroyProfileOnBrowserClose,"
    "HttpsFirstBalancedModeAutoEnable,HttpsUpgrades,LensOverlay,MediaRouter,NetworkTimeServiceQuerying,"
    "OptimizationHints,PaintHolding,PreconnectToSearch,TcpPortRandomizationWin,ThirdPartyStoragePartitioning,"
    "WebUIOmniboxAimPopup,WebUIOmniboxFullPopup,WebUIOmniboxPopup"
)
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    f"--disable-features={FEATURES}",
)
# The first has no window around its pages, which takes as much processor time as these.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
# The scheme sets the colours, and the width sets the layout; FULL=1 combines each with each.
Scheme = Literal["light", "dark"]
VIEWS: tuple[tuple[Scheme, int], ...] = (("dark", 360), ("light", 1280))
if os.environ.get("FULL"):
    VIEWS += (("light", 360), ("dark", 1280))
# Playwright's own.
WINDOW = ViewportSize(width=1280, height=720)
# Generous: other work may share the machine. A test waits for what it needs, never for the clock.
TIMEOUT_MS = 60_000
# Chromium aborts all open requests when an address of the machine comes or goes, such as that of a container: a page
# that loads then may be without its scripts.
NETWORK_CHANGED = "net::ERR_NETWORK_CHANGED"
MAX_LOADS = 10
POLL_MS = 20

_CLIPBOARD_WRITE = """async (encoded) => {
  const bytes = Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));
  await navigator.clipboard.write([new ClipboardItem({"image/png": new Blob([bytes], {type: "image/png"})})]);
}"""

_TEXTS = """(element) => {
  const texts = [];
  const options = {characterData: true, childList: true, subtree: true};
  new MutationObserver(() => texts.push(element.textContent)).observe(element, options);
  return texts;
}"""

_PREDICTIONS = """() => [...document.querySelectorAll("#predictions .prediction")].map((line) => [
  line.querySelector(".prediction-name").innerText,
  line.querySelector(".prediction-percent").innerText,
  line.querySelector("meter").getAttribute("value"),
])"""

_BARRIERS = """async (options) => {
  const {violations} = await axe.run(options);
  const broken = [...document.images].filter(
    (image) => image.checkVisibility() && image.loading !== "lazy" && image.complete && !image.naturalWidth
  );
  return [
    ...violations.flatMap((rule) => rule.nodes.map((node) => `${rule.id}: ${node.html}`)),
    ...broken.map((image) => `no content: ${image.outerHTML}`),
  ];
}"""


def _ignore(_: object) -> None:
    """Listen to an event, which is all that it is for."""


class ShownPrediction(NamedTuple):
    """One line of an answer, as it is written on the page."""

    name: str
    percent: str
    bar: float


def chromium() -> str | None:
    """Return the browser that CHROMIUM names, else the first one on the PATH."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


def needed_chromium() -> str:
    """Return the browser; without one the test is skipped, and in CI fails."""
    executable = chromium()
    if executable is not None:
        return executable
    message = "no Chromium: install it, or name it with CHROMIUM"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@contextmanager
def running_chromium(executable: str) -> Iterator[Browser]:
    """Run a browser until the block ends, and have `expect` wait as long as all else does."""
    expect.set_options(timeout=TIMEOUT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


class Texts:
    """Every text that an element gets from now on, so that a test need not be there while a short one is shown."""

    def __init__(self, element: Locator) -> None:
        self._page = element.page
        self._texts = element.evaluate_handle(_TEXTS)

    def all(self) -> list[str]:
        """Return all of them, in their order."""
        texts: list[str] = self._texts.json_value()
        return texts

    def wait_for(self, part: str) -> None:
        """Wait until this has been part of a text."""
        shown = "([texts, part]) => texts.some((text) => text.includes(part))"
        self._page.wait_for_function(shown, arg=[self._texts, part])


class Held:
    """Requests that get no answer before the test lets them, so that the page continues to wait for it."""

    def __init__(self, page: Page, addresses: str, most: int | None) -> None:
        self.routes: list[Route] = []
        self._page = page

        def hold(route: Route) -> None:
            self.routes.append(route)

        page.route(addresses, hold, times=most)

    def wait(self) -> Route:
        """Wait for the first one, and return it."""
        while not self.routes:
            self._page.wait_for_timeout(POLL_MS)
        return self.routes[0]


class Visitor:
    """A visitor of one page of the service; `complaints` lists the faults that the browser found."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.complaints: list[str] = []
        self.is_clock_stopped = False
        self._is_interrupted = False
        page.set_default_timeout(TIMEOUT_MS)
        page.on("console", self._hear)
        page.on("requestfailed", self._note_failure)
        page.on("pageerror", self._note_error)
        # File dialogs are intercepted from the first listener on; when a key is pressed, it can be too late for that.
        page.on("filechooser", _ignore)

    def open(self, path: str = "/") -> None:
        """Go to a page of the service, and wait until its scripts listen."""
        self._load(lambda: self.page.goto(self.url + path))

    @contextmanager
    def before_scripts(self, path: str, script: str) -> Iterator[None]:
        """Be on a page before this script of it runs, which listens when the block has ended."""
        held = self.hold(f"**/js/{script}.*")
        self.page.goto(self.url + path, wait_until="commit")
        held.wait()
        yield
        held.routes[0].continue_()
        self.page.wait_for_load_state()

    @contextmanager
    def navigation(self) -> Iterator[None]:
        """Wait until the scripts of the page listen to which the block leads, by a link or a form."""
        self._is_interrupted = False
        with self.page.expect_navigation():
            yield
        if self._is_interrupted:
            self.reload()

    def sign_in(self, key: str, name: str = "Ann") -> None:
        """Open the inbox with the operator's key."""
        self.open("/review")
        self.page.get_by_label("Your name").fill(name)
        self.page.get_by_label("Operator key").fill(key)
        with self.navigation():
            self.page.keyboard.press("Enter")
        self.page.locator("#cases").wait_for()

    def _load(self, load: Callable[[], object]) -> None:
        """Load a page, again where the machine's network changed meanwhile.

        Scripts of type "module" have run when the load event comes: pages need no other mark that they listen.
        """
        for _ in range(MAX_LOADS):
            self._is_interrupted = False
            try:
                load()
            except Error as fault:
                if NETWORK_CHANGED not in fault.message:
                    raise
                continue
            if not self._is_interrupted:
                return
        raise AssertionError(f"the machine's network changed during each of {MAX_LOADS} loads of {self.page.url}")

    def reload(self) -> None:
        """Load the page again, and wait until its scripts listen."""
        self._load(self.page.reload)

    def leave(self) -> None:
        """End the visit, so that the next visitor finds nothing of it but scripts and images in the browser's cache.

        A stopped clock is not started again.
        """
        page, context = self.page, self.page.context
        page.unroute_all(behavior="ignoreErrors")
        context.set_offline(False)
        # Of the same site, for which the browser keeps the process of the page: a new one takes most of a visit's time.
        page.goto(f"{self.url}/livez")
        for other in context.pages:
            if other is not page:
                other.close()
        session = context.new_cdp_session(page)
        session.send("Storage.clearDataForOrigin", {"origin": self.url, "storageTypes": "all"})
        session.detach()
        context.clear_cookies()
        context.clear_permissions()
        page.set_viewport_size(WINDOW)
        page.emulate_media(media="null", color_scheme="null", reduced_motion="null")
        page.remove_listener("console", self._hear)
        page.remove_listener("requestfailed", self._note_failure)
        page.remove_listener("pageerror", self._note_error)
        page.remove_listener("filechooser", _ignore)

    def stop_clock(self) -> None:
        """Let time pass for the page by `page.clock.run_for` alone."""
        self.is_clock_stopped = True
        self.page.clock.install(time=0)
        self.page.clock.pause_at(3_600)

    def texts(self, selector: str) -> Texts:
        """Note every text of an element from now on."""
        return Texts(self.page.locator(selector))

    def hold(self, addresses: str, most: int | None = 1) -> Held:
        """Hold the next requests to addresses of this pattern back, at most so many; None for all."""
        return Held(self.page, addresses, most)

    def choose(self, *files: Path) -> None:
        """Choose files in the file dialog."""
        self.page.set_input_files("#file", list(files))

    def drop(self, *files: Path) -> None:
        """Drag files from the desktop over the page and let go."""
        session = self.page.context.new_cdp_session(self.page)
        data = {"items": [], "files": [str(file) for file in files], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            session.send("Input.dispatchDragEvent", {"type": kind, "x": 200, "y": 200, "data": data})
        session.detach()

    def paste(self, png: bytes) -> None:
        """Have an image in the clipboard and press the keys for pasting."""
        self.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        self.page.evaluate(_CLIPBOARD_WRITE, base64.b64encode(png).decode())
        self.page.keyboard.press("Control+V")

    def answer(self) -> list[ShownPrediction]:
        """Wait for the answer and read its lines."""
        self.page.wait_for_selector("#answer:not([hidden]) .prediction")
        self.page.wait_for_load_state()  # where the server rendered it, its lines arrive one after the other
        # All in one call: each question to the page would take as long as the page takes to show the answer.
        lines: list[tuple[str, str, str | None]] = self.page.evaluate(_PREDICTIONS)
        return [ShownPrediction(name, percent, float(value or "nan")) for name, percent, value in lines]

    def answer_name(self) -> str:
        """Return the heading of the answer."""
        return self.page.locator("#answer-name").inner_text()

    def report(self) -> None:
        """Press "That's wrong" where it is written what the image shows, else "Not sure"."""
        is_named = self.page.locator("#report-label").input_value()
        self.page.locator("#report-button" if is_named else "#report-unsure").click()

    def reported(self) -> None:
        """Wait for the thanks."""
        self.page.locator("#report-line", has_text="Thank you. Your report is saved.").wait_for()

    def error(self) -> str:
        """Wait for the section with the error, and return its text."""
        self.page.wait_for_selector("#error:not([hidden])")
        self.page.wait_for_load_state()
        return self.page.locator("#error-line").inner_text()

    def spoken(self) -> str:
        """Return the last announcement to screen readers."""
        return self.page.locator("#announcement").inner_text()

    def focused(self) -> str:
        """Give the id, else the text, of the element that has the keyboard."""
        element: str = self.page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()")
        return element

    def tab_to(self, wanted: str, most: int = 30) -> None:
        """Press Tab until the element with this id or text has the keyboard."""
        passed = []
        for _ in range(most):
            self.page.keyboard.press("Tab")
            passed.append(self.focused())
            if passed[-1] == wanted:
                return
        message = f"Tab never reached {wanted!r}; it passed {passed}"
        raise AssertionError(message)

    def overflow(self) -> int:
        """Give by how many pixels the page is wider than its window, once it is loaded."""
        self.page.wait_for_load_state()
        width: int = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        return width

    def views(self) -> Iterator[str]:
        """Show the page in one view after the other; yield the name of each."""
        for scheme, width in VIEWS:
            self.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            self.page.set_viewport_size({"width": width, "height": 800})
            yield f"{width}-{scheme}"

    def barriers(self, *without: str) -> Sequence[str]:
        """Give what axe-core finds in the way of people with disabilities, by all but these rules: rule and element.

        It also returns images that are shown and have no content. A page is checked once it is loaded.
        """
        self.page.wait_for_load_state()
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(resources.files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8"))
        options = {"resultTypes": ["violations"], "rules": {rule: {"enabled": False} for rule in without}}
        found: list[str] = self.page.evaluate(_BARRIERS, options)
        return found

    def photograph(self, variable: str, name: str, **options: Any) -> None:
        """Write a screenshot to <name>.png in the folder that this environment variable names; without it, do nothing.

        `options` are those of Playwright's screenshot.
        """
        if folder := os.environ.get(variable):
            self.page.screenshot(path=Path(folder, f"{name}.png"), **options)

    def _note_error(self, error: Error) -> None:
        self.complaints.append(f"uncaught: {error}")

    def _note_failure(self, request: Request) -> None:
        self._is_interrupted |= request.failure == NETWORK_CHANGED

    def _hear(self, message: ConsoleMessage) -> None:
        # The page itself reports a failed request; that the browser logs it as well is not a fault of the page.
        if message.type in {"error", "warning"} and "Failed to load resource" not in message.text:
            self.complaints.append(f"{message.type}: {message.text}")
