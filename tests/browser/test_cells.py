"""Every Run button of every page, and what a reader does with a cell: edit, run, reset, reload, move on."""

import json
import math
from collections.abc import Sequence
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from site_tools import DOCS, page_paths
from site_tools.markdown.cells import cells_of
from tests.browser.conftest import SITE
from tests.browser.host import Host, serving
from tests.browser.test_pages import DESKTOP, PHONE, PUBLIC, axe, watch, window

pytestmark = pytest.mark.browser

MANIFEST = SITE / "assets" / "vendor" / "runtime.json"
PATIENCE = 300_000  # ms that one cell with all cells above it may take on a busy machine
PAGES = [
    path.relative_to(DOCS).with_suffix("").as_posix()
    for path in page_paths()
    if cells_of(path.read_text(encoding="utf-8"))
]
PLAIN = "code/prompting"  # its first three cells need Python alone, and the third prints


def needs_wheels() -> None:
    """Skip where numpy could not be had at build time: only the CDN has it then."""
    steps = json.loads(MANIFEST.read_text(encoding="utf-8"))["steps"].values()
    if any(wheel["url"].startswith("http") for step in steps for wheel in step.get("wheels", [])):
        pytest.skip("NOT TESTED: numpy's wheel could not be had when the site was built")


def open_page(context, host: Host, name: str) -> tuple[Page, list[str]]:
    page = context.new_page()
    problems = watch(page)
    page.goto(f"{host.url}{name.removesuffix('index')}")
    page.wait_for_selector(".cell-bar", state="attached")
    return page, problems


def cell(page: Page, number: int) -> Locator:
    return page.locator(f".cell:has([data-cell='{number}'])")


def plain_cell(page: Page) -> Locator:
    """A cell of PLAIN that needs Python alone, prints, and has two cells above it."""
    return cell(page, 3)


def run(page: Page, box: Locator) -> str:
    """Press Run, and wait for what is announced at the end."""
    page.evaluate("document.getElementById('cell-announcer').textContent = ''")
    box.locator(".cell-run").evaluate("button => button.click()")  # also in a folded block
    said = page.locator("#cell-announcer")
    expect(said).not_to_be_empty(timeout=PATIENCE)
    return said.text_content() or ""


def difference(page: Page, number: int) -> list[str]:
    """Press Run on a cell; what is announced and shown unless that is the stored output."""
    box = cell(page, number)
    has_output = page.evaluate(
        """number => {
          const box = document.querySelector(`[data-cell="${number}"]`).closest(".cell");
          return Boolean(box.querySelector(".output") ?? box.closest("details.how"));
        }""",
        number,
    )
    is_figure = "figure" in (box.locator("[data-cell]").get_attribute("class") or "")
    said = run(page, box)
    silent = (is_figure or not has_output) and "error" not in said and "differs" not in said
    if "failed" not in said and (silent or "equal to the stored output" in said):
        return []
    shown = page.locator(".cell-result .error").last
    return [f"{said}\n{shown.text_content() if shown.count() else ''}"]


def pythons(page: Page) -> list[str]:
    """The workers that run Python; the theme's search has one of its own."""
    return [worker.url for worker in page.workers if worker.url.endswith("runtime/worker.mjs")]


def go_home_and_back(page: Page) -> None:
    """Leave the page and come back by instant navigation; both pages have cells."""
    page.evaluate("window.survives = true")
    page.locator(".md-tabs__link, .md-nav__link").locator("visible=true").filter(
        has_text="Home"
    ).first.click()
    expect(page.locator(".lead")).to_be_visible()
    page.go_back()
    expect(page.locator(".lead")).to_have_count(0)
    page.wait_for_selector(".cell-bar", state="attached")
    assert page.evaluate("window.survives"), "the browser loaded the whole page anew"


def write(page: Page, box: Locator, code: str) -> None:
    """Replace the code of a cell, as a reader would."""
    if box.get_by_role("button", name="Edit").is_visible():
        box.get_by_role("button", name="Edit").click()
    box.locator(".cm-content").click()
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(code)


# ---- every cell ------------------------------------------------------------------------------------


