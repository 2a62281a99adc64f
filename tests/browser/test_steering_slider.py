"""The slider below a cell, in Chromium: over what the page stores, over the reader's own, and from a link."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect
from site_tools.tab.widgets import download

from tests.browser.cells import PLAIN, Reader, cell, run, write
from tests.browser.host import SITE, Host
from tests.browser.windows import DESKTOP, PHONE, axe, misfits

pytestmark = pytest.mark.browser

MINUS = "\N{MINUS SIGN}"
STORED = {-2: "It is bad.\\nVery", -1: "It is so-so.", 0: "It is.", 1: "It is good.", 2: "It is a &lt;b&gt;."}
OUTPUT = "".join(f"{s:+.1f} '{text}'\n" for s, text in STORED.items())
CODE = 'for s in (-1, -0.5, 0, 0.5, 1):\n    print(f\'{s:+.1f} {"mine" + int(2 + 2 * s) * "!"!r}\')'


def place_slider(host: Host) -> None:
    """Answer with a page that has one cell, and the slider below it."""
    html = (SITE / PLAIN / "index.html").read_text(encoding="utf-8")
    body = (
        '<div class="highlight run" data-cell="0" data-needs="core" data-loads="core:6.4">'
        "<pre><code>1</code></pre></div>"
        f'<div class="highlight output"><pre><code>{OUTPUT}</code></pre></div>'
        '<div class="widget" data-widget="steering" data-label="the slider" '
        f'data-bytes="{download("steering")}"><p>A button starts it.</p></div>'
    )
    page = re.sub("</h1>.*</article>", lambda _: f"</h1>{body}</article>", html, flags=re.DOTALL)
    host.answers[f"{PLAIN}/"] = page.encode()


def widget(page: Page) -> Locator:
    return page.locator('[data-widget="steering"]')


def slider(page: Page) -> Locator:
    return widget(page).get_by_role("slider", name="Strength")


def expect_shown(page: Page, strength: str, completion: str, origin: str) -> None:
    """Look at what is seen, and at what a screen reader says."""
    expect(widget(page).locator(".written")).to_have_text(f"'{completion}'")
    expect(widget(page).locator(".value")).to_have_text(strength)
    expect(slider(page)).to_have_attribute("aria-valuetext", f"{strength}: '{completion}'")
    expect(widget(page)).to_contain_text(origin)


@pytest.mark.parametrize(
    ("width", "scheme"), [pytest.param(DESKTOP, "light", marks=pytest.mark.nightly), (PHONE, "dark")]
)
def test_the_slider_shows_the_stored_completions_without_python(
    reader: Reader, width: int, scheme: str
) -> None:
    place_slider(reader.host)
    page, problems = reader.open(PLAIN)
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    assert not [path for path in reader.host.asked if path.endswith("steering.js")]
    widget(page).get_by_role("button", name="Start the slider").click()
    expect(slider(page)).to_be_focused()
    expect_shown(page, "0", "It is.", "stored with the page")
    for key, strength, completion in (
        ("ArrowLeft", f"{MINUS}1", "It is so-so."),
        ("Home", f"{MINUS}2", "It is bad.\\nVery"),
        ("End", "2", "It is a <b>."),
    ):
        page.keyboard.press(key)
        expect_shown(page, strength, completion, "stored with the page")
    left, top, wide, high = (slider(page).bounding_box() or {}).values()
    page.mouse.move(left + wide - 5, top + high / 2)
    page.mouse.down()
    page.mouse.move(left + 0.75 * wide, top + high / 2)
    page.mouse.up()
    expect_shown(page, "1", "It is good.", "stored with the page")
    assert not [path for path in reader.host.asked if "pyodide" in path]
    assert not problems + misfits(page) + axe(page)


@pytest.mark.nightly
def test_after_a_run_the_slider_shows_what_the_run_printed(reader: Reader) -> None:
    place_slider(reader.host)
    page, problems = reader.open(PLAIN)
    widget(page).get_by_role("button", name="Start the slider").click()
    expect(slider(page)).to_be_focused()
    page.keyboard.press("ArrowRight")
    write(page, cell(page, 0), CODE)
    run(page, cell(page, 0))
    expect_shown(page, "1", "mine!!!!", "of your run")
    expect(slider(page)).to_have_attribute("max", "4")
    slider(page).press("ArrowLeft")
    expect_shown(page, "0.5", "mine!!!", "of your run")
    assert slider(page).evaluate("it => it === document.activeElement")
    write(page, cell(page, 0), f"{CODE}\n1 / 0")
    run(page, cell(page, 0))
    expect_shown(page, "0", "It is.", "stored with the page")  # the nearest of the stored ones
    write(page, cell(page, 0), "print('something else')")
    run(page, cell(page, 0))
    expect_shown(page, "0", "It is.", "stored with the page")
    assert not problems + axe(page)


@pytest.mark.parametrize(
    ("query", "strength"),
    [
        ("strength=0.9", 1),
        *(
            pytest.param(*link, marks=pytest.mark.nightly)
            for link in (("strength=-2", -2), ("strength=1e999", 0), ("strength=x", 0), ("", 0))
        ),
    ],
)
def test_a_link_starts_the_slider_where_it_was(reader: Reader, query: str, strength: int) -> None:
    place_slider(reader.host)
    page, problems = reader.open(f"{PLAIN}/#steering?{query}")
    expect(widget(page).locator(".value")).to_have_text(str(strength).replace("-", MINUS))
    widget(page).locator(".permalink").click()
    assert page.evaluate("location.hash") == f"#steering?strength={strength}"
    assert not problems
