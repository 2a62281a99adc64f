"""The code assistant's page in Chromium."""

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import repeat

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.test_creative_writing import Assistant
from tests.browser.windows import DESKTOP, PHONE, axe, misfits, watch, window

pytestmark = pytest.mark.browser

ATTACK = '<img src=x onerror="window.attacked = 1">'
stopped = threading.Event()


class Endpoint(BaseHTTPRequestHandler):
    """Speaks OpenAI's completion format: completes a call, or repeats what stands in quotes."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        said = ["arg", "ument", f", temperature={body['temperature']:g})"]
        if "quote " in body["prompt"]:
            said = [body["prompt"].partition("quote ")[2]]
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        try:
            for piece in said if "endless" not in body["prompt"] else repeat("on ", 3000):
                self.wfile.write(f"data: {json.dumps({'choices': [{'text': piece}]})}\n\n".encode())
                time.sleep(0.02 * ("endless" in body["prompt"]))
            self.wfile.write(b"data: [DONE]\n\n")
        except OSError:  # the application has stopped it
            stopped.set()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def assistant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Assistant]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Endpoint) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/v1"
        running = Assistant(tmp_path_factory.mktemp("run"), url, name="code-assistant")
        yield running
        running.kill()
        server.shutdown()


@contextmanager
def opened(
    browser: Browser, assistant: Assistant, width: int = DESKTOP, scheme: str = "light"
) -> Iterator[Page]:
    with window(browser, width, scheme) as context:
        page = context.new_page()
        problems = watch(page)
        page.goto(assistant.address)
        yield page
        assert not problems


def complete(page: Page, code: str, at: int) -> None:
    page.locator("#code").fill(code)
    page.locator("#code").evaluate("(box, at) => box.setSelectionRange(at, at)", at)
    page.get_by_role("button", name="Complete at the cursor").click()
    expect(page.locator("#status")).to_have_text("Completed")


def test_completed_in_the_middle_judged_and_kept(browser: Browser, assistant: Assistant) -> None:
    with opened(browser, assistant) as page:
        complete(page, "call(\nnext_line", 5)
        expect(page.locator("#code")).to_have_value("call(argument, temperature=0)\nnext_line")
        first = page.locator("#answers article").first
        expect(first.locator("mark")).to_have_text("argument, temperature=0)")
        first.get_by_role("button", name="Dislike").click()
        page.get_by_label("another one").check()
        complete(page, "call(\nnext_line", 5)
        expect(page.locator("#code")).to_have_value("call(argument, temperature=0.8)\nnext_line")
        expect(page.locator("#answers article")).to_have_count(2)
        first.get_by_role("button", name="Like", exact=True).click()
        expect(first.get_by_role("button", name="Like", exact=True)).to_have_attribute("aria-pressed", "true")
        assistant.kill()
        assistant.start()
        page.reload()
        expect(page.locator("#answers mark").first).to_have_text("argument, temperature=0.8)")
        pressed = page.locator('#answers button[aria-pressed="true"]')
        expect(pressed).to_have_text(["Like", "Dislike"])


def test_stop_keeps_what_was_completed_and_stops_the_model(browser: Browser, assistant: Assistant) -> None:
    with opened(browser, assistant) as page:
        page.locator("#code").fill("endless ")
        page.get_by_role("button", name="Complete at the cursor").click()
        expect(page.locator("#code")).to_have_value(re.compile("endless on on"))
        expect(page.locator("#code")).not_to_be_editable()  # or what is typed would be overwritten
        page.get_by_role("button", name="Stop").click()
        expect(page.locator("#status")).to_have_text("Stopped")
        expect(page.locator("#code")).to_be_editable()
        assert stopped.wait(30)
        page.reload()
        expect(page.locator("#answers mark").first).to_contain_text("on on")
        expect(page.locator("#answers .note").first).to_have_text("stopped")


def test_code_is_never_markup(browser: Browser, assistant: Assistant) -> None:
    with opened(browser, assistant) as page:
        code = f"quote {ATTACK}"
        complete(page, code, len(code))
        expect(page.locator("#answers mark").first).to_have_text(ATTACK)
        page.reload()
        expect(page.locator("#answers mark").first).to_have_text(ATTACK)
        assert page.locator("main img").count() == 0
        assert page.evaluate("window.attacked ?? null") is None


@pytest.mark.parametrize(
    ("width", "scheme"), [pytest.param(DESKTOP, "light", marks=pytest.mark.nightly), (PHONE, "dark")]
)
def test_open_to_everyone(browser: Browser, assistant: Assistant, width: int, scheme: str) -> None:
    with opened(browser, assistant, width, scheme) as page:
        complete(page, "call(", 5)
        expect(page.locator("#answers article").first).to_be_visible()
        assert not axe(page) + misfits(page)
