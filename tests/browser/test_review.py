"""Review cards in Chromium: made from answers, reviewed in place, announced where they are due."""

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from site_tools.content.anki import HEAD

from tests.browser.named import WITHOUT_EXERCISES
from tests.browser.test_quiz import PART, answer_rightly, first_of, form, result
from tests.browser.windows import DESKTOP, PHONE, axe, misfits, watch, window

pytestmark = pytest.mark.browser

DAY = 86_400_000  # ms
QUESTION = first_of("numeric")
CARDS = {
    QUESTION.id: {"stability": 3.0, "difficulty": 5.0, "reviewed": -5 * DAY, "due": -2 * DAY},
    "exercise-causal-mask": {"stability": 3.0, "difficulty": 5.0, "reviewed": -5 * DAY, "due": -DAY},
    "attention-cat": {"stability": 9.0, "difficulty": 5.0, "reviewed": -DAY, "due": 8 * DAY},
}
STORE = """cards => {
  for (const card of Object.values(cards)) for (const time of ["reviewed", "due"]) card[time] += Date.now();
  localStorage["llmguide.cards"] = JSON.stringify(cards);
}"""


def cards(page: Page) -> dict[str, dict[str, float]]:
    return json.loads(page.evaluate("localStorage['llmguide.cards'] ?? '{}'"))


def days_until_due(page: Page, name: str) -> float:
    card = cards(page)[name]
    return (card["due"] - card["reviewed"]) / DAY


def button(page: Page, name: str) -> Locator:
    return page.locator(".review .rating").get_by_role("button", name=name)


@pytest.fixture(scope="module")
def page(browser: Browser, site_url: str) -> Iterator[Page]:
    """One page for all tests, with two cards due and one that is not."""
    with window(browser, DESKTOP) as context:
        page = context.new_page()
        problems = watch(page)
        page.goto(f"{site_url}robots.txt")
        page.evaluate(STORE, CARDS)
        yield page
        assert not problems


def test_an_answer_becomes_a_card_and_only_the_first_of_a_day_counts(page: Page, site_url: str) -> None:
    page.goto(f"{site_url}quiz/foundations/")
    question = first_of("single")
    wrong = next(i for i, choice in enumerate(question.variants[0].choices) if not choice.right)
    form(page, question).locator("input").nth(wrong).check()
    page.keyboard.press("Enter")
    expect(result(page, question)).to_contain_text("Not right.")
    page.wait_for_function("id => id in JSON.parse(localStorage['llmguide.cards'])", arg=question.id)
    first = cards(page)[question.id]
    assert days_until_due(page, question.id) == 1  # Again
    answer_rightly(page, question)
    expect(result(page, question)).to_contain_text("Right.")
    other = first_of("order")
    answer_rightly(page, other)
    page.wait_for_function("id => id in JSON.parse(localStorage['llmguide.cards'])", arg=other.id)
    assert days_until_due(page, other.id) == 2  # Good
    assert cards(page)[question.id] == first


def test_a_page_says_what_is_due_there_and_nothing_moves(page: Page, site_url: str) -> None:
    for path, words in (
        ("", "2 cards are due"),
        ("learn/attention/", "1 card is due"),
        ("learn/concepts/", ""),
    ):
        page.goto(site_url + path)
        if words:
            link = page.locator(".due").get_by_role("link", name=words)
            expect(link).to_have_attribute("href", f"{site_url}review/")
            first = page.locator("article h1")
            before = first.bounding_box()
            page.locator(".due").evaluate("line => line.remove()")
            assert first.bounding_box() == before
    page.wait_for_load_state("networkidle")
    expect(page.locator(".due")).to_have_count(0)


def test_a_card_is_answered_and_rated_from_the_keyboard(page: Page, site_url: str) -> None:
    page.goto(f"{site_url}review/")
    expect(page.locator(".review .score")).to_have_text("2 cards are due")
    field = page.locator(f".review #{QUESTION.id} input")
    answer = json.loads(str(page.locator(".review .variant").get_attribute("data-answer")))[0]
    field.focus()
    page.keyboard.type(str(answer))
    page.keyboard.press("Enter")
    expect(page.locator(".review .result")).to_contain_text("Right.")
    expect(page.locator(".review [role=status]")).to_contain_text("Noted as Good")
    good = days_until_due(page, QUESTION.id)
    assert good > 3
    assert not axe(page)
    button(page, "Easy").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".review .score")).to_have_text("1 card is due")
    expect(page.locator(".review .from")).to_be_focused()
    assert days_until_due(page, QUESTION.id) > good


