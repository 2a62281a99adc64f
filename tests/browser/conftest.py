"""The built site on a loopback port, and a headless Chromium for the tests of each file."""

import functools
import http.server
import os
import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect, sync_playwright
from tools import ROOT, chromium
from tools.check_site import BASE

# ms; a busy machine can take longer than Playwright's 5 s for what a reader has at once.
expect.set_options(timeout=30_000)

SITE = ROOT / os.environ.get("SITE_DIR", "site")
# Headless, as any user, without a GPU, and silent: Chromium itself must ask no other host for anything.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


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


# While Playwright lives, an event loop runs in this thread, where no later test could start another.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium of the system; CHROMIUM names another program."""
    with sync_playwright() as playwright:
        program = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield program
        program.close()
