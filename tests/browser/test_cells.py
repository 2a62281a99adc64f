"""What a reader does with a cell: edit, run, reset, reload, move on."""

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.cells import (
    PATIENCE,
    PLAIN,
    Reader,
    cell,
    go_home_and_back,
    open_page,
    plain_cell,
    pythons,
    run,
    write,
)
from tests.browser.host import SITE, serving
from tests.browser.windows import DESKTOP, PHONE, PUBLIC, axe

pytestmark = pytest.mark.browser


def test_a_run_shows_where_it_ran_and_keeps_the_focus(reader: Reader) -> None:
    page, problems = reader.open(PLAIN)
    box = plain_cell(page)
    expect(box.locator(".cell-note")).to_contain_text("MB once")
    box.locator(".cell-run").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#cell-announcer")).to_contain_text("In your tab", timeout=PATIENCE)
    expect(box.locator(".cell-run")).to_be_focused()
    expect(box.locator(".cell-run")).to_have_text("Run")
    assert f"{PLAIN}/3" in json.loads(page.evaluate("localStorage['llmguide.run']"))
    above = cell(page, 2)
    expect(above.locator(".cell-note")).to_have_text("Runs in your tab")  # Python is loaded already
    above.get_by_role("button", name="Cell 2: details").press("Enter")
    expect(above.locator(".cell-details")).not_to_contain_text("above first")
    assert not problems


def test_edit_run_reload_reset(reader: Reader) -> None:
    page, problems = reader.open(PLAIN)
    box = plain_cell(page)
    original = box.locator("[data-cell] > pre > code").text_content()
    write(page, box, 'print("mine", 6 * 7)')
    page.keyboard.press("Control+Enter")
    expect(box.locator(".cell-result code")).to_have_text("mine 42\n", timeout=PATIENCE)
    page.reload()
    box = plain_cell(page)
    expect(box.locator("[data-cell] > pre > code")).to_have_text('print("mine", 6 * 7)\n')
    box.get_by_role("button", name="Reset").click()
    expect(box.locator("[data-cell] > pre > code")).to_have_text(original)
    expect(box.get_by_role("button", name="Edit")).to_be_focused()
    page.reload()
    expect(plain_cell(page).locator("[data-cell] > pre > code")).to_have_text(original)
    assert not problems


@pytest.fixture(scope="module")
def plain(returning: Reader) -> Iterator[Page]:
    """One page, and one Python, for the tests that write into a cell and look at what comes of it."""
    page, problems = open_page(returning.context, returning.host, PLAIN)
    yield page
    page.close()
    returning.leave()
    assert not problems


def test_the_editor_completes_names_and_lets_the_keyboard_out(plain: Page) -> None:
    page, box = plain, plain_cell(plain)
    write(page, box, "a_long_name = [1]")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#cell-announcer")).to_contain_text("In your tab", timeout=PATIENCE)
    write(page, box, "a_long_name")
    page.keyboard.type(".appe")
    expect(page.locator(".cm-tooltip-autocomplete")).to_contain_text("append")
    page.wait_for_timeout(200)  # CodeMirror takes no Enter for a choice in a list's first 75 ms
    page.keyboard.press("Enter")
    expect(box.locator(".cm-content")).to_have_text("a_long_name.append")
    page.keyboard.press("Escape")
    page.keyboard.press("Tab")
    assert page.evaluate("!document.activeElement.closest('.cm-editor')"), "the editor keeps the focus"


def test_an_error_shows_the_readers_lines_only(plain: Page) -> None:
    page, box = plain, plain_cell(plain)
    write(page, box, "import json\n\ndef read(text):\n    return json.loads(text)\n\nread('[')")
    assert "an error" in run(page, box)
    shown = box.locator(".cell-result .error").text_content()
    assert shown.count("File ") == 2
    assert "line 6, in <module>" in shown
    assert "line 4, in read" in shown
    assert shown.rstrip().endswith("JSONDecodeError: Expecting value: line 1 column 2 (char 1)")


def test_output_is_shown_while_it_is_printed_and_capped(plain: Page) -> None:
    page, box = plain, plain_cell(plain)
    write(page, box, "print('begun')\nwhile True: pass")
    box.locator(".cell-run").click()
    expect(box.locator(".cell-result code")).to_have_text("begun\n", timeout=PATIENCE)
    box.get_by_role("button", name="Stop").click()
    expect(box.locator(".cell-run")).to_have_text("Run")
    write(page, box, "for i in range(100_000): print('line', i)")
    run(page, box)
    text = box.locator(".cell-result code").first.text_content()
    assert text.startswith("line 0\nline 1\n")
    assert "the rest is left out" in text
    assert len(text) < 66_000


