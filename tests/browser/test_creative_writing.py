"""The writing assistant in Chromium: somebody writes, asks, judges, stops, and comes back after a crash."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.windows import DESKTOP, PHONE, axe, misfits, watch, window

pytestmark = pytest.mark.browser

ATTACK = '<img src=x onerror="window.attacked = 1"><script>window.attacked = 1</script>'


class Endpoint(BaseHTTPRequestHandler):
    """Speaks OpenAI's chat format, slowly; answers what the text asks for after "say "."""

    asked: list[dict] = []  # noqa: RUF012  # of all requests

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(body)
        said = body["messages"][-1]["content"].partition("say ")[2] or " there was a model. It wrote!"
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        try:
            for word in said.split(" ") if "endless" not in said else iter(lambda: "endless", None):
                piece = {"choices": [{"delta": {"content": f"{word} "}}]}
                self.wfile.write(f"data: {json.dumps(piece)}\n\n".encode())
                time.sleep(0.02)
            self.wfile.write(b"data: [DONE]\n\n")
        except OSError:  # the application has stopped it
            self.asked.append({"stopped": True})

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Endpoint) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()


class Assistant:
    """The command, which can be killed and started again at the same address."""

    def __init__(self, folder: Path, endpoint: str, name: str = "creative-writing"):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = str(free.getsockname()[1])
        options = ["--run", folder, "--url", endpoint, "--model", "fake", "--port", port, "--no-browser"]
        self.command = [sys.executable, "-m", "llmguide", "app", name, *options]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True)
        self.address = self.process.stdout.readline().split()[-1]

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()


@pytest.fixture(scope="module")
def assistant(tmp_path_factory: pytest.TempPathFactory, endpoint: str) -> Iterator[Assistant]:
    running = Assistant(tmp_path_factory.mktemp("run"), endpoint)
    yield running
    running.kill()


@contextmanager
def opened(
    browser: Browser,
    assistant: Assistant,
    width: int = DESKTOP,
    scheme: str = "light",
    broken: str = "nothing",
) -> Iterator[Page]:
    """A page with a new text; nothing goes wrong on it but what is known to break."""
    with window(browser, width, scheme) as context:
        page = context.new_page()
        problems = watch(page)
        page.goto(assistant.address)
        expect(page.locator("#status")).to_have_text("Saved")
        page.get_by_role("button", name="New text").click()
        expect(page.locator("#text")).to_be_focused()
        yield page
        assert not [problem for problem in problems if broken not in problem]


def write(page: Page, text: str) -> None:
    page.locator("#text").fill(text)
    expect(page.locator("#status")).to_have_text("Saved")


def test_written_answered_judged_and_kept(browser: Browser, assistant: Assistant) -> None:
    # a request on the way may meet the server killed
    with opened(browser, assistant, broken="net::ERR_CONNECTION") as page:
        page.locator("#title").fill("A tale")
        write(page, "Once upon a time")
        page.get_by_label("Tone").select_option("lively")
        page.get_by_role("button", name="Write on").click()
        card = page.locator("#answers article")
        expect(card.locator(".said")).to_have_text("there was a model. It wrote! ".strip())
        expect(page.locator("#status")).to_have_text("A continuation is there")
        assert "as a question or an exclamation" in Endpoint.asked[-1]["messages"][0]["content"]
        expect(card).to_contain_text("tone: lively")
        expect(card).to_contain_text("lively sentences50%")
        card.get_by_role("button", name="Dislike").click()
        card.get_by_role("button", name="Like", exact=True).click()
        expect(card.get_by_role("button", name="Like", exact=True)).to_have_attribute("aria-pressed", "true")
        expect(card.get_by_role("button", name="Dislike")).to_have_attribute("aria-pressed", "false")
        card.get_by_role("button", name="Keep").click()
        expect(page.locator("#status")).to_have_text("Saved")
        for again in ("reload", "kill"):
            if again == "kill":
                assistant.kill()
                assistant.start()
            page.reload()
            expect(page.locator("#text")).to_have_value("Once upon a time there was a model. It wrote! ")
            expect(page.locator("#title")).to_have_value("A tale")
            expect(card.get_by_role("button", name="Like", exact=True)).to_have_attribute(
                "aria-pressed", "true"
            )
        assert page.locator("#texts option").first.inner_text() == "A tale"


