"""The questions that find a reader's place, in Chromium: from the keyboard, on a phone in the dark."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.host import SITE
from tests.browser.windows import DESKTOP, PHONE, axe, misfits, watch, window

pytestmark = pytest.mark.browser

ANSWER = """() => {
  const variant = document.querySelector(".placement .variant");
  const [right] = JSON.parse(variant.dataset.answer);
  if (variant.dataset.kind === "numeric") variant.querySelector("input").value = String(right);
  else variant.querySelectorAll("input")[right].checked = true;
}"""


def placement() -> dict[str, Any]:
    """What the page is given; site_tools.content.placement reads every page for it."""
    return json.loads((SITE / "assets" / "vendor" / "placement.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(browser: Browser, site_url: str) -> Iterator[Page]:
    """The page, for a reader who has read a chapter and solved one of its exercises."""
    with window(browser, DESKTOP) as context:
        page = context.new_page()
        problems = watch(page)
        page.goto(f"{site_url}robots.txt")
        page.evaluate("""localStorage["llmguide.read"] = '{"learn/attention": true}'""")
        page.evaluate("""localStorage["llmguide.exercises"] = '{"causal-mask": true}'""")
        page.goto(f"{site_url}start/")
        yield page
        assert not problems


def test_a_reader_is_placed_from_the_keyboard(page: Page) -> None:
    """They know the first four steps: the Transformer and attention, and nothing above."""
    rung = {item["id"]: item["rung"] for item in placement()["items"]}
    expect(page.locator(".placement ol > li")).to_have_count(len(placement()["steps"]))
    page.get_by_role("button", name="Find my place").press("Enter")
    said = page.locator(".placement .score output")
    for n in range(1, 16):
        expect(page.locator(".placement .from")).to_have_text(f"Question {n} of at most 15")
        expect(page.locator(".placement .from")).to_be_focused()
        question = page.locator(".placement .question").get_attribute("id")
        assert question is not None
        if rung[question] < 4:
            page.evaluate(ANSWER)
            page.locator(".placement").get_by_role("button", name="Check").press("Enter")
            expect(page.locator(".placement .result")).to_contain_text("Right.")
            page.locator(".placement .rating button").press("Enter")  # Next question, or where to start
        else:
            page.get_by_role("button", name="I do not know").press("Enter")
        expect(page.locator(f".placement .question[id='{question}']")).to_have_count(0)
        expect(page.locator(":focus")).to_be_visible()
        if "Start with" in (said.text_content() or ""):
            break
    expect(said).to_contain_text("Start with Positions and context")
    expect(said).to_be_focused()
    assert not axe(page)


def test_the_path_ticks_what_is_done_and_the_answers_stay(page: Page, site_url: str) -> None:
    page.reload()
    expect(page.locator(".placement .score output")).to_contain_text("Start with Positions and context")
    expect(page.locator(".placement ol > li").first).to_contain_text("Positions and context")
    known = page.locator(".placement details")
    known.locator("summary").click()
    expect(known.get_by_role("listitem").filter(has_text="The attention mechanism")).to_contain_text(
        "✓ read, 1 of 4 exercises"
    )
    assert not json.loads(page.evaluate("localStorage['llmguide.cards'] ?? '{}'"))  # they are no reviews
    page.get_by_role("button", name="Start over").click()
    expect(page.get_by_role("button", name="Find my place")).to_be_focused()
    expect(page.locator(".placement ol > li")).to_have_count(len(placement()["steps"]))


def test_a_question_on_a_phone_in_the_dark(browser: Browser, site_url: str) -> None:
    with window(browser, PHONE, "dark") as context:
        page = context.new_page()
        problems = watch(page)
        page.goto(f"{site_url}start/")
        page.get_by_role("button", name="Find my place").click()
        expect(page.locator(".placement .question form")).to_be_visible()
        assert not misfits(page) + axe(page) + problems
