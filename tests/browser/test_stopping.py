"""A stop: at any moment, on any host, and the names of the reader are kept."""

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.cells import (
    ISOLATED,
    PATIENCE,
    PLAIN,
    Reader,
    cell,
    numpy_wheel,
    open_page,
    plain_cell,
    run,
    run_plain,
    write,
)
from tests.browser.host import serving
from tests.browser.windows import DESKTOP, window

pytestmark = pytest.mark.browser

# A worker that may not ask its page whether to stop is ended.
DEAF_HOST = {"Content-Security-Policy": "connect-src 'self'"}


def stop_a_loop(page: Page, *, kept: bool = True) -> None:
    """Stop an endless loop in a cell; then look at a name that was set before it."""
    box = plain_cell(page)
    write(page, box, "name = 'still here'\nprint('begun')\nwhile True:\n    pass")
    box.locator(".cell-run").click()
    expect(box.locator(".cell-result code")).to_have_text("begun\n", timeout=PATIENCE)
    box.get_by_role("button", name="Stop").click()
    said = page.locator("#cell-announcer")
    expect(said).to_contain_text("Variables are kept" if kept else "Variables are lost")
    write(page, box, "print(name)")
    assert ("an error" in run(page, box)) is not kept
    shown = box.locator(".cell-result code").last.text_content()
    assert shown == "still here\n" if kept else "NameError" in shown


def test_stop_ends_an_endless_loop_and_keeps_the_names(reader: Reader) -> None:
    page, problems = reader.open(PLAIN)
    stop_a_loop(page)
    assert not problems


@pytest.mark.nightly
@pytest.mark.parametrize("headers", [{}, ISOLATED], ids=["any host", "isolated"])
def test_stop_ends_an_endless_loop_before_and_after_a_reload(
    browser: Browser, headers: dict[str, str]
) -> None:
    with serving(headers=headers) as host, window(browser, DESKTOP) as context:
        page, problems = open_page(context, host, PLAIN)
        stop_a_loop(page)
        page.reload()
        page.wait_for_selector(".cell-bar", state="attached")
        stop_a_loop(page)
        assert not problems


@pytest.mark.nightly
def test_stop_ends_python_where_the_worker_may_not_ask(browser: Browser) -> None:
    with serving(headers=DEAF_HOST) as host, window(browser, DESKTOP) as context:
        page, problems = open_page(context, host, PLAIN)
        stop_a_loop(page, kept=False)
        assert all("blob:" in problem for problem in problems)


@pytest.mark.nightly
def test_a_run_can_be_stopped_while_python_is_loading(browser: Browser) -> None:
    with serving(delays={"pyodide.asm.wasm": 30}) as host, window(browser, DESKTOP) as context:
        page, _ = open_page(context, host, PLAIN)
        box = plain_cell(page)
        stored = box.locator(".output").text_content()
        box.locator(".cell-run").click()
        expect(box.locator(".cell-note")).to_contain_text("Loading Python")
        box.get_by_role("button", name="Stop").click()
        expect(page.locator("#cell-announcer")).to_contain_text("Stopped")
        assert box.locator(".output").text_content() == stored
        host.delays.clear()
        assert "equal to the stored output" in run(page, box)


STOPPED = """async ([code, needs, when]) => {
  const { run, stop } = await import(new URL("../../runtime/backend.js", location).href);
  await run("kept = 7", { needs: "core" });
  let kept = null;
  const halt = () => (kept ??= stop());
  const hooks = { onLoading: when === "loading" ? halt : undefined, onOutput: halt, onData: halt };
  const stopped = run(code, { needs, ...hooks });
  if (when === "at once") halt();
  const { stopped: isStopped, ok } = await stopped;
  const after = await run("print(kept)", { needs: "core" });
  return { kept: await kept, stopped: isStopped, ok, after: after.stdout };
}"""
DEAF = """class Deaf:
    def __del__(self):
        print("falling on deaf ears")
        while True: pass
Deaf()
while True: pass"""


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("code", "when"),
    [
        ("while True: pass", "at once"),
        ("import time\nprint('begun')\ntime.sleep(60)", "output"),
        (DEAF, "output"),
    ],
    ids=["before the code", "asleep", "in a callback that drops it"],
)
def test_a_stop_keeps_the_names_wherever_it_falls(reader: Reader, code: str, when: str) -> None:
    page, problems = reader.open(PLAIN)
    found = page.evaluate(STOPPED, [code, "core", when])
    assert found == {"kept": True, "stopped": True, "ok": False, "after": "7\n"}
    assert not problems


@pytest.mark.nightly
def test_a_stop_that_comes_after_the_code_does_not_stop_the_next_run(reader: Reader) -> None:
    page, _ = reader.open(PLAIN)
    for _ in range(20):
        found = page.evaluate(STOPPED, ["from session import emit\nemit(1)", "core", "data"])
        assert (found["kept"], found["after"]) == (True, "7\n")


@pytest.mark.nightly
def test_a_stop_while_a_package_is_loading_keeps_the_names(browser: Browser) -> None:
    delays = {numpy_wheel(): 30}
    with serving(delays=delays) as host, window(browser, DESKTOP) as context:
        page, _ = open_page(context, host, PLAIN)
        found = page.evaluate(STOPPED, ["import torch", "torch", "loading"])
        assert found == {"kept": True, "stopped": True, "ok": False, "after": "7\n"}
        host.delays.clear()
        assert run_plain(page, "import torch\ntorch.ones(1)", "torch")["stdout"] == "tensor([1.])\n"


@pytest.mark.nightly
def test_a_stop_in_a_cell_above_also_stops_what_would_follow(reader: Reader) -> None:
    above = """import js
try:
    request = js.XMLHttpRequest.new()
    request.open("GET", "/begun", False)
    request.send()
    while True: pass
except KeyboardInterrupt:
    pass"""
    page, _ = reader.open(PLAIN)
    page.evaluate("document.querySelectorAll('details').forEach(it => { it.open = true; })")
    write(page, cell(page, 1), above)
    box = plain_cell(page)
    stored = box.locator(".output").text_content()
    box.locator(".cell-run").click()
    while "/begun" not in reader.host.asked:
        page.wait_for_timeout(50)
    box.get_by_role("button", name="Stop").click()
    expect(page.locator("#cell-announcer")).to_contain_text("Stopped. Variables are kept")
    assert box.locator(".output").text_content() == stored