@pytest.mark.nightly
def test_characters_are_sent_and_a_continuation_is_checked_against_them(
    browser: Browser, assistant: Assistant
) -> None:
    with opened(browser, assistant, broken="400") as page:
        write(page, "say He took the bread out of the oven.")
        page.get_by_label("Characters").fill("Mara is brave")
        page.get_by_role("button", name="Write on").click()
        expect(page.locator("#problem")).to_contain_text("not 'Mara is brave'")
        page.get_by_label("Characters").fill("Mara (she): a brave baker")
        page.get_by_role("button", name="Write on").click()
        note = page.locator("#answers article .note.bad")
        expect(note).to_contain_text("a pronoun does not fit the characters")
        assert "Mara (she): a brave baker" in Endpoint.asked[-1]["messages"][0]["content"]
        page.get_by_label("Characters").fill("Tom (he): a baker with an oven")
        page.get_by_role("button", name="Write on").click()
        expect(note).to_have_count(2)
        expect(note.first).to_have_text("repeats the text")  # the endpoint repeats what it is told to say
        page.reload()
        expect(page.get_by_label("Characters")).to_have_value("Tom (he): a baker with an oven")


def test_a_selection_is_rewritten_and_replaced(browser: Browser, assistant: Assistant) -> None:
    with opened(browser, assistant) as page:
        write(page, "say Thou goest.")
        page.get_by_role("button", name="Rewrite the selection").click()
        expect(page.locator("#problem")).to_contain_text("Select the passage")
        page.locator("#text").select_text()
        page.get_by_label("Style to rewrite into").select_option("speech")
        page.get_by_role("button", name="Rewrite the selection").click()
        expect(page.locator("#status")).to_have_text("A rewriting is there")
        asked = Endpoint.asked[-1]["messages"]
        assert "speech by a president" in asked[0]["content"]
        assert asked[1]["content"] == "say Thou goest."
        card = page.locator("#answers article")
        expect(card).to_contain_text("rewritten like a president's speech")
        card.get_by_role("button", name="Keep").click()
        expect(page.locator("#text")).to_have_value("Thou goest. ")


def test_stop_keeps_what_was_written_and_stops_the_model(browser: Browser, assistant: Assistant) -> None:
    with opened(browser, assistant) as page:
        write(page, "say endless")
        page.get_by_role("button", name="Write on").click()
        said = page.locator("#answers .said")
        expect(said).to_contain_text("endless endless")
        page.get_by_role("button", name="Stop").click()
        expect(page.locator("#answers .note")).to_contain_text("stopped")
        for _ in range(100):
            if {"stopped": True} in Endpoint.asked:
                break
            page.wait_for_timeout(50)
        assert {"stopped": True} in Endpoint.asked
        shown = said.inner_text()
        page.reload()
        assert shown.strip() in said.inner_text()


@pytest.mark.nightly
def test_killed_in_the_middle_of_an_answer_nothing_seen_is_lost(
    browser: Browser, assistant: Assistant
) -> None:
    with opened(browser, assistant, broken="Failed to load resource: net::ERR") as page:
        write(page, "say endless")
        page.get_by_role("button", name="Write on").click()
        said = page.locator("#answers .said")
        expect(said).to_contain_text("endless endless")
        assistant.kill()
        expect(page.locator("#problem")).not_to_be_empty()
        shown = said.inner_text().strip()
        assistant.start()
        page.reload()
        expect(page.locator("#answers .note")).to_contain_text("stopped")
        assert shown in said.inner_text()
        expect(page.locator("#text")).to_have_value("say endless")


def test_what_is_written_is_never_markup(browser: Browser, assistant: Assistant) -> None:
    with opened(browser, assistant) as page:
        page.locator("#title").fill(ATTACK)
        write(page, f"say {ATTACK}")
        page.get_by_role("button", name="Write on").click()
        expect(page.locator("#status")).to_have_text("A continuation is there")
        for _ in range(2):
            expect(page.locator("#answers .said")).to_contain_text("<script>window.attacked = 1</script>")
            assert page.locator("#texts option").first.inner_text() == ATTACK
            assert page.locator("main img, main script").count() == 0
            assert page.evaluate("window.attacked ?? null") is None
            page.reload()


