"""The quiz in Chromium: driven from the keyboard, scored, reset, and complete without its script."""

import json
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from site_tools.content.quiz import PARTS, Question, chapters, item

from tests.browser.windows import DESKTOP, OPEN, PHONE, axe, misfits, watch, window

pytestmark = pytest.mark.browser

PART = [chapter for chapter in chapters() if chapter.name in PARTS["Foundations"]]
FIRST = PART[0]
KINDS = ("single", "multiple", "numeric", "order", "output")


@pytest.fixture(scope="module")
def quiz(browser: Browser, site_url: str) -> Iterator[Page]:
    """One page for all tests: each looks at its own question, and only the last ones load it anew."""
    with window(browser, DESKTOP) as context:
        page = context.new_page()
        problems = watch(page)
        page.goto(f"{site_url}quiz/foundations/")
        yield page
        assert not problems


def scores(page: Page) -> dict[str, bool]:
    return json.loads(page.evaluate("localStorage['llmguide.quiz']"))


def first_of(kind: str) -> Question:
    return next(q for chapter in PART for q in chapter.questions if q.kind == kind)


def form(page: Page, question: Question) -> Locator:
    return page.locator(f"#{question.id} form")


def result(page: Page, question: Question) -> Locator:
    return form(page, question).locator("output")


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def answer_rightly(page: Page, question: Question) -> None:
    """Answer the first variant with the keyboard alone."""
    variant = question.variants[0]
    where = form(page, question)
    if question.kind == "numeric":
        where.locator("input").focus()
        page.keyboard.type(variant.answer)
        press(page, "Enter")
        return
    if question.kind == "order":
        for place in range(1, len(variant.choices) + 1):
            text = next(choice.text for choice in variant.choices if choice.key == place)
            item = where.locator("li", has_text=text)
            button = item.get_by_role("button", name="Move up")
            button.focus()
            for _ in range(len(variant.choices)):
                if where.locator("li").nth(place - 1).inner_text() == item.inner_text():
                    break
                press(page, "Enter")
                assert page.evaluate("document.activeElement.ariaLabel").startswith("Move up")
    else:
        inputs = where.locator("input")
        right = [index for index, choice in enumerate(variant.choices) if choice.right]
        for index in right:
            inputs.nth(index).focus()
            press(page, "Space")
    where.get_by_role("button", name="Check").focus()
    press(page, "Enter")


def test_every_question_becomes_a_form(quiz: Page) -> None:
    n_questions = sum(len(chapter.questions) for chapter in PART)
    expect(quiz.locator(".question > .variant > form")).to_have_count(n_questions)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_answered_from_the_keyboard(quiz: Page, kind: str) -> None:
    question = first_of(kind)
    answer_rightly(quiz, question)
    expect(result(quiz, question)).to_contain_text("Right.")
    expect(result(quiz, question)).to_have_attribute("aria-live", "polite")
    assert scores(quiz)[question.id] is True


def test_arrow_keys_choose_and_tab_leads_to_the_button(quiz: Page) -> None:
    question = first_of("single")
    form(quiz, question).locator("input").first.focus()
    press(quiz, "ArrowDown", "ArrowDown")
    expect(form(quiz, question).locator("input").nth(2)).to_be_checked()
    press(quiz, "Tab")
    assert quiz.evaluate("document.activeElement.textContent") == "Check"


def test_question_is_the_name_of_its_group(quiz: Page) -> None:
    question = first_of("single")
    group = quiz.get_by_role("group", name="An n-gram model").first
    expect(group.get_by_role("radio")).to_have_count(len(question.variants[0].choices))


def test_a_wrong_choice_is_explained(quiz: Page) -> None:
    question = first_of("single")
    index, choice = next(pair for pair in enumerate(question.variants[0].choices) if not pair[1].right)
    form(quiz, question).locator("input").nth(index).check()
    press(quiz, "Enter")
    expect(result(quiz, question)).to_contain_text("Not right.")
    expect(result(quiz, question)).to_contain_text(choice.why.split("$")[0])
    assert scores(quiz)[question.id] is False


def test_a_known_wrong_number_is_explained_and_words_are_refused(quiz: Page) -> None:
    question = first_of("numeric")
    field = form(quiz, question).locator("input")
    field.fill("much")
    press(quiz, "Enter")
    expect(result(quiz, question)).to_have_text("Write a number, such as 0.25 or 1.2e9.")
    field.fill(question.variants[0].choices[0].text)
    press(quiz, "Enter")
    expect(result(quiz, question)).to_contain_text(question.variants[0].choices[0].why)


def test_choices_missed_are_named(quiz: Page) -> None:
    question = first_of("multiple")
    choices = question.variants[0].choices
    right = [index for index, choice in enumerate(choices) if choice.right]
    form(quiz, question).evaluate("form => form.reset()")
    form(quiz, question).locator("input").nth(right[0]).check()
    form(quiz, question).get_by_role("button", name="Check").click()
    expect(result(quiz, question).locator("p")).to_have_count(len(right) - 1)


