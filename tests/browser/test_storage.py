"""Storage may hold anything, or be denied: quiz, checklists, exercises, progress and cells work anyway."""

import json

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import representative
from tests.browser.named import CHAPTER, EXERCISES
from tests.browser.test_quiz import FIRST, answer_rightly, result
from tests.browser.windows import DESKTOP, watch, window

pytestmark = pytest.mark.browser

EXERCISE = EXERCISES[0]
QUESTION = FIRST.questions[0]
KINDS = ("quiz", "ticked", "exercises", "drafts", "read", "run", "cards")
KEYS = [f"llmguide.{kind}" for kind in KINDS]
HOSTILE = [
    "5",
    "true",
    '"x"',
    "1e999",
    "null",
    "[[1], {}]",
    "no JSON",
    json.dumps({QUESTION.id: {"right": True}, EXERCISE: [1], "__proto__": 7}),
]
DENIED = """Object.defineProperty(window, "localStorage", {
  get() { throw new DOMException("The request was denied.", "SecurityError"); }
})"""


def look_at_everything(page: Page, site_url: str) -> None:
    """Visit a page of each kind that reads from storage, the quiz last; what it builds has to be there."""
    page.goto(f"{site_url}resources/")
    boxes = page.locator(".checklist").first.get_by_role("checkbox")
    expect(boxes.first).not_to_be_checked()
    boxes.first.check()
    expect(page.locator(".checklist output").first).to_contain_text("1 of")
    page.goto(f"{site_url}{CHAPTER}/")
    expect(page.get_by_role("button", name=f"Check exercise {EXERCISE}")).to_be_visible()
    expect(page.get_by_role("button", name=f"Reset exercise {EXERCISE}")).to_be_hidden()
    expect(page.locator(".exercise .mark:not(:empty)")).to_have_count(0)
    expect(page.get_by_role("button", name="Run cell 1", exact=True)).to_be_visible()
    page.goto(f"{site_url}exercises/")
    expect(page.locator(".exercise-list .score").first).to_contain_text("0 of")
    page.goto(f"{site_url}progress/")
    expect(page.get_by_role("row", name="Essential concepts")).to_contain_text("0 of")
    page.goto(f"{site_url}quiz/foundations/")
    score = page.locator(f"[data-chapter={FIRST.name}] .score output")
    expect(score).to_have_text(f"0 of {len(FIRST.questions)} right, 0 answered")
    answer_rightly(page, QUESTION)
    expect(result(page, QUESTION)).to_contain_text("Right.")


@pytest.mark.parametrize("stored", representative(HOSTILE, HOSTILE[-1]))
def test_storage_may_hold_anything(browser: Browser, site_url: str, stored: str) -> None:
    with window(browser, DESKTOP) as context:
        page = context.new_page()
        problems = watch(page)
        page.goto(f"{site_url}robots.txt")
        page.evaluate("([keys, text]) => keys.forEach(key => localStorage[key] = text)", [KEYS, stored])
        look_at_everything(page, site_url)
        page.reload()  # what was kept replaced what was there
        score = page.locator(f"[data-chapter={FIRST.name}] .score output")
        expect(score).to_have_text(f"1 of {len(FIRST.questions)} right, 1 answered")
        assert not problems


def test_storage_may_be_denied(browser: Browser, site_url: str) -> None:
    with window(browser, DESKTOP) as context:
        context.add_init_script(DENIED)
        look_at_everything(context.new_page(), site_url)
