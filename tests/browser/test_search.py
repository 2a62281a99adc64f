"""The search box in a browser: results for what stands in it, after each keystroke, for everyone."""

import statistics
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.windows import DESKTOP, PHONE, axe, watch, window
from tests.search import PAGE, TYPED, first

pytestmark = pytest.mark.browser

FIELD = ".md-search__input"
RESULTS = ".md-search-result__link"
# Remembers when the worker was asked what, and when it answered.
RECORD = """
    window.asked = [];
    window.Worker = class extends Worker {
      constructor(...given) {
        super(...given);
        this.addEventListener("message", ({ data }) => {
          if (data.type === 3) asked.at(-1).seconds = (performance.now() - asked.at(-1).at) / 1000;
        });
      }
      postMessage(message, ...rest) {
        if (message.type === 2) asked.push({ query: message.data, at: performance.now() });
        super.postMessage(message, ...rest);
      }
    };
"""
ANSWERED = "query => asked.at(-1)?.query === query && asked.at(-1).seconds !== undefined"
# What Enter opens: of the first page the result with the highest score.
BEST = """() => {
    const links = [...document.querySelectorAll(".md-search-result__item:first-child [href]")];
    const score = (link) => Number(link.querySelector("[data-md-score]").dataset.mdScore);
    const [best] = links.sort((a, b) => score(b) - score(a));
    if (!best) return null;
    const url = new URL(best.href);
    return url.pathname + url.hash;
}"""


@pytest.fixture
def page(browser: Browser, site_url: str) -> Iterator[Page]:
    """A page of the guide on which nobody has searched."""
    with window(browser, DESKTOP) as context:
        page = context.new_page()
        page.add_init_script(RECORD)
        page.goto(f"{site_url}learn/attention/")
        yield page


def best(page: Page, site_url: str, query: str) -> str | None:
    """The address below the site that Enter would open, once the query is answered.

    Raises:
        TimeoutError: After 10 s; the slowest keystroke took 15 s of the processor before.
    """
    page.wait_for_function(ANSWERED, arg=query, timeout=10_000, polling=10)
    found = page.evaluate(BEST)
    return found and f"http://{page.evaluate('location.host')}{found}".removeprefix(site_url)


@pytest.mark.parametrize(
    "texts", [TYPED[::14], pytest.param(TYPED, marks=pytest.mark.nightly)], ids=["some", "all"]
)
def test_each_keystroke_has_its_own_results(page: Page, site_url: str, texts: list[str]) -> None:
    typed = [text[:n] for text in texts for n in range(1, len(text) + 1)]
    expected = first([*dict.fromkeys(typed)])
    page.keyboard.press("/")
    for text in texts:
        page.locator(FIELD).fill("")
        assert best(page, site_url, "") is None
        for n in range(1, len(text) + 1):
            page.keyboard.type(text[n - 1])
            assert best(page, site_url, text[:n]) == expected[text[:n]], text[:n]
    seconds = page.evaluate("asked.map(({ seconds }) => seconds).filter(Number.isFinite)")
    assert len(seconds) >= len(typed)
    assert statistics.median(seconds) < 0.5


def test_what_is_pasted_by_mouse_has_its_own_results(page: Page, site_url: str) -> None:
    page.keyboard.press("/")
    page.keyboard.type("rope")
    expected = first(["rope", PAGE, ""])
    assert best(page, site_url, "rope") == expected["rope"]
    for text in (PAGE, ""):
        page.locator(FIELD).fill(text)  # an input event, and no key
        assert best(page, site_url, text) == expected[text]
    expect(page.locator(RESULTS)).to_have_count(0)


def test_enter_opens_the_section_and_marks_the_words(page: Page, site_url: str) -> None:
    page.keyboard.press("s")
    page.keyboard.type("why sqrt d")
    expect(page.locator(RESULTS).first).to_be_visible()
    best(page, site_url, "why sqrt d")
    page.keyboard.press("Enter")
    page.wait_for_url("**/learn/attention/?h=sqrt#why-divide-by-the-square-root")
    expect(page.locator(".md-search__output")).to_be_hidden()


def test_the_number_of_results_is_announced_and_escape_leaves_the_search(page: Page) -> None:
    page.keyboard.press("/")
    page.keyboard.type("KV cache")
    expect(page.get_by_role("status").filter(has_text="matching documents")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(RESULTS).first).to_be_hidden()


def test_a_link_with_a_query_shows_its_results(browser: Browser, site_url: str) -> None:
    with window(browser, DESKTOP) as context:
        page = context.new_page()
        page.goto(f"{site_url}?q=top-p")
        expect(page.locator(RESULTS).filter(has_text="Cutting the tail").first).to_be_visible()


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
def test_results_are_open_to_everyone(browser: Browser, site_url: str, width: int, scheme: str) -> None:
    with window(browser, width, scheme) as context:
        page = context.new_page()
        problems = watch(page)
        page.goto(f"{site_url}glossary/")
        page.locator(FIELD).focus()
        page.keyboard.type("KV cache")
        expect(page.locator(RESULTS).first).to_be_visible()
        more = page.locator(".md-search-result__more")
        if more.count():
            more.first.locator("summary").click()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        problems += axe(page, within=".md-search")  # test_every_page sees the page below
        assert not problems, "\n".join(problems)
