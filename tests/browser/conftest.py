"""The built site on a loopback port, and a headless Chromium for the tests of each file."""

import functools
import http.server
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright
from site_tools.browser import chromium
from site_tools.built.served import BASE

from tests.browser.cells import Reader
from tests.browser.host import SITE, serving
from tests.browser.windows import DESKTOP, window

# ms; a busy machine can take longer than Playwright's 5 s for what a reader has at once.
expect.set_options(timeout=30_000)

# Headless, as any user, without a GPU, and silent: Chromium itself must ask no other host for anything.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # A route of Playwright would also switch off the cache, and pass each request through Python.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
]


def _wait_for_function(
    page: Page, expression: str, *, arg: Any = None, timeout: float = 30_000, polling: float = 50
) -> None:
    end = time.monotonic() + timeout / 1000
    while not page.evaluate(expression, arg):
        if time.monotonic() > end:
            raise TimeoutError(f"not true after {timeout / 1000:g} s: {expression}")
        page.wait_for_timeout(polling)


# Playwright's own has the page evaluate a text again and again, which the policy of our pages forbids.
Page.wait_for_function = _wait_for_function

_click, _hover = Locator.click, Locator.hover


def _wait_for_rest(target: Locator) -> None:
    target.evaluate("element => element.scrollIntoViewIfNeeded()")
    places: list[Any] = []
    while len(places) < 100 and places[-4:] != 4 * [place := target.bounding_box()]:
        places.append(place)
        target.page.wait_for_timeout(50)


def _click_at_rest(self: Locator, **options: Any) -> None:
    _wait_for_rest(self)
    _click(self, **options)


def _hover_at_rest(self: Locator, **options: Any) -> None:
    _wait_for_rest(self)
    _hover(self, **options)


# A jump across a page lays out the blocks around its target, so the target moves for some frames.
# On a busy machine Playwright's own click can go down before the move and up after it, and is lost;
# the pointer of its own hover is then on another element.
Locator.click, Locator.hover = _click_at_rest, _hover_at_rest


def representative(names: Iterable[str], *chosen: str) -> list[Any]:
    """All names as parameters, those that were not chosen for each night."""
    return [name if name in chosen else pytest.param(name, marks=pytest.mark.nightly) for name in names]


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Serves the site below the path that it has on its host, and logs nothing."""

    def translate_path(self, path: str) -> str:
        return super().translate_path(f"/{path.removeprefix(BASE)}")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="session")
def site_url() -> Iterator[str]:
    """Address of the home page."""
    if not (SITE / "index.html").is_file():
        pytest.fail("there is no site/ to test; build it first: make site")
    handler = functools.partial(_Handler, directory=str(SITE))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}{BASE}"
        server.shutdown()


# While Playwright lives, an event loop runs in this thread, where tests of other folders start their own.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Chromium of the system; CHROMIUM names another program."""
    with sync_playwright() as playwright:
        program = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield program
        program.close()


@pytest.fixture(scope="package")
def returning(browser: Browser) -> Iterator[Reader]:
    """A reader in whose browser Python has started before."""
    with serving() as host, window(browser, DESKTOP) as context:
        yield Reader(host, context)


@pytest.fixture
def reader(returning: Reader) -> Iterator[Reader]:
    """A reader who has edited and run nothing, but in whose browser Python may have started before."""
    yield returning
    returning.leave()
