"""Every page of the built site, on a desktop and a phone, in light and dark: sound, and open to everyone."""

import json
from collections import Counter

import pytest
from playwright.sync_api import Browser, Page
from tests.browser.conftest import SITE
from tests.browser.looks import BY_COLOR, LAY_OUT, colors
from tests.browser.windows import DESKTOP, OPEN, PHONE, axe, misfits, watch, window

pytestmark = pytest.mark.browser


def look_at(page: Page, url: str, schemes: dict[int, str], looks: Counter[str]) -> list[str]:
    """What is wrong with a page in windows of some widths, its folded blocks opened."""
    page.goto(url, wait_until="load")
    page.evaluate(OPEN)
    page.evaluate("document.fonts.ready.then(() => true)")
    found = []
    for width, scheme in schemes.items():
        resize(page, width, scheme)
        found += misfits(page)
    page.evaluate(LAY_OUT)
    # All else is the same in both palettes; boxes scroll above all on a phone, the last width.
    found += axe(page, without=BY_COLOR)
    for width, scheme in reversed(schemes.items()):
        resize(page, width, scheme)
        found += colors(page, looks)
    return found


def resize(page: Page, width: int, scheme: str) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)


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


# Layout depends on the width and colors on the scheme; one of each pair on every page sees both.
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
    looks: Counter[str] = Counter()
    with window(browser, PHONE, "dark") as context:
        page = context.new_page()
        problems = watch(page)
        for name in names:
            schemes = {DESKTOP: "light", PHONE: "dark"}
            problems += look_at(page, site_url + name.removesuffix("index.html"), schemes, looks)
            found += [f"{name}: {problem}" for problem in problems]
            problems.clear()
    assert not found, "\n".join(found)


# On a desktop for the rules of axe that test_every_page leaves out there; on the phone all have been applied.
OTHER_WAY = [(DESKTOP, "dark"), (PHONE, "light")]
CHAPTER, MODULE = "learn/attention/", "reference/nn/attention/"
MORE = [
    "",
    "learn/concepts/",
    "learn/concepts/tokens/",
    "learn/concepts/positions/",
    "learn/concepts/sampling/",
]
MORE += ["learn/transformer/", "learn/families/", "parity/"]


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [
        (CHAPTER, *OTHER_WAY[0]),
        (MODULE, *OTHER_WAY[0]),
        *(pytest.param(name, *OTHER_WAY[0], marks=pytest.mark.nightly) for name in MORE),
        *(pytest.param(name, *OTHER_WAY[1], marks=pytest.mark.nightly) for name in (CHAPTER, MODULE, *MORE)),
    ],
)
def test_chapters_and_a_page_of_each_kind_the_other_way(
    browser: Browser, site_url: str, name: str, width: int, scheme: str
) -> None:
    with window(browser, width, scheme) as context:
        page = context.new_page()
        problems = watch(page)
        assert not problems + look_at(page, site_url + name, {width: scheme}, Counter())


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
    schemes = {DESKTOP: "light", PHONE: "dark"}
    looks: Counter[str] = Counter()
    with window(browser, PHONE, "dark") as context:
        page = context.new_page()
        assert not look_at(page, f"{site_url}learn/families/", schemes, looks)
        page.add_init_script(f"({PLANT})({json.dumps(''.join(PLANTED.values()))})")
        found = look_at(page, f"{site_url}learn/families/", schemes, looks)
    assert {wrong for wrong in PLANTED if not any(wrong in problem for problem in found)} == set(), found
