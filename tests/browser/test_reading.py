"""How a page is set: a face for each role, a measure, long code folded, and cues on what scrolls sideways."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.windows import DESKTOP, PHONE, window

pytestmark = pytest.mark.browser

LONG = ".long:not(details *)"


@pytest.fixture(scope="module")
def desktop(browser: Browser, site_url: str) -> Iterator[Page]:
    with window(browser, DESKTOP) as context:
        page = context.new_page()
        page.goto(f"{site_url}learn/pretraining/")
        yield page


def test_each_role_has_one_face(desktop: Page) -> None:
    faces = desktop.evaluate(
        "selectors => selectors.map(name => getComputedStyle(document.querySelector(name)).fontFamily)",
        [
            *(
                ".md-header__topic",
                ".md-tabs__link",
                ".md-nav__link",
                ".md-footer",
                "article h1",
                "article h2",
            ),
            *("article pre > code", "article p code"),
            "article > p:not([class])",
        ],
    )
    sans, mono, serif = set(faces[:6]), set(faces[6:8]), faces[8]
    assert len(sans) == len(mono) == 1
    assert "system-ui" in sans.pop()
    assert mono.pop().startswith("ui-monospace")
    assert serif.startswith("Charter")


def test_text_and_formulas_share_a_measure(desktop: Page) -> None:
    text, formula = desktop.evaluate(
        """() => ["article > p:not([class])", "article > .math-display"].map(selector => {
          const { left, right } = document.querySelector(selector).getBoundingClientRect();
          return [left, right];
        })"""
    )
    assert formula[0] == pytest.approx(text[0], abs=1)
    assert formula[1] >= text[1] - 1
    em = desktop.evaluate(
        "parseFloat(getComputedStyle(document.querySelector('article > p:not([class])')).fontSize)"
    )
    assert (text[1] - text[0]) / em < 36  # about 70 characters of such a face


def test_long_code_unfolds_and_folds_by_key(desktop: Page) -> None:
    block = desktop.locator(LONG).first
    code = block.locator("code")
    n_lines = len(str(code.text_content()).rstrip().split("\n"))
    button = block.get_by_role("button", name=f"Show all {n_lines} lines")
    expect(button).to_have_attribute("aria-expanded", "false")
    before = code.bounding_box()
    button.focus()
    desktop.keyboard.press("Enter")
    fewer = block.get_by_role("button", name="Show fewer lines")
    expect(fewer).to_have_attribute("aria-expanded", "true")
    after = code.bounding_box()
    assert before
    assert after
    assert after["height"] > 1.5 * before["height"]
    assert code.evaluate("code => code.scrollHeight <= code.clientHeight + 1")
    desktop.keyboard.press("Enter")
    expect(button).to_be_focused()
    assert code.evaluate("code => code.scrollHeight > code.clientHeight + 1")


def test_folded_code_unfolds_for_what_is_sought_in_it(browser: Browser, site_url: str) -> None:
    with window(browser, DESKTOP) as context:
        page = context.new_page()
        page.goto(f"{site_url}learn/pretraining/")
        code = page.locator(f"{LONG} code").first
        # No script can search as a reader does; a browser brings a word that it has found into view so.
        code.locator("span").last.evaluate("word => word.scrollIntoView({block: 'center'})")
        expect(code.locator("xpath=../..").get_by_role("button", name="Show fewer lines")).to_be_visible()
        expect(code.locator("span").last).to_be_in_viewport()


def test_long_code_is_whole_in_print_and_without_scripts(browser: Browser, site_url: str) -> None:
    whole = "blocks => blocks.every(code => code.scrollHeight <= code.clientHeight + 1)"
    with window(browser, DESKTOP) as context:
        page = context.new_page()
        page.goto(f"{site_url}learn/pretraining/")
        page.emulate_media(media="print")
        assert page.locator(f"{LONG} code").evaluate_all(whole)
        expect(page.locator(".unfold").first).to_be_hidden()
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{site_url}learn/pretraining/")
    assert page.locator(f"{LONG} code").evaluate_all(whole)
    expect(page.locator(".unfold")).to_have_count(0)
    context.close()


def test_a_folded_cell_is_edited_in_full(browser: Browser, site_url: str) -> None:
    with window(browser, DESKTOP) as context:
        page = context.new_page()
        page.goto(f"{site_url}learn/pretraining/")
        cell = page.locator(f".cell:has({LONG})").first
        cell.get_by_role("button", name="Edit").press("Enter")
        expect(cell.locator(".cm-content")).to_be_visible()
        expect(cell.locator(".unfold")).to_be_hidden()
        expect(cell.get_by_role("button", name="Run")).to_be_visible()


def test_what_scrolls_sideways_fades_where_it_goes_on(browser: Browser, site_url: str) -> None:
    fade = "box => getComputedStyle(box).maskImage"
    with window(browser, PHONE) as context:
        page = context.new_page()
        page.goto(f"{site_url}learn/attention/")
        boxes = page.locator("article :is(pre > code, .table-scroll):visible").all()[:20]
        scrolling = [box for box in boxes if box.evaluate("box => box.scrollWidth > box.clientWidth")]
        still = next(box for box in boxes if box not in scrolling)
        assert still.evaluate(fade) == "none"
        for box in scrolling[:3]:
            box.scroll_into_view_if_needed()
            ends = []
            for left in ("0", "box.scrollWidth"):
                box.evaluate(f"box => {{ box.scrollLeft = {left}; }}")
                page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
                ends.append(box.evaluate(fade))
            assert ends[0].startswith("linear-gradient(to left")
            assert ends[1].startswith("linear-gradient(to right")


def test_a_button_does_not_move_when_it_takes_the_focus_from_another_cell(
    browser: Browser, site_url: str
) -> None:
    """The release would fall beside it, and the click be lost."""
    settle = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))))"
    middle = "button => { const box = button.getBoundingClientRect(); return [box.x + 9, box.y + 9]; }"
    with window(browser, DESKTOP) as context:
        page = context.new_page()
        page.goto(f"{site_url}learn/attention/")
        page.wait_for_selector(".cell-bar", state="attached")
        page.evaluate("document.querySelectorAll('details').forEach(it => { it.open = true; })")
        for number in range(1, 6):
            button = page.get_by_role("button", name=f"Edit cell {number}", exact=True)
            button.evaluate("button => button.scrollIntoView({ block: 'center' })")
            for _ in range(3):
                page.evaluate(settle)
            place = button.evaluate(middle)
            page.mouse.move(*place)
            page.mouse.down()
            page.evaluate(settle)
            assert button.evaluate(middle) == pytest.approx(place), f"cell {number}"
            page.mouse.move(5, 5)  # no click: an editor would change the heights
            page.mouse.up()
