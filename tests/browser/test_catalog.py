"""All questions of the quiz on one page, in Chromium: loaded by a press, filtered by what was answered."""

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect
from site_tools.content.quiz import PARTS, chapters

from tests.browser.test_quiz import PART, answer_rightly, first_of, form, result, scores
from tests.browser.windows import DESKTOP, PHONE, axe, misfits, watch, window

pytestmark = pytest.mark.browser

N = sum(len(chapter.questions) for chapter in chapters())
WRONG, DUE = (chapter.questions[0].id for chapter in chapters()[-2:])
CARD = {"stability": 3.0, "difficulty": 5.0, "reviewed": 0, "due": 1}
SHOW = "Show all questions on this page"


@pytest.fixture(scope="module")
def page(browser: Browser, site_url: str) -> Iterator[Page]:
    """The page, for a reader with a wrong answer and a card that is due."""
    with window(browser, DESKTOP) as context:
        page = context.new_page()
        problems = watch(page)
        page.goto(f"{site_url}robots.txt")
        page.evaluate(f"localStorage['llmguide.quiz'] = '{json.dumps({WRONG: False, DUE: True})}'")
        page.evaluate(f"localStorage['llmguide.cards'] = '{json.dumps({DUE: CARD})}'")
        page.goto(f"{site_url}review/")
        page.locator("article").get_by_role("link", name="quiz", exact=True).first.click()  # without a load
        yield page
        assert not problems


def press(page: Page, name: str) -> None:
    page.get_by_role("group", name="Questions to show").get_by_role("button", name=name).press("Enter")


def shown(page: Page) -> list[str]:
    return page.evaluate("[...document.querySelectorAll('.question:not([hidden])')].map(({ id }) => id)")


def expect_shown(page: Page, n: int) -> None:
    expect(page.locator(".catalog output")).to_have_text(f"{n} of {N} questions shown.")
    assert len(shown(page)) == n


def test_nothing_is_loaded_before_the_press(page: Page) -> None:
    expect(page.get_by_role("button", name=SHOW)).to_be_visible()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(500)
    assert not [url for url in asked if "/quiz/" in url]
    expect(page.locator(".question")).to_have_count(0)


def test_every_question_is_below_the_heading_of_its_chapter(page: Page) -> None:
    page.get_by_role("button", name=SHOW).press("Enter")
    expect(page.locator(".catalog output")).to_be_focused()
    expect_shown(page, N)
    expect(page.locator(".question > .variant > form")).to_have_count(N)
    found = page.evaluate(
        """[...document.querySelectorAll("[data-chapter]")].map(box => [
          box.dataset.chapter,
          box.previousElementSibling.textContent.trim(),
          [...box.querySelectorAll(".question")].map(({ id }) => id),
        ])"""
    )
    assert found == [
        [chapter.name, chapter.title, [question.id for question in chapter.questions]]
        for chapter in chapters()
    ]
    see = page.locator(f"[data-chapter={PART[0].name}] > p > a").first
    assert see.evaluate("({ href }) => new URL(href).pathname").endswith("/llmguide/learn/introduction/")


def test_filters_go_by_the_record(page: Page) -> None:
    for name, ids in (("Answered wrongly (1)", [WRONG]), ("Due for review (1)", [DUE])):
        press(page, name)
        expect_shown(page, 1)
        assert shown(page) == ids
        pressed = page.locator(".catalog [aria-pressed=true]")
        expect(pressed).to_have_text(name)
        expect(page.locator("article :is(h2, h3):visible")).to_have_count(2)  # of the part and the chapter
    press(page, f"Not answered ({N - 2})")
    expect_shown(page, N - 2)


def test_an_answer_is_recorded_and_stays_until_the_next_press(page: Page) -> None:
    question = first_of("single")
    answer_rightly(page, question)
    expect(result(page, question)).to_contain_text("Right.")
    assert scores(page)[question.id] is True
    expect(page.locator(f"[data-chapter={PART[0].name}] .score output")).to_contain_text("1 answered")
    page.wait_for_function("id => id in JSON.parse(localStorage['llmguide.cards'])", arg=question.id)
    assert question.id in shown(page)
    press(page, f"Not answered ({N - 3})")
    expect_shown(page, N - 3)
    assert question.id not in shown(page)


def test_a_reset_and_another_tab_are_counted(page: Page, site_url: str) -> None:
    press(page, "All")
    page.locator(f"[data-chapter={PART[0].name}]").get_by_role("button", name="Reset this chapter").click()
    expect(page.get_by_role("button", name=f"Not answered ({N - 2})")).to_be_visible()
    other = page.context.new_page()
    other.goto(f"{site_url}robots.txt")
    other.evaluate("localStorage['llmguide.quiz'] = '{}'")
    other.close()
    expect(page.get_by_role("button", name=f"Not answered ({N})")).to_be_visible()


def test_all_is_open_to_everyone(page: Page) -> None:
    press(page, "All")
    chapter = f"[data-chapter={PART[0].name}]"  # test_every_page sees the others on their own pages
    assert not misfits(page) + axe(page, within=".catalog") + axe(page, within=chapter)


@pytest.mark.nightly
def test_a_part_that_is_missing_is_named_and_the_rest_works(browser: Browser, site_url: str) -> None:
    code = [chapter for chapter in chapters() if chapter.name in PARTS["Code"]]
    n_code = sum(len(chapter.questions) for chapter in code)
    with window(browser, PHONE, "dark") as context:
        page = context.new_page()
        page.goto(f"{site_url}quiz/")
        page.route("**/quiz/code/", lambda route: route.abort())
        page.get_by_role("button", name=SHOW).click()
        said = page.locator(".catalog output")
        expect(said).to_have_text(
            f"{N - n_code} of {N - n_code} questions shown. "
            "These parts could not be loaded: Code. Check your connection."
        )
        for chapter in code:
            expect(page.get_by_role("link", name=chapter.title, exact=True)).to_be_visible()
        expect(form(page, first_of("single"))).to_be_visible()
        assert not misfits(page) + axe(page, ["color-contrast", "label"])
        page.unroute("**/quiz/code/")
        page.get_by_role("button", name="Try again").click()
        expect_shown(page, N)
        expect(page.get_by_role("button", name="Try again")).to_be_hidden()


@pytest.mark.nightly
def test_offline_nothing_is_loaded_and_the_page_says_so(browser: Browser, site_url: str) -> None:
    with window(browser, PHONE) as context:
        page = context.new_page()
        page.goto(f"{site_url}quiz/")
        start = page.get_by_role("button", name=SHOW)
        expect(start).to_be_visible()
        context.set_offline(True)
        start.click()
        expect(page.locator(".catalog output")).to_have_text(
            "These parts could not be loaded: Foundations, Architecture, Pre-training, Post-training, Code, "
            "Projects. Check your connection."
        )
        context.set_offline(False)
        page.get_by_role("button", name="Try again").click()
        expect_shown(page, N)


def test_without_javascript_the_links_lead_to_every_chapter(browser: Browser, site_url: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{site_url}quiz/")
    expect(page.locator("article button")).to_have_count(0)
    for chapter in chapters():
        link = page.locator("article").get_by_role("link", name=chapter.title, exact=True)
        expect(link).to_be_visible()
    context.close()
