"""What a reader does on any page: read, print, search, follow links, reach everything with the keyboard."""

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.host import SITE
from tests.browser.places import expect_to_land
from tests.browser.windows import DESKTOP, PHONE, PUBLIC, watch, window

pytestmark = pytest.mark.browser


def test_the_palette_follows_the_system(browser: Browser, site_url: str) -> None:
    with window(browser, DESKTOP, "light") as context:
        page = context.new_page()
        page.goto(site_url)
        page.emulate_media(color_scheme="dark")
        expect(page.locator("body")).to_have_attribute("data-md-color-scheme", "slate")


def test_what_is_printed_is_dark_on_white(browser: Browser, site_url: str) -> None:
    with window(browser, DESKTOP, "dark") as context:
        page = context.new_page()
        page.goto(site_url)
        page.emulate_media(media="print")
        expect(page.locator("article p").first).to_have_css("color", re.compile(r"rgb\(([0-9]|[0-9]{2}), "))
        expect(page.locator(".md-code__nav").first).to_be_hidden()


def test_skip_link_is_the_first_stop(browser: Browser, site_url: str) -> None:
    with window(browser, DESKTOP) as context:
        page = context.new_page()
        page.goto(f"{site_url}learn/attention/")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.matches('.md-skip')")
        page.keyboard.press("Enter")
        expect(page).to_have_url(re.compile("#."))


def test_controls_keep_their_names_while_a_tooltip_shows(browser: Browser, site_url: str) -> None:
    with window(browser, DESKTOP) as context:
        page = context.new_page()
        page.goto(site_url)
        page.locator("pre > code:visible").first.scroll_into_view_if_needed()
        # comes when the code is near; the first focus scrolls away from it
        page.get_by_role("button", name="Copy to clipboard").first.wait_for(state="attached")
        for role, name in (("link", "Edit this page"), ("button", "Copy to clipboard")):
            control = page.get_by_role(role, name=name).first
            control.focus()
            expect(page.get_by_role("tooltip")).to_have_text(name)
            expect(control).not_to_have_attribute("title", name)  # the tooltip has it
            expect(control).to_have_accessible_name(name)
            page.keyboard.press("Escape")
            expect(page.get_by_role("tooltip")).to_have_count(0)
            expect(control).to_have_attribute("title", name)


def test_a_tooltip_shows_inside_the_window_and_describes_its_term(browser: Browser, site_url: str) -> None:
    with window(browser, PHONE) as context:
        page = context.new_page()
        page.goto(f"{site_url}learn/attention/")
        term = page.locator("article a.term").first
        title = str(term.get_attribute("title"))
        term.hover()
        tip = page.get_by_role("tooltip")
        expect(tip).to_have_text(title)
        expect(term).to_have_accessible_description(title)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        tip.hover()  # it can be read at leisure
        expect(tip).to_be_visible()
        page.locator("article h1").hover()
        expect(tip).to_have_count(0)
        expect(term).to_have_attribute("title", title)


def test_search_works_from_the_keyboard(browser: Browser, site_url: str) -> None:
    with window(browser, DESKTOP) as context:
        page = context.new_page()
        problems = watch(page)
        page.goto(site_url)
        page.keyboard.press("/")
        page.keyboard.type("attention")
        results = page.locator(".md-search-result__link")
        expect(results.first).to_be_visible()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        page.wait_for_url("**/*?h=*")
        assert not problems, "\n".join(problems)


def test_tab_leads_from_the_search_to_what_is_seen(browser: Browser, site_url: str) -> None:
    with window(browser, DESKTOP) as context:
        page = context.new_page()
        page.goto(site_url)
        field = page.get_by_role("textbox", name="Search")
        field.focus()
        page.keyboard.press("Tab")
        expect(page.locator(".md-tabs__link").first).to_be_focused()


def test_the_drawer_of_a_phone_opens_and_is_no_stop_while_closed(browser: Browser, site_url: str) -> None:
    with window(browser, PHONE) as context:
        page = context.new_page()
        page.goto(f"{site_url}reference/nn/attention/")
        link = page.locator(".md-nav__link", has_text="kv_cache")
        link.focus()
        expect(link).not_to_be_focused()
        page.locator(".md-header__button[for=__drawer]").click()
        expect(link).to_be_in_viewport()
        link.focus()
        expect(link).to_be_focused()
        page.locator(".md-overlay").click(position={"x": 380, "y": 400})
        expect(page.locator(".md-sidebar--primary .md-sidebar__scrollwrap")).to_have_css(
            "content-visibility", "hidden"
        )
        link.focus()
        expect(link).not_to_be_focused()


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("apply_rope", "reference/nn/rope/"),
        pytest.param("KVCache", "reference/nn/kv_cache/", marks=pytest.mark.nightly),
        pytest.param("pi_ref", "glossary/", marks=pytest.mark.nightly),
    ],
)
def test_functions_and_symbols_are_found_as_they_are_typed(
    browser: Browser, site_url: str, typed: str, found: str
) -> None:
    with window(browser, DESKTOP) as context:
        page = context.new_page()
        page.goto(f"{site_url}?q={typed}")
        expect(page.locator(".md-search-result__link").first).to_be_attached(timeout=60_000)
        addresses = [
            str(link.get_attribute("href")) for link in page.locator(".md-search-result__link").all()
        ]
        assert any(found in address for address in addresses[:5]), addresses


