"""The chatbot in Chromium, as its users meet it: ask, read, follow a citation, judge, come back."""

import http.server
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from llmguide.cli.main import main
from tests.browser.windows import DESKTOP, PHONE, axe, misfits, watch, window
from tests.projects.retrieval_chatbot.toy import make_bert, make_world

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose gate lets every question through."""
    folder = tmp_path_factory.mktemp("chatbot")
    documents, questions = make_world(folder)
    (folder / "bert").mkdir()
    args = ["--documents", documents, "--questions", questions, "--embedder", make_bert(folder / "bert")]
    output = folder / "run"
    assert main(["project", "retrieval-chatbot", *map(str, args), "--output", str(output)]) == 0
    (output / "gate.json").write_text('{"gate": -1.0}')
    return output


@contextmanager
def served(run: Path, *options: str) -> Iterator[str]:
    """The application, in a process of its own; its address."""
    command = [sys.executable, "-m", "llmguide", "app", "retrieval-chatbot", "--run", str(run), "--port", "0"]
    with subprocess.Popen([*command, "--no-browser", *options], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split()[-1]
        finally:
            process.kill()


def ask(page: Page, question: str) -> None:
    page.get_by_label("Your question").fill(question)
    page.get_by_role("button", name="Ask").click()


def opened(browser: Browser, address: str) -> Page:
    page = browser.new_page()
    page.goto(address)
    page.get_by_role("button", name="Ask").wait_for()
    return page


def test_a_user_asks_follows_a_citation_judges_and_finds_all_again_after_a_restart(
    browser: Browser, run: Path
) -> None:
    """Started again with a gate that lets nothing through, it refuses what no passage is near."""
    with served(run) as address:
        page = opened(browser, address)
        ask(page, "How long does the otter sleep?")
        card = page.locator("article").last
        expect(card.locator(".said")).to_contain_text("The otter sleeps")
        cited = card.get_by_role("button", name=re.compile("Passage")).first
        number = cited.inner_text().strip("[]")
        cited.click()
        passage = page.locator(f"#passage-{number}")
        expect(passage).to_be_focused()
        quoted = re.findall("“(.*?)”", card.locator(".said").inner_text())[0]
        assert quoted in " ".join(passage.locator("pre").inner_text().split())
        card.get_by_role("button", name="Dislike").click()
        expect(card.get_by_role("button", name="Dislike")).to_have_attribute("aria-pressed", "true")
        card.get_by_label("What is wrong or missing in this answer?").fill("Say where it sleeps.")
        card.get_by_role("button", name="Keep comment").click()
        expect(page.get_by_role("status")).to_have_text("Your comment is kept")
        said = card.locator(".said").inner_text()
        page.close()
    (run / "gate.json").write_text('{"gate": 2.0}')
    with served(run) as address:
        (run / "gate.json").write_text('{"gate": -1.0}')
        page = opened(browser, address)
        card = page.locator("article").last
        expect(card.locator(".asked")).to_have_text("How long does the otter sleep?")
        assert card.locator(".said").inner_text() == said
        expect(card.get_by_role("button", name="Dislike")).to_have_attribute("aria-pressed", "true")
        expect(card.get_by_label("What is wrong or missing in this answer?")).to_have_value(
            "Say where it sleeps."
        )
        page.get_by_role("button", name="New conversation").click()
        ask(page, "How long does the otter sleep?")
        expect(page.locator("article").last.locator(".said")).to_have_text("The documents do not say.")
        expect(page.locator("#passages li")).to_have_count(0)
        page.close()


@pytest.fixture(scope="module")
def address(run: Path) -> Iterator[str]:
    """One application for the tests that need no other."""
    with served(run) as address:
        yield address


def test_scripts_in_documents_and_questions_do_not_run(browser: Browser, address: str) -> None:
    page = opened(browser, address)
    problems: list[str] = []
    page.on("dialog", lambda dialog: problems.append(dialog.message) or dialog.dismiss())
    page.get_by_role("button", name="New conversation").click()
    ask(page, "When do the gates of the zoo open? <img src=x onerror=\"document.title='owned'\">")
    expect(page.locator("#passages pre").first).to_contain_text("<script>")
    expect(page.locator("article").last.locator(".asked")).to_contain_text("<img src=x")
    page.reload()
    expect(page.locator("article").last.locator(".asked")).to_contain_text("<img src=x")
    assert page.title() == "Ask the documents"
    assert page.locator("main img, main script").count() == 0
    assert not problems
    page.close()


@pytest.mark.parametrize(
    ("width", "scheme"), [pytest.param(DESKTOP, "light", marks=pytest.mark.nightly), (PHONE, "dark")]
)
def test_open_to_everyone(browser: Browser, address: str, width: int, scheme: str) -> None:
    with window(browser, width, scheme) as context:
        page = context.new_page()
        problems = watch(page)
        page.goto(address)
        page.get_by_label("Your question").fill("How long does the otter sleep?")
        page.keyboard.press("Enter")
        expect(page.locator("#status")).to_have_text("The answer is there")
        assert not axe(page) + misfits(page) + problems


@pytest.mark.nightly
def test_what_is_too_long_or_too_often_is_refused(browser: Browser, address: str) -> None:
    page = opened(browser, address)
    page.evaluate("document.getElementById('question').removeAttribute('maxlength')")
    ask(page, "long " * 101)
    expect(page.get_by_role("alert")).to_contain_text("504 characters must have 1 to 500")
    made = page.evaluate("location.hash.slice(1)")
    statuses = page.evaluate(
        """async (made) => {
            const {headers} = await import("/shared/frame.js");
            const found = [];
            for (let i = 0; i < 40; i++) {
                const answer = await fetch("/api/answers", {
                    method: "POST",
                    headers: headers(),
                    body: JSON.stringify({document: made, question: "otter?"}),
                });
                await answer.text();
                found.push(answer.status);
            }
            return found;
        }""",
        made,
    )
    assert statuses[0] == 200
    assert statuses[-1] == 429
    ask(page, "How long does the otter sleep?")
    expect(page.get_by_role("alert")).to_contain_text("are the limit; try again in")
    page.close()


class _Model(http.server.BaseHTTPRequestHandler):
    """An endpoint whose model says one thing that is in its first passage, and one that is not."""

    asked: list[dict] = []  # noqa: RUF012  # of the class: a handler lives for one request

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(body)
        passage = body["messages"][1]["content"].split("\n\n[2]")[0]
        sentence = re.search(r"The \w+ sleeps \d+ hours a day", passage)[0]
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for piece in (sentence, " [1].", " It dreams of ", "electric sheep [1]."):
            chunk = json.dumps({"choices": [{"delta": {"content": piece}}]})
            self.wfile.write(f"data: {chunk}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.nightly
def test_a_model_behind_a_url_reads_the_passages_and_what_it_makes_up_is_marked(
    browser: Browser, run: Path, tmp_path: Path
) -> None:
    shutil.copytree(run, tmp_path, dirs_exist_ok=True)  # the first one belongs to the other application
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Model) as endpoint:
        threading.Thread(target=endpoint.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{endpoint.server_port}/v1"
        with served(tmp_path, "--url", url, "--model", "dreamer") as address:
            page = opened(browser, address)
            page.get_by_role("button", name="New conversation").click()
            ask(page, "How long does the otter sleep?")
            card = page.locator("article").last
            expect(card.locator(".said")).to_contain_text("electric sheep")
            expect(card.locator(".claims li")).to_have_count(1)
            expect(card.locator(".claims")).to_contain_text(
                "Not in a cited passage: It dreams of electric sheep"
            )
            assert _Model.asked[-1]["model"] == "dreamer"
            assert "[1] " in _Model.asked[-1]["messages"][1]["content"]
            page.close()
        endpoint.shutdown()
