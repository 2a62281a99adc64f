"""What of Python is loaded when, what a later start keeps of the first, and how much all of it is."""

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.cells import (
    NOTE_WORKERS,
    PATIENCE,
    PLAIN,
    SETTLED,
    TORCH,
    Reader,
    cell,
    numpy_wheel,
    open_page,
    plain_cell,
    pythons,
    run,
    run_plain,
)
from tests.browser.host import Host, serving, wait_until_asked
from tests.browser.windows import DESKTOP, window

pytestmark = pytest.mark.browser

PYTHON = r"pyodide|guide-|worker\.mjs|backend|\.whl"


def test_nothing_of_python_or_the_editor_comes_before_a_sign_of_intent(reader: Reader) -> None:
    page, _ = reader.open(TORCH)
    page.mouse.wheel(0, 20_000)
    page.wait_for_load_state("networkidle")
    assert not [path for path in reader.host.asked if re.search(f"editor|{PYTHON}", path)]


@pytest.mark.parametrize(
    "sign", ["hover", *(pytest.param(sign, marks=pytest.mark.nightly) for sign in ("focus", "touch"))]
)
def test_python_starts_when_a_reader_is_about_to_press_run(reader: Reader, sign: str) -> None:
    page, problems = reader.open(PLAIN)
    button = plain_cell(page).locator(".cell-run")
    note = plain_cell(page).locator(".cell-note").text_content()
    if sign == "touch":
        button.dispatch_event("touchstart")
    else:
        getattr(button, sign)()
    wait_until_asked(page, reader.host, "pyodide.asm.wasm")
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


@pytest.mark.nightly
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


@pytest.mark.nightly
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


@pytest.mark.nightly
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


@pytest.mark.nightly
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


# Python salts the hashes of texts at random each time it starts from scratch.
SALTED = "import random\nprint(hash('a text'), random.random())"
KEPT = "caches.open('llmguide-python').then(async (kept) => (await kept.keys()).length)"


@pytest.mark.nightly
def test_a_reload_restores_the_memory_of_the_first_start(browser: Browser) -> None:
    with serving() as host, window(browser, DESKTOP) as context:
        page, problems = open_page(context, host, TORCH)
        first = run_plain(page, SALTED)["stdout"].split()
        page.wait_for_function(KEPT)
        page.reload()
        second = run_plain(page, SALTED)["stdout"].split()
        assert first[0] == second[0]
        assert first[1] != second[1], "unseeded random numbers do not repeat"
        assert not problems


@pytest.mark.nightly
def test_a_restored_memory_has_torch_and_a_damaged_copy_is_not_used(browser: Browser) -> None:
    def start() -> list[str]:
        page.reload()
        return run_plain(page, SALTED)["stdout"].split()

    with serving() as host, window(browser, DESKTOP) as context:
        page, problems = open_page(context, host, TORCH)
        first = start()
        page.wait_for_function(KEPT)
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


@pytest.mark.nightly
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


def let_rest(page: Page, host: Host) -> None:
    """Wait until the page asks for no more of its own; a busy machine is idle in between."""
    asked = -1
    while asked != len(host.asked):
        asked = len(host.asked)
        page.wait_for_timeout(2000)


@pytest.mark.nightly
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


@pytest.mark.nightly
def test_what_a_button_says_is_what_is_sent(browser: Browser) -> None:
    with serving() as host, window(browser, DESKTOP) as context:
        page, _ = open_page(context, host, TORCH)
        let_rest(page, host)
        hint = cell(page, 1).locator(".cell-note").text_content()
        promised = float(re.findall(r"([\d.]+) MB once", hint)[0])
        host.forget()
        run(page, cell(page, 1))
        assert host.sent() / 1e6 == pytest.approx(promised, abs=0.15)


def test_the_search_index_waits_for_a_search(reader: Reader) -> None:
    page, _ = reader.open(TORCH)
    page.wait_for_load_state("networkidle")
    assert "search/search_index.json" not in reader.host.asked
    page.keyboard.press("/")
    page.keyboard.type("softmax")
    expect(page.locator(".md-search-result__link").first).to_be_visible(timeout=PATIENCE)
    assert "search/search_index.json" in reader.host.asked