def open_for_instant_navigation(page: Page, site_url: str, path: str) -> None:
    # The theme compares links with the sitemap, which holds the public address, but for the port.
    sitemap = (SITE / "sitemap.xml").read_text(encoding="utf-8").replace(PUBLIC, site_url)
    page.route("**/sitemap.xml", lambda route: route.fulfill(body=sitemap, content_type="text/xml"))
    with page.expect_response("**/sitemap.xml"):
        page.goto(f"{site_url}{path}")
    page.evaluate("window.survives = true")


def test_instant_navigation_keeps_the_page_alive(browser: Browser, site_url: str) -> None:
    with window(browser, DESKTOP) as context:
        page = context.new_page()
        problems = watch(page)
        open_for_instant_navigation(page, site_url, "")
        page.locator(".md-tabs__link", has_text="Reference").click()
        expect(page.locator("article h1")).to_contain_text("Reference")
        assert page.evaluate("window.survives"), "the browser loaded the whole page anew"
        assert not problems


def test_formulas_have_their_fonts_and_their_text(browser: Browser, site_url: str) -> None:
    with window(browser, DESKTOP) as context:
        page = context.new_page()
        page.goto(f"{site_url}learn/attention/")
        assert page.locator(".katex-html").count() == page.locator(".katex-mathml math").count() > 0
        page.locator(".katex-html").first.scroll_into_view_if_needed()  # asks for the font
        page.wait_for_function("document.fonts.check('16px KaTeX_Main')")


def test_a_box_that_scrolls_is_reached_with_tab(browser: Browser, site_url: str) -> None:
    with window(browser, PHONE) as context:
        page = context.new_page()
        page.goto(f"{site_url}learn/attention/")
        seen = set()
        for box in page.locator(":is(pre > code, .table-scroll, .math-display):visible").all()[:12]:
            box.scroll_into_view_if_needed()
            # measured anew until they agree: what came near is laid out, and a font may still come
            page.wait_for_function(
                "box => (box.scrollWidth > box.clientWidth) === (box.tabIndex === 0)",
                arg=box.element_handle(),
            )
            seen.add(box.evaluate("box => box.tabIndex"))
        assert seen == {0, -1}


@pytest.mark.parametrize("width", [DESKTOP, pytest.param(PHONE, marks=pytest.mark.nightly)])
def test_a_link_to_a_place_lands_there(browser: Browser, site_url: str, width: int) -> None:
    place = "llmguide.nn.positions.alibi_bias"
    reference = f"{site_url}reference/nn/positions/"
    with window(browser, width) as context:
        page = context.new_page()
        target = page.locator(f"[id='{place}']")

        def follow(end: str) -> None:
            page.locator(f"a[href$='{end}']").first.dispatch_event("click")  # a click would scroll first

        page.goto(f"{reference}#{place}")
        expect_to_land(target)
        page.goto("about:blank")
        page.goto(reference)
        page.wait_for_function("history.state")  # the theme keeps the place there 0.1 s after a scroll
        page.evaluate("place => { location.hash = place; }", place)
        expect_to_land(target)
        open_for_instant_navigation(page, site_url, "learn/concepts/positions/")
        page.wait_for_function("history.state")
        follow(f"#{place}")
        expect_to_land(target)
        open_for_instant_navigation(page, site_url, "reference/nn/masks/")
        page.wait_for_function("history.state")
        follow("/reference/nn/positions/")
        expect(page.locator("article h1")).to_contain_text("positions")
        follow(f"#{place}")
        expect_to_land(target)
        assert page.evaluate("window.survives")


def test_what_is_out_of_sight_is_not_laid_out_and_is_found_all_the_same(
    browser: Browser, site_url: str
) -> None:
    with window(browser, PHONE) as context:
        page = context.new_page()
        page.goto(f"{site_url}learn/attention/#exercises")
        heading = page.locator("h2#exercises")
        expect(heading).to_be_in_viewport()
        page.goto(f"{site_url}learn/attention/")
        far = page.locator("article > .table-scroll").last
        laid_out = "box => box.firstElementChild.checkVisibility({contentVisibilityAuto: true})"
        assert not far.evaluate(laid_out)
        assert page.evaluate(
            "window.find(document.querySelector('h2#sources + ul li').textContent.slice(0, 20))"
        )
        expect(page.locator("h2#sources + ul")).to_be_in_viewport()
        far.scroll_into_view_if_needed()
        page.wait_for_function(laid_out, arg=far.element_handle())