def test_cells_above_run_first_and_a_failing_one_is_named(reader: Reader) -> None:
    page, _ = reader.open(PLAIN)
    page.evaluate("document.querySelectorAll('details').forEach(it => { it.open = true; })")
    for number, code in enumerate(["shared = 41", "pass", "print(shared + 1)"], start=1):
        write(page, cell(page, number), code)
    run(page, cell(page, 3))
    assert cell(page, 3).locator(".cell-result code").text_content() == "42\n"
    write(page, cell(page, 1), "1 / 0")
    page.reload()
    assert "Cell 1 above failed" in run(page, cell(page, 3))
    assert "ZeroDivisionError" in cell(page, 1).locator(".cell-result .error").text_content()


def test_one_worker_serves_the_whole_visit(reader: Reader) -> None:
    sitemap = (SITE / "sitemap.xml").read_text(encoding="utf-8")
    reader.host.answers["sitemap.xml"] = sitemap.replace(PUBLIC, reader.host.url).encode()
    page, problems = reader.open(PLAIN)
    run(page, plain_cell(page))
    assert len(pythons(page)) == 1
    reader.host.forget()
    go_home_and_back(page)
    said = run(page, plain_cell(page))
    assert "error" not in said
    assert len(pythons(page)) == 1
    assert not [path for path in reader.host.asked if "pyodide" in path], "Python was loaded twice"
    assert not problems


@pytest.mark.nightly
def test_an_endless_loop_of_a_page_that_was_left_can_be_stopped(reader: Reader) -> None:
    sitemap = (SITE / "sitemap.xml").read_text(encoding="utf-8")
    reader.host.answers["sitemap.xml"] = sitemap.replace(PUBLIC, reader.host.url).encode()
    page, problems = reader.open(PLAIN)
    write(page, plain_cell(page), "print('begun')\nwhile True:\n    pass")
    plain_cell(page).locator(".cell-run").click()
    expect(plain_cell(page).locator(".cell-result code")).to_have_text("begun\n", timeout=PATIENCE)
    go_home_and_back(page)
    box = plain_cell(page)
    box.locator(".cell-run").click()
    expect(box.locator(".cell-note")).to_contain_text("Stop ends both")
    box.get_by_role("button", name="Stop").click()
    expect(page.locator("#cell-announcer")).to_contain_text("Variables are kept")
    expect(box.locator(".cell-run")).to_have_text("Run")
    write(page, box, "print('free again')")
    run(page, box)
    expect(box.locator(".cell-result code")).to_have_text("free again\n")
    assert not problems


def test_without_scripts_the_page_is_code_and_stored_output(browser: Browser) -> None:
    with serving() as host:
        context = browser.new_context(java_script_enabled=False)
        page = context.new_page()
        page.goto(f"{host.url}{PLAIN}/")
        assert page.locator("[data-cell]").count() > 10
        assert page.locator(".cell, .cell-bar, article button").count() == 0
        assert page.locator(".highlight.output").first.text_content().strip()
        context.close()


@pytest.mark.parametrize(
    ("width", "scheme"), [(DESKTOP, "dark"), pytest.param(PHONE, "light", marks=pytest.mark.nightly)]
)
def test_cells_are_accessible_in_every_state(reader: Reader, width: int, scheme: str) -> None:
    page, problems = reader.open(PLAIN)
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    box = plain_cell(page)
    plain = ".cell:has([data-cell='3'])"  # as plain_cell; test_every_page sees the rest, and idle ones
    states = {}
    box.get_by_role("button", name="Edit").click()
    page.wait_for_selector(".cm-content")
    states["editing"] = axe(page, within=plain)
    write(page, box, "print('text')\n1 / 0")
    run(page, box)
    states["failed"] = axe(page, within=plain)
    write(page, box, "while True: pass")
    box.locator(".cell-run").click()
    expect(box.locator(".cell-note")).to_have_text("Running")
    states["running"] = axe(page, within=plain)
    box.get_by_role("button", name="Stop").click()
    expect(page.locator("#cell-announcer")).to_contain_text("Stopped")
    states["stopped"] = axe(page, within=plain)
    extra = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert extra <= 0, f"the page is {extra} px wider than the window"
    assert {state: found for state, found in states.items() if found} == {}
    assert page.locator("[role=status]#cell-announcer").count() == 1
    assert not problems
