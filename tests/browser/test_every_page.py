"""Every page of the built site, on a desktop and a phone, in light and dark: sound, and open to everyone."""

import json
from collections.abc import Iterable

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.host import SITE
from tests.browser.looks import BY_COLOR, FLATTEN, LAY_OUT, colors
from tests.browser.windows import DESKTOP, OPEN, PHONE, axe, misfits, watch, window

pytestmark = pytest.mark.browser

PALETTES = {"light": "default", "dark": "slate"}
# One template makes navigation and footer for all pages; a page of each kind is looked at with them.
WITHOUT_FRAME = """document.querySelectorAll(".md-sidebar--primary .md-nav__list, .md-footer").forEach(
  part => part.replaceChildren())"""


def look_at(page: Page, url: str, widths: Iterable[int], looks: set[str], *, frame: bool = True) -> list[str]:
    """What is wrong with a page in windows of some widths, its folded blocks opened.

    In the last one, axe looks at it: by color in both palettes, and by all else in one.
    """
    found = []
    page.emulate_media(color_scheme="light")
    for number, width in enumerate(widths):
        page.set_viewport_size({"width": width, "height": 900})
        if number == 0:
            page.goto(url, wait_until="load")
            page.evaluate(OPEN)
            page.evaluate("document.fonts.ready.then(() => true)")
        found += misfits(page)
    if not frame:
        page.evaluate(WITHOUT_FRAME)
    page.evaluate(LAY_OUT)
    for scheme, palette in PALETTES.items():
        page.emulate_media(color_scheme=scheme)
        page.locator(f"[data-md-color-scheme={palette}]").first.wait_for()
        found += colors(page, looks)
    page.evaluate(FLATTEN)
    return found + axe(page, without=BY_COLOR)


# No page is in assets/, whose names change with their content.
PLACES = [SITE, *(place for place in SITE.glob("*/") if place.name != "assets")]
NAMES = sorted(
    path.relative_to(SITE).as_posix()
    for place in PLACES
    for path in (place.glob("*.html") if place == SITE else place.rglob("*.html"))
)
REFERENCE = [name for name in NAMES if name.startswith("reference/")]
# The pages of the reference have one template. One in 24 is looked at here, the rest each night.
REST = [name for number, name in enumerate(REFERENCE) if number % 24]


# What has been looked at in one part has the same colors in the next: the style sheets are the same.
LOOKS: set[str] = set()


# In many parts, because a page that changes repeats its part.
@pytest.mark.parametrize(
    "names",
    [
        *(pytest.param(sorted({*NAMES} - {*REST})[part::20], id=f"{part}") for part in range(20)),
        *(pytest.param(REST[part::4], id=f"rest-{part}", marks=pytest.mark.nightly) for part in range(4)),
    ],
)
def test_every_page(browser: Browser, site_url: str, names: list[str]) -> None:
    assert names
    found = []
    with window(browser, DESKTOP) as context:
        page = context.new_page()
        problems = watch(page)
        for name in names:
            url = site_url + name.removesuffix("index.html")
            problems += look_at(page, url, [DESKTOP, PHONE], LOOKS, frame=False)
            found += [f"{name}: {problem}" for problem in problems]
            problems.clear()
    assert not found, "\n".join(found)


CHAPTER, MODULE = "learn/attention/", "reference/nn/attention/"
MORE = [
    "",
    "learn/concepts/",
    "learn/concepts/tokens/",
    "learn/concepts/positions/",
    "learn/concepts/sampling/",
]
MORE += ["learn/transformer/", "learn/families/", "parity/"]


# The test of planted mistakes looks at one with its frame on a phone.
@pytest.mark.parametrize(
    ("name", "width"),
    [
        (CHAPTER, DESKTOP),
        (MODULE, DESKTOP),
        *(pytest.param(name, DESKTOP, marks=pytest.mark.nightly) for name in MORE),
        *(pytest.param(name, PHONE, marks=pytest.mark.nightly) for name in (CHAPTER, MODULE, *MORE)),
    ],
)
def test_chapters_and_a_page_of_each_kind_with_their_frame(
    browser: Browser, site_url: str, name: str, width: int
) -> None:
    with window(browser, width) as context:
        page = context.new_page()
        problems = watch(page)
        assert not problems + look_at(page, site_url + name, [width], set())


# Added to a page when it opens: what is to be found, by the words that name it.
PLANTED = {
    "axe color-contrast: <span class=": "",
    "axe color-contrast: <p": "",
    "axe image-alt": '<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=" width="9" height="9">',
    "axe button-name": "<button></button>",
    "px wider than the window": '<p class="planted-wide">wide</p>',
    "no size": '<span class="katex-html"></span>',
    "empty heading": "<table><tr><th></th></tr></table>",
}
PLANT = """html => addEventListener("DOMContentLoaded", () => {
  const style = new CSSStyleSheet();
  style.replaceSync(`
    article pre span[class] { color: #555 !important }  /* too dark for the dark palette */
    article > p { color: #bbb !important }  /* too light for the light one */
    .planted-wide { width: 200vw }`);
  document.adoptedStyleSheets.push(style);
  document.querySelector("article").insertAdjacentHTML("beforeend", html);
})"""


def test_what_is_wrong_with_a_page_is_found_when_a_sound_one_has_been_seen(
    browser: Browser, site_url: str
) -> None:
    looks: set[str] = set()
    with window(browser, DESKTOP) as context:
        page = context.new_page()
        assert not look_at(page, f"{site_url}learn/families/", [DESKTOP, PHONE], looks)
        page.add_init_script(f"({PLANT})({json.dumps(''.join(PLANTED.values()))})")
        found = look_at(page, f"{site_url}learn/families/", [DESKTOP, PHONE], looks)
    assert {wrong for wrong in PLANTED if not any(wrong in problem for problem in found)} == set(), found
