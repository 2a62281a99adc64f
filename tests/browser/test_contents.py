"""A link to a place of a long page lands there at the first click, by mouse, key and Back."""

import random

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.conftest import representative
from tests.browser.host import wait_until
from tests.browser.places import AT_REST, IS_THERE, expect_to_land
from tests.browser.windows import DESKTOP, PHONE

pytestmark = pytest.mark.browser

PAGES = ("attention", "concepts/sampling", "transformer")


def entries(page: Page) -> list[Locator]:
    """The links of the table of contents, which is in the page twice."""
    return page.locator(".md-sidebar--secondary a.md-nav__link[href*='#']").all()


def place(entry: Locator) -> Locator:
    """The heading that an entry leads to."""
    return entry.page.locator(f"[id='{entry.evaluate('link => decodeURIComponent(link.hash.slice(1))')}']")


# On the phone the contents are in the drawer, so that the click comes from a script there.
@pytest.mark.parametrize(
    ("width", "motion"),
    [(DESKTOP, "no-preference"), pytest.param(PHONE, "reduce", marks=pytest.mark.nightly)],
)
@pytest.mark.parametrize("name", representative(PAGES, "attention"))
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
        expect_to_land(target)
        other.dispatch_event("click")
        expect_to_land(place(other))
        page.go_back()
        expect_to_land(target)
        page.go_back()
        page.wait_for_function("scrollY === 0 && !location.hash")
        page.close()


@pytest.mark.nightly
def test_a_reader_who_scrolls_on_is_not_taken_back(browser: Browser, site_url: str) -> None:
    for by in ("a click", "an address"):
        page = browser.new_page(viewport={"width": DESKTOP, "height": 900})
        page.goto(f"{site_url}learn/attention/")
        entry = entries(page)[4]
        target = place(entry)
        if by == "a click":
            entry.dispatch_event("click")
        else:
            address = page.evaluate("link => link.href", entry.element_handle())
            page.goto("about:blank")
            page.goto(address)
        wait_until(page, lambda target=target: target.evaluate(IS_THERE))
        page.mouse.move(600, 500)
        page.mouse.wheel(0, 1500)
        expect(target).not_to_be_in_viewport()
        # what comes late changes the height of the page
        page.evaluate("document.querySelector('article').append(document.createElement('hr'))")
        target.evaluate(AT_REST)
        expect(target).not_to_be_in_viewport()
        page.close()