def test_a_tab_without_the_token_reads_nothing_and_says_why(browser: Browser, assistant: Assistant) -> None:
    home, _, token = assistant.address.partition("#token=")
    with opened(browser, assistant, broken="401") as page:
        write(page, "a secret")
        assert page.url.startswith(home)
        assert token not in page.url
        page.goto(f"{home}#token=AAAA")  # a foreign link does not replace the token
        expect(page.locator("#text")).to_have_value("a secret")
        other = page.context.new_page()
        for link in (home, f"{home}#token=AAAA"):
            other.goto(link)
            expect(other.locator("#problem")).to_contain_text("open the link that llmguide app prints")
            expect(other.locator("#text")).to_have_value("")
        other.goto(assistant.address)
        expect(other.locator("#text")).to_have_value("a secret")


@pytest.mark.nightly
def test_a_text_is_saved_when_the_database_is_free_again(browser: Browser, assistant: Assistant) -> None:
    with opened(browser, assistant, broken="503") as page:
        page.route("**/api/documents/*", lambda route: route.fulfill(status=503, json={"error": "locked"}))
        page.locator("#text").fill("kept in the page")
        expect(page.locator("#status")).to_have_text("Not saved: locked")
        page.unroute("**/api/documents/*")
        expect(page.locator("#status")).to_have_text("Saved")
        page.reload()
        expect(page.locator("#text")).to_have_value("kept in the page")


@pytest.mark.nightly
def test_two_tabs_do_not_overwrite_each_other(browser: Browser, assistant: Assistant) -> None:
    with window(browser, DESKTOP) as context:
        first, second = context.new_page(), context.new_page()
        first.goto(assistant.address)
        expect(first.locator("#status")).to_have_text("Saved")
        second.goto(assistant.address)
        expect(second.locator("#status")).to_have_text("Saved")
        write(first, "mine")
        second.locator("#text").fill("yours")
        expect(second.locator("#status")).to_contain_text("Not saved: the document is gone or changed")
        first.reload()
        expect(first.locator("#text")).to_have_value("mine")


def test_what_is_typed_last_is_saved_when_the_page_is_left(browser: Browser, assistant: Assistant) -> None:
    with opened(browser, assistant) as page:
        page.locator("#text").fill("a last word")
        address = page.url
        page.goto("about:blank")
        page.goto(address)
        expect(page.locator("#text")).to_have_value("a last word")


@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        (PHONE, "dark"),
        *(
            pytest.param(*way, marks=pytest.mark.nightly)
            for way in ((PHONE, "light"), (DESKTOP, "light"), (DESKTOP, "dark"))
        ),
    ],
)
def test_open_to_everyone(browser: Browser, assistant: Assistant, width: int, scheme: str) -> None:
    with opened(browser, assistant, width, scheme) as page:
        write(page, "Once")
        page.get_by_role("button", name="Write on").press("Enter")
        expect(page.locator("#status")).to_have_text("A continuation is there")
        page.get_by_role("button", name="Like", exact=True).press("Space")
        expect(page.get_by_role("button", name="Like", exact=True)).to_have_attribute("aria-pressed", "true")
        assert not axe(page) + misfits(page)


@pytest.mark.nightly
def test_too_fast_is_said(browser: Browser, assistant: Assistant) -> None:
    """The last test, since the limit is that of the minute."""
    with window(browser, DESKTOP) as context:
        page = context.new_page()
        page.goto(assistant.address)
        ask = """async () => {
            const {headers} = await import("/shared/frame.js");
            while (!headers().Authorization) await new Promise((later) => setTimeout(later, 50));
            const options = {method: "POST", headers: headers(), body: "{}"};
            for (let i = 0; i < 40; i++) {
                const answer = await fetch("/api/answers", options);
                if (answer.status === 429) return answer.headers.get("Retry-After");
            }
        }"""
        assert 1 <= int(page.evaluate(ask)) <= 60
        page.get_by_role("button", name="Write on").click()
        expect(page.locator("#problem")).to_contain_text("30 requests in 60 seconds are the limit")
