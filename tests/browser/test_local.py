"""`llmguide serve` in Chromium: Run uses real PyTorch, for the tab that opened the link and for no other."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Browser, Page, expect

from tests.browser.host import SITE
from tests.browser.windows import DESKTOP, watch, window

pytestmark = pytest.mark.browser

WHO = "import torch\nprint(torch.__version__, torch.__file__)"
RUN = """async (code) => {
    const guide = document.querySelector('script[src*="js/guide.js"]').src;
    const backend = await import(new URL("../runtime/backend.js", guide));
    const result = await backend.run(code, {needs: "torch"});
    return {...result, where: backend.where()};
}"""


@pytest.fixture(scope="module")
def link() -> Iterator[str]:
    """What the command prints."""
    command = [sys.executable, "-m", "llmguide", "serve", "--site", SITE, "--port", "0", "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
        process.terminate()


@pytest.fixture
def page(browser: Browser, link: str) -> Iterator[Page]:
    """A tab that has opened the link."""
    with window(browser, DESKTOP) as context:
        page = context.new_page()
        problems = watch(page)
        page.goto(link)
        page.wait_for_function("sessionStorage['llmguide.kernel']")
        yield page
        assert not problems


def test_the_token_leaves_the_address_and_the_history(page: Page, link: str) -> None:
    home, _, token = link.partition("#token=")
    assert page.url == home
    assert page.evaluate("sessionStorage['llmguide.kernel']") == token
    assert page.evaluate("Object.values(localStorage).join() + document.cookie").count(token) == 0
    assert page.evaluate("history.length") <= 2
    page.goto(f"{home}learn/attention/")
    page.go_back()
    expect(page).to_have_url(home)


def test_run_uses_the_real_torch_stops_and_is_there_again_after_a_reload_and_a_death(page: Page) -> None:
    real = ("kernel", f"{torch.__version__} {torch.__file__}\n")

    def runs() -> tuple[str, str]:
        found = page.evaluate(RUN, WHO)
        return found["where"], found["stdout"]

    assert runs() == real
    page.evaluate(RUN, "kept = 7")
    stop = RUN.replace('{needs: "torch"}', "{onStart: () => backend.stop()}")
    assert stop != RUN
    stopped = page.evaluate(stop, "while True:\n    pass")
    assert stopped["stopped"]
    assert page.evaluate(RUN, "kept")["stdout"] == "7\n"
    page.reload()
    assert runs() == real
    assert "The kernel has ended" in page.evaluate(RUN, "import os\nos._exit(1)")["error"]
    assert runs() == real


@pytest.mark.nightly
def test_the_kernel_outlives_instant_navigation(page: Page, link: str) -> None:
    page.goto(f"{link.partition('#')[0]}learn/attention/")
    assert page.evaluate(RUN, "kept = 1")["ok"]
    page.get_by_role("link", name="Pre-training").first.click()
    page.wait_for_url("**/pretraining/")
    assert page.evaluate(RUN, "kept")["stdout"] == "1\n"


def test_a_cell_that_no_tab_can_run_does(page: Page, link: str) -> None:
    page.goto(f"{link.partition('#')[0]}code/how-llms-write-code/")
    cell = page.locator(".cell", has=page.locator('[data-needs="local"]')).first
    cell.locator(".cell-run").click()
    expect(cell.locator(".cell-note")).to_contain_text("equal to the stored output", timeout=60_000)
    expect(cell.locator(".cell-note")).to_contain_text("On your machine")


# What another program at this address could have left: an edit of the first folded cell, and a draft.
PLANT = """async (code) => {
    const guide = document.querySelector('script[src*="js/guide.js"]').src;
    const {keyOf} = await import(new URL("../runtime/stored_edits.js", guide));
    const block = document.querySelector("details.how [data-cell]");
    const source = block.querySelector("code").textContent.replace(/\\n$/, "");
    const number = Number(block.dataset.cell);
    localStorage.setItem(keyOf("learn/attention", number, source), `${source}\\n${code}`);
    localStorage.setItem("llmguide.drafts", JSON.stringify({"causal-mask": code}));
    return number;
}"""


@pytest.fixture
def planted(browser: Browser, link: str, tmp_path: Path) -> Iterator[tuple[Page, int, Path]]:
    """A chapter in a tab with the kernel, the number of a cell with planted code, and the file it writes."""
    home, written = link.partition("#")[0], tmp_path / "written"
    with window(browser, DESKTOP) as context:
        earlier = context.new_page()
        earlier.goto(f"{home}learn/attention/")
        earlier.locator(".cell").first.wait_for()
        number = earlier.evaluate(PLANT, f"open({str(written)!r}, 'w').close()")
        page = context.new_page()
        problems = watch(page)
        page.goto(link)
        page.wait_for_function("sessionStorage['llmguide.kernel']")
        page.goto(f"{home}learn/attention/")
        yield page, number, written
        assert not problems


def run_below(page: Page, number: int) -> None:
    """Run the next cell, and with it those above."""
    name = re.compile(rf"Run cell {number + 1}$")
    cell = page.locator(".cell", has=page.get_by_role("button", name=name, include_hidden=True))
    cell.get_by_role("button", name=name, include_hidden=True).dispatch_event("click")
    expect(cell.locator(".cell-note")).to_contain_text("On your machine", timeout=60_000)


def test_code_that_another_program_has_left_does_not_run_unseen(planted: tuple[Page, int, Path]) -> None:
    page, number, written = planted
    asking = page.locator(".confirm")
    expect(asking.locator("summary")).to_have_count(2)  # cells and exercises are built in either order
    assert {*asking.locator("summary").all_text_contents()} == {f"Cell {number}", "Exercise causal-mask"}
    expect(asking.locator("pre").filter(has_text=str(written)).first).to_be_visible()
    run_below(page, number)
    page.get_by_role("button", name="Check exercise causal-mask").click()
    exercise = page.locator("#exercise-causal-mask")
    expect(exercise.locator("output.result")).to_contain_text("Not yet.", timeout=60_000)
    expect(exercise.locator(".cell-note")).to_have_text("Runs on your machine")
    assert not written.exists()


@pytest.mark.nightly
def test_nor_does_it_in_a_tab_that_gets_the_token_later(planted: tuple[Page, int, Path], link: str) -> None:
    page, number, written = planted
    page.evaluate("sessionStorage.clear()")
    page.reload()
    expect(page.locator(f'[data-cell="{number}"] code')).to_contain_text(
        str(written)
    )  # in the tab it may run
    page.goto(f"{page.url}#{link.partition('#')[2]}")
    expect(page.locator(".confirm summary", has_text=f"Cell {number}")).to_be_visible()
    run_below(page, number)
    assert not written.exists()


def test_it_runs_in_sight_when_the_reader_has_confirmed_it(planted: tuple[Page, int, Path]) -> None:
    page, number, written = planted
    with page.expect_navigation():
        page.get_by_role("button", name="Use these edits").click()
    expect(page.locator(f'[data-cell="{number}"] code')).to_contain_text(str(written))
    expect(page.locator(f'[data-cell="{number}"] code')).to_be_visible()  # the fold is open
    run_below(page, number)
    assert written.exists()
    expect(page.locator(".confirm")).to_have_count(0)


def test_the_reader_can_delete_it(planted: tuple[Page, int, Path]) -> None:
    page, _, written = planted
    page.get_by_role("button", name="Delete them").click()
    expect(page.locator(".confirm")).to_have_count(0)
    assert str(written) not in page.evaluate("JSON.stringify(localStorage)")


def test_an_edit_of_this_tab_is_used_after_a_reload(page: Page, link: str) -> None:
    page.goto(f"{link.partition('#')[0]}learn/attention/")
    page.get_by_role("button", name="Edit cell 1", exact=True).click()
    editor = page.get_by_label("Code of cell 1")
    editor.press("Control+Home")
    editor.press_sequentially("print('mine')\n")
    page.reload()
    expect(page.locator('[data-cell="1"] code')).to_contain_text("print('mine')")
    expect(page.locator(".confirm")).to_have_count(0)


@pytest.mark.parametrize("path", ["", pytest.param("learn/attention/", marks=pytest.mark.nightly)])
def test_a_foreign_link_does_not_replace_the_kernels_token(browser: Browser, link: str, path: str) -> None:
    home, _, token = link.partition("#token=")
    with window(browser, DESKTOP) as context:
        page = context.new_page()
        page.goto(link)
        page.wait_for_function("sessionStorage['llmguide.kernel']")
        with page.expect_response("**/llmguide-token") as answer:
            page.goto(f"{home}{path}#token=AAAA")
        assert answer.value.status == 403
        expect(page).to_have_url(f"{home}{path}")
        assert page.evaluate("sessionStorage['llmguide.kernel']") == token


def test_the_link_replaces_what_another_program_has_left(browser: Browser, link: str) -> None:
    home, _, token = link.partition("#token=")
    with window(browser, DESKTOP) as context:
        page = context.new_page()
        page.goto(home)
        page.evaluate("sessionStorage['llmguide.kernel'] = 'AAAA'")
        with page.expect_event("load"):  # the page loads again when it has accepted the token
            page.goto(link)  # the same page: only what is after # changes
        page.wait_for_function("(token) => sessionStorage['llmguide.kernel'] === token", arg=token)
        assert page.evaluate(RUN, WHO)["where"] == "kernel"


@pytest.mark.nightly
def test_another_tab_without_the_token_has_no_kernel(page: Page, link: str) -> None:
    other = page.context.new_page()
    other.goto(link.partition("#")[0])
    found = other.evaluate(RUN, "import sys\nprint(sys.platform)")
    assert (found["where"], found["stdout"]) == ("tab", "emscripten\n")


@pytest.mark.nightly
def test_a_wrong_token_is_dropped_and_cells_run_in_the_tab(browser: Browser, link: str) -> None:
    with window(browser, DESKTOP) as context:
        page = context.new_page()
        page.goto(f"{link.partition('#')[0]}#token=of-an-earlier-start")
        page.wait_for_function("sessionStorage['llmguide.kernel']")
        found = page.evaluate(RUN, "import sys\nprint(sys.platform)")
        assert (found["where"], found["stdout"]) == ("tab", "emscripten\n")
        assert page.evaluate("sessionStorage['llmguide.kernel'] ?? null") is None


def test_a_page_of_another_origin_reaches_nothing(page: Page, link: str, site_url: str) -> None:
    """Not with the right token either: the same site from another port of this machine asks for a kernel."""
    home, _, token = link.partition("#token=")
    kernel = f"{home.replace('http:', 'ws:')}llmguide-kernel"
    connect = """([address, token]) => new Promise((resolve) => {
        const socket = new WebSocket(address, ["llmguide", token]);
        socket.onopen = () => resolve("open");
        socket.onclose = () => resolve("refused");
    })"""
    assert page.evaluate(connect, [kernel, token]) == "open"
    context = page.context.browser.new_context(bypass_csp=True)  # another site may have no policy
    foreign = context.new_page()
    foreign.goto(site_url)
    assert foreign.evaluate(connect, [kernel, token]) == "refused"
    fetched = "(address) => fetch(address).then(() => 'read', () => 'refused')"
    assert foreign.evaluate(fetched, home) == "refused"
    context.close()


def test_no_other_host_takes_a_token(browser: Browser, site_url: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{site_url.replace('127.0.0.1', 'localhost')}#token=anything")
    page.wait_for_load_state("load")
    assert page.evaluate("sessionStorage['llmguide.kernel'] ?? null") is None
    context.close()