# Seconds that a page's cells may take where it was built; the tab takes about twice as long. What trains for
# longer is run by site_tools.cells.check_in_tab alone, and each night in the tab itself (`make nightly`).
MOST = 8


def thirds(names: Sequence[str], part: int) -> list[Any]:
    """One name in three for `make test`, all for each night: each page is in one of the three parts."""
    return [
        name if number % 3 == part else pytest.param(name, marks=pytest.mark.nightly)
        for number, name in enumerate(names)
    ]


def press_cells(browser: Browser, name: str, most: float) -> None:
    """Press the cells of a page from the top, up to so many seconds of them."""
    needs_wheels()
    wrong = []
    taken = 0.0
    with serving() as host, window(browser, DESKTOP) as context:
        page, problems = open_page(context, host, name)
        for number in range(1, page.locator("[data-cell]").count() + 1):
            block = cell(page, number).locator("[data-cell]")
            taken += float(block.get_attribute("data-seconds-tab") or 0)
            if taken > most and number > 1:  # the first cell always runs
                break
            if block.get_attribute("data-needs") == "local":
                assert (
                    block.get_attribute("data-reason")
                    in cell(page, number).locator(".cell-note").text_content()
                )
                continue
            if wrong := difference(page, number):
                break
        page.close()
    assert not wrong + problems, "\n".join(wrong + problems)


@pytest.mark.parametrize("name", thirds(PAGES, 0))
def test_the_first_cells_give_their_stored_outputs(browser: Browser, name: str) -> None:
    press_cells(browser, name, MOST)


@pytest.mark.nightly
@pytest.mark.parametrize("name", PAGES)
def test_every_cell_gives_its_stored_output(browser: Browser, name: str) -> None:
    press_cells(browser, name, math.inf)


# ---- one cell --------------------------------------------------------------------------------------


def test_a_run_shows_where_it_ran_and_keeps_the_focus(browser: Browser) -> None:
    with serving() as host, window(browser, DESKTOP) as context:
        page, problems = open_page(context, host, PLAIN)
        box = plain_cell(page)
        expect(box.locator(".cell-note")).to_contain_text("MB once")
        box.locator(".cell-run").focus()
        page.keyboard.press("Enter")
        expect(page.locator("#cell-announcer")).to_contain_text("In your tab", timeout=PATIENCE)
        expect(box.locator(".cell-run")).to_be_focused()
        expect(box.locator(".cell-run")).to_have_text("Run")
        assert f"{PLAIN}/3" in json.loads(page.evaluate("localStorage['llmguide.run']"))
        other = page.locator(".cell:has([data-needs='core']) .cell-note").nth(1)
        assert "MB once" not in other.text_content(), "Python is loaded already"
        assert not problems


def test_edit_run_reload_reset(browser: Browser) -> None:
    with serving() as host, window(browser, DESKTOP) as context:
        page, problems = open_page(context, host, PLAIN)
        box = plain_cell(page)
        original = box.locator("[data-cell] > pre > code").text_content()
        write(page, box, 'print("mine", 6 * 7)')
        page.keyboard.press("Control+Enter")
        expect(box.locator(".cell-result code")).to_have_text("mine 42\n", timeout=PATIENCE)
        page.reload()
        box = plain_cell(page)
        expect(box.locator("[data-cell] > pre > code")).to_have_text('print("mine", 6 * 7)\n')
        assert "equal" not in run(page, box)
        expect(box.locator(".cell-result code")).to_have_text("mine 42\n")
        box.get_by_role("button", name="Reset").click()
        expect(box.locator("[data-cell] > pre > code")).to_have_text(original)
        expect(box.get_by_role("button", name="Edit")).to_be_focused()
        page.reload()
        expect(plain_cell(page).locator("[data-cell] > pre > code")).to_have_text(original)
        assert not problems


def test_the_editor_completes_names_and_lets_the_keyboard_out(browser: Browser) -> None:
    with serving() as host, window(browser, DESKTOP) as context:
        page, problems = open_page(context, host, PLAIN)
        box = plain_cell(page)
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
        assert not problems


