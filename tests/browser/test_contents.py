"""A link to a place of a long page lands there at the first click, by mouse, key and Back."""

import random

import pytest
from playwright.sync_api import Browser, Locator, Page
from tests.browser.windows import DESKTOP, PHONE

pytestmark = pytest.mark.browser

PAGES = ("attention", "concepts/sampling", "transformer")
AT_ITS_PLACE = """place => {
  const heading = document.getElementById(place);
  const margin = parseFloat(getComputedStyle(heading).scrollMarginTop);
  const atTheEnd = scrollY + innerHeight >= document.documentElement.scrollHeight - 2;
  const past = heading.getBoundingClientRect().top - margin;
  return margin > 0 && (Math.abs(past) < 28 || (atTheEnd && past > 0));  // a line
}"""


def entries(page: Page) -> list[Locator]:
    """The links of the table of contents, which is in the page twice."""
    return page.locator(".md-sidebar--secondary a.md-nav__link[href*='#']").all()


def place(entry: Locator) -> str:
    return str(entry.evaluate("link => decodeURIComponent(link.hash.slice(1))"))


def assert_at(page: Page, target: str) -> None:
    page.wait_for_function(AT_ITS_PLACE, arg=target)
    page.wait_for_timeout(600)  # what is laid out late would move it
    assert page.evaluate(AT_ITS_PLACE, target), target


# On the phone the contents are in the drawer, so that the click comes from a script there.
@pytest.mark.parametrize(("width", "motion"), [(DESKTOP, "no-preference"), (PHONE, "reduce")])
@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.nightly)])  # chooses other entries
def test_the_first_click_on_an_entry_of_the_contents_lands(
    browser: Browser, site_url: str, name: str, width: int, *, motion: str, seed: int
) -> None:
    rng = random.Random(f"{name} {width} {seed}")
    for key in ("Enter", None):
        page = browser.new_page(viewport={"width": width, "height": 900}, reduced_motion=motion)
        page.goto(f"{site_url}learn/{name}/")
        entry, other = rng.sample(entries(page), 2)
        target = place(entry)
        if key and width == DESKTOP:
            entry.focus()
            page.keyboard.press(key)
        else:
            entry.dispatch_event("click")
        assert_at(page, target)
        other.dispatch_event("click")
        assert_at(page, place(other))
        page.go_back()
        assert_at(page, target)
        page.go_back()
        page.wait_for_function("scrollY === 0 && !location.hash")
        page.close()


def test_a_reader_who_scrolls_on_is_not_taken_back(browser: Browser, site_url: str) -> None:
    page = browser.new_page(viewport={"width": DESKTOP, "height": 900})
    page.goto(f"{site_url}learn/attention/")
    entry = entries(page)[4]
    entry.dispatch_event("click")
    page.wait_for_function(AT_ITS_PLACE, arg=place(entry))
    page.mouse.move(600, 500)
    page.mouse.wheel(0, 1500)
    page.wait_for_function(
        "place => document.getElementById(place).getBoundingClientRect().top < -900", arg=place(entry)
    )
    page.wait_for_timeout(600)
    assert page.evaluate(
        "place => document.getElementById(place).getBoundingClientRect().top < -900", place(entry)
    )
    page.close()