def test_an_exercise_can_be_given_up(page: Page) -> None:
    expect(page.locator(".review .exercise .stub")).to_contain_text("def causal_mask(T_q, T_k):")
    expect(
        page.locator(".review .exercise").get_by_role("button", name="Check exercise causal-mask")
    ).to_be_visible()
    button(page, "I do not remember").click()
    expect(page.locator(".review details.success")).to_have_attribute("open", "")
    expect(page.locator(".review [role=status]")).to_contain_text("Noted as Again")
    button(page, "Next card").click()
    expect(page.locator(".review .score output")).to_be_focused()
    expect(page.locator(".review .score")).to_contain_text("Nothing is due. You have 5 cards")
    expect(page.locator(".review .card")).to_be_empty()


def test_another_tab_agrees(page: Page, site_url: str) -> None:
    other = page.context.new_page()
    other.goto(f"{site_url}review/")
    expect(other.locator(".review .score")).to_contain_text("Nothing is due")
    other.close()
    second = page.context.new_page()
    second.goto(f"{site_url}robots.txt")
    second.evaluate(STORE, {QUESTION.id: CARDS[QUESTION.id]})
    second.close()
    expect(page.locator(".review .score")).to_have_text("1 card is due")
    expect(page.locator(f".review #{QUESTION.id} form")).to_be_visible()


def test_a_review_on_a_phone_in_the_dark(browser: Browser, site_url: str) -> None:
    with window(browser, PHONE, "dark") as context:
        page = context.new_page()
        problems = watch(page)
        page.goto(f"{site_url}robots.txt")
        page.evaluate(STORE, {"exercise-causal-mask": CARDS["exercise-causal-mask"]})
        page.goto(f"{site_url}review/")
        expect(page.locator(".review .exercise .cell-bar")).to_be_visible()
        assert not misfits(page) + axe(page) + problems


# ---- the page of progress --------------------------------------------------------------------------------


def row(page: Page, chapter: str) -> Locator:
    return page.get_by_role("row", name=chapter).get_by_role("cell")


def test_progress_follows_the_reader_and_another_tab(page: Page, site_url: str) -> None:
    page.goto(f"{site_url}{WITHOUT_EXERCISES}/")
    page.evaluate("document.querySelector('article').lastElementChild.scrollIntoView()")
    page.wait_for_function(f"(localStorage['llmguide.read'] ?? '').includes('{WITHOUT_EXERCISES}')")
    page.goto(f"{site_url}progress/")
    questions = [question for chapter in PART for question in chapter.questions]
    n_questions = sum(question.see.startswith(f"{WITHOUT_EXERCISES}.md#") for question in questions)
    expected = ["yes", "0 of 1", f"0 of {n_questions}", "0", "none", "0"]
    expect(row(page, "Essential concepts")).to_have_text(expected)
    expect(row(page, "Introduction to large language models").last).to_have_text("1")  # due
    other = page.context.new_page()
    other.goto(f"{site_url}robots.txt")
    other.evaluate("""localStorage["llmguide.run"] = '{"learn/concepts/1": true}'""")
    other.close()
    expect(row(page, "Essential concepts").nth(1)).to_have_text("1 of 1")
    assert not axe(page)


def test_progress_goes_along_as_a_file(page: Page, browser: Browser, site_url: str) -> None:
    with page.expect_download() as download:
        page.get_by_role("button", name="Export as a file").click()
    with window(browser, PHONE, "dark") as context:
        other = context.new_page()
        problems = watch(other)
        other.goto(f"{site_url}progress/")
        expect(row(other, "Essential concepts").first).to_have_text("no")
        file = other.locator("input[type=file]")
        file.set_input_files({"name": "half.json", "mimeType": "application/json", "buffer": b'{"format": '})
        expect(other.locator(".overview output")).to_contain_text("not complete JSON")
        expect(row(other, "Essential concepts").first).to_have_text("no")
        file.set_input_files(download.value.path())
        expect(other.locator(".overview output")).to_contain_text("Imported")
        expect(row(other, "Essential concepts").first).to_have_text("yes")
        assert not misfits(other) + axe(other) + problems


def test_anki_gets_the_readers_cards(page: Page) -> None:
    with page.expect_download() as download:
        page.get_by_role("button", name="Export my cards for Anki").click()
    lines = download.value.path().read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("#")] == HEAD.splitlines()
    assert {line.partition("\t")[0] for line in lines if not line.startswith("#")} == cards(page).keys()