def test_an_error_shows_the_readers_lines_only(browser: Browser) -> None:
    with serving() as host, window(browser, DESKTOP) as context:
        page, _ = open_page(context, host, PLAIN)
        box = plain_cell(page)
        write(page, box, "import json\n\ndef read(text):\n    return json.loads(text)\n\nread('[')")
        assert "an error" in run(page, box)
        shown = box.locator(".cell-result .error").text_content()
        assert shown.count("File ") == 2
        assert "line 6, in <module>" in shown
        assert "line 4, in read" in shown
        assert shown.rstrip().endswith("JSONDecodeError: Expecting value: line 1 column 2 (char 1)")


def test_output_is_shown_while_it_is_printed_and_capped(browser: Browser) -> None:
    with serving() as host, window(browser, DESKTOP) as context:
        page, _ = open_page(context, host, PLAIN)
        box = plain_cell(page)
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


def test_cells_above_run_first_and_a_failing_one_is_named(browser: Browser) -> None:
    with serving() as host, window(browser, DESKTOP) as context:
        page, _ = open_page(context, host, PLAIN)
        page.evaluate("document.querySelectorAll('details').forEach(it => { it.open = true; })")
        for number, code in enumerate(["shared = 41", "pass", "print(shared + 1)"], start=1):
            write(page, cell(page, number), code)
        run(page, cell(page, 3))
        assert cell(page, 3).locator(".cell-result code").text_content() == "42\n"
        write(page, cell(page, 1), "1 / 0")
        page.reload()
        assert "Cell 1 above failed" in run(page, cell(page, 3))
        assert "ZeroDivisionError" in cell(page, 1).locator(".cell-result .error").text_content()


# ---- pages -----------------------------------------------------------------------------------------


def test_one_worker_serves_the_whole_visit(browser: Browser) -> None:
    sitemap = (SITE / "sitemap.xml").read_text(encoding="utf-8")
    with serving() as host, window(browser, DESKTOP) as context:
        host.answers["sitemap.xml"] = sitemap.replace(PUBLIC, host.url).encode()
        page, problems = open_page(context, host, PLAIN)
        run(page, plain_cell(page))
        assert len(pythons(page)) == 1
        host.forget()
        go_home_and_back(page)
        said = run(page, plain_cell(page))
        assert "error" not in said
        assert len(pythons(page)) == 1
        assert not [path for path in host.asked if "pyodide" in path], "Python was loaded twice"
        assert not problems


def test_an_endless_loop_of_a_page_that_was_left_can_be_stopped(browser: Browser) -> None:
    sitemap = (SITE / "sitemap.xml").read_text(encoding="utf-8")
    with serving() as host, window(browser, DESKTOP) as context:
        host.answers["sitemap.xml"] = sitemap.replace(PUBLIC, host.url).encode()
        page, problems = open_page(context, host, PLAIN)
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


@pytest.mark.parametrize(("width", "scheme"), [(DESKTOP, "dark"), (PHONE, "light")])
def test_cells_are_accessible_in_every_state(browser: Browser, width: int, scheme: str) -> None:
    with serving() as host, window(browser, width, scheme) as context:
        page, problems = open_page(context, host, PLAIN)
        box = plain_cell(page)
        states = {"idle": axe(page)}
        box.get_by_role("button", name="Edit").click()
        page.wait_for_selector(".cm-content")
        states["editing"] = axe(page)
        write(page, box, "print('text')\n1 / 0")
        run(page, box)
        states["failed"] = axe(page)
        write(page, box, "while True: pass")
        box.locator(".cell-run").click()
        expect(box.locator(".cell-note")).to_have_text("Running")
        states["running"] = axe(page)
        box.get_by_role("button", name="Stop").click()
        expect(page.locator("#cell-announcer")).to_contain_text("Stopped")
        states["stopped"] = axe(page)
        extra = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert extra <= 0, f"the page is {extra} px wider than the window"
        assert {state: found for state, found in states.items() if found} == {}
        assert page.locator("[role=status]#cell-announcer").count() == 1
        assert not problems