def test_another_variant_has_other_numbers(quiz: Page) -> None:
    question = first_of("numeric")
    shown = form(quiz, question).locator("legend")
    before = shown.inner_text()
    for _ in question.variants[1:]:
        form(quiz, question).get_by_role("button", name="Another variant").click()
        assert shown.inner_text() != before
        assert quiz.evaluate("document.activeElement.tagName") == "INPUT"
    form(quiz, question).get_by_role("button", name="Another variant").click()
    assert shown.inner_text() == before
    expect(result(quiz, question)).to_be_empty()


def test_who_comes_back_gets_other_numbers(browser: Browser, site_url: str) -> None:
    first, *_, last = first_of("numeric").variants
    with window(browser, DESKTOP) as context:
        context.add_init_script("Math.random = () => 0.999")
        page = context.new_page()
        page.goto(f"{site_url}quiz/foundations/")
        numbers = page.locator(f"#{first_of('numeric').id} .variant")
        expect(numbers).to_have_attribute("data-answer", re.compile(rf"^\[{re.escape(first.answer)},"))
        answer_rightly(page, first_of("numeric"))
        page.reload()
        expect(numbers).to_have_attribute("data-answer", re.compile(rf"^\[{re.escape(last.answer)},"))


def test_every_chapter_is_on_the_list(quiz: Page, site_url: str) -> None:
    quiz.goto(f"{site_url}quiz/")
    for chapter in chapters():
        link = quiz.locator("article").get_by_role("link", name=chapter.title, exact=True)
        expect(link).to_have_attribute("href", re.compile(rf"#{chapter.name}$"))
    quiz.goto(f"{site_url}quiz/foundations/")


def test_score_is_kept_and_reset(quiz: Page) -> None:
    question = FIRST.questions[0]
    quiz.evaluate("localStorage.clear()")
    quiz.reload()
    score = quiz.locator(f"[data-chapter={FIRST.name}] .score")
    expect(score.locator("output")).to_have_text(f"0 of {len(FIRST.questions)} right, 0 answered")
    answer_rightly(quiz, question)
    quiz.reload()
    expect(score.locator("output")).to_have_text(f"1 of {len(FIRST.questions)} right, 1 answered")
    score.get_by_role("button", name="Reset").focus()
    press(quiz, "Enter")
    expect(score.locator("output")).to_have_text(f"0 of {len(FIRST.questions)} right, 0 answered")
    expect(score.get_by_role("button")).to_be_hidden()
    assert not scores(quiz).keys() & {question.id for question in FIRST.questions}


def test_storage_that_holds_something_else_is_no_error(quiz: Page) -> None:
    quiz.evaluate("localStorage['llmguide.quiz'] = 'not json'")
    quiz.reload()
    answer_rightly(quiz, FIRST.questions[0])
    expect(result(quiz, FIRST.questions[0])).to_contain_text("Right.")


def test_answered_questions_are_open_to_everyone(browser: Browser, site_url: str) -> None:
    with window(browser, PHONE, "dark") as context:
        page = context.new_page()
        page.goto(f"{site_url}quiz/foundations/")
        for kind in KINDS:
            answer_rightly(page, first_of(kind))
        page.evaluate(OPEN)
        assert not misfits(page) + axe(page, within=".question:has(output:not(:empty))")


@pytest.mark.parametrize(
    ("width", "scheme"), [pytest.param(DESKTOP, "light", marks=pytest.mark.nightly), (PHONE, "dark")]
)
def test_an_item_in_the_text_is_answered_from_the_keyboard(
    browser: Browser, site_url: str, width: int, scheme: str
) -> None:
    with window(browser, width, scheme) as context:
        page = context.new_page()
        problems = watch(page)
        page.goto(f"{site_url}learn/transformer/")
        question = item("transformer-exchange")
        answer_rightly(page, question)
        (right,) = [choice for choice in question.variants[0].choices if choice.right]
        expect(result(page, question)).to_have_text(f"Right. {right.why}")
        assert scores(page) == {question.id: True}
        page.wait_for_function("id => (localStorage['llmguide.cards'] ?? '').includes(id)", arg=question.id)
        expect(page.locator(".quiz .score")).to_have_count(0)
        assert not problems + misfits(page) + axe(page, within=f"#{question.id}")


def test_an_item_in_the_text_has_a_plain_form(browser: Browser, site_url: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{site_url}learn/transformer/")
    shown = page.locator("#transformer-exchange")
    expect(shown.locator(":is(form, input, button)")).to_have_count(0)
    expect(shown.locator("details li").first).to_be_hidden()
    shown.locator("summary").click()
    expect(shown.locator("details li").first).to_be_visible()
    context.close()


def test_without_the_script_every_answer_is_there(browser: Browser, site_url: str) -> None:
    context = browser.new_context(java_script_enabled=False, viewport={"width": PHONE, "height": 900})
    page = context.new_page()
    page.goto(f"{site_url}quiz/foundations/")
    n_variants = sum(len(question.variants) for chapter in PART for question in chapter.questions)
    expect(page.locator(".variant > details.answer")).to_have_count(n_variants)
    expect(page.locator(".quiz :is(form, input, button)")).to_have_count(0)
    answer = page.locator(f"#{FIRST.questions[0].id} details.answer").first
    expect(answer.locator("li").first).to_be_hidden()
    answer.locator("summary").click()
    expect(answer.locator("li").first).to_be_visible()
    context.close()
