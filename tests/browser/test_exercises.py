"""Exercises in Chromium: written, checked in the tab, their mistakes named, and remembered."""

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from llmguide.exercises import exercise
from tests.browser.cells import Reader
from tests.browser.named import CHAPTER, EXERCISES
from tests.browser.windows import DESKTOP, PHONE, axe, misfits, window

pytestmark = pytest.mark.browser

PATIENCE = 120_000  # ms for what begins with the start of Python
RIGHT = "def causal_mask(T_q, T_k):\n    return torch.arange(T_k) <= torch.arange(T_k - T_q, T_k)[:, None]\n"
TRIANGLE = (
    "import torch\n\n\ndef causal_mask(T_q, T_k):\n    return torch.ones(T_q, T_k).tril(T_k - T_q - 1).bool()"
)
WINDOW = "import torch\n\n\ndef sliding_window_mask(T, window):\n    return torch.ones(T, T).tril().bool()"
SPLIT = "def split_heads(x, n_heads):\n    return x.reshape(len(x), n_heads, x.shape[1], -1)"
LOGPROBS = (
    "def token_logprobs(ids, weights, n_heads):\n"
    "    print('my own')\n"
    "    logprobs = gpt(ids, weights, n_heads)[:, :-1].log_softmax(-1)\n"
    "    return logprobs.gather(-1, ids[:, 1:, None])[..., 0]\n"
)
WRONG = [
    ("causal-mask", TRIANGLE, "mask off by one, hides itself"),
    ("sliding-window", WINDOW, "only causal"),
    ("split-heads", SPLIT, "view without transpose"),
]


@pytest.fixture(scope="module")
def page(returning: Reader) -> Iterator[Page]:
    """One page for the tests that need Python, which takes seconds to start."""
    page, problems = returning.open(CHAPTER)
    yield page
    returning.leave()
    assert not problems


def block(page: Page, name: str) -> Locator:
    return page.locator(f"#exercise-{name}")


def press(page: Page, name: str, button: str) -> None:
    block(page, name).get_by_role("button", name=f"{button} exercise {name}").click()


def write(page: Page, name: str, code: str) -> None:
    if block(page, name).locator(".cm-content").count() == 0:
        press(page, name, "Edit")
    block(page, name).locator(".cm-content").click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(code)


def result(page: Page, name: str) -> Locator:
    return block(page, name).locator("output.result")


def kept(page: Page, key: str) -> dict[str, object]:
    return json.loads(page.evaluate(f"localStorage['llmguide.{key}'] ?? '{{}}'"))


@pytest.mark.parametrize(("name", "code", "called"), WRONG, ids=[name for name, _, _ in WRONG])
def test_a_typical_mistake_is_named(page: Page, name: str, code: str, called: str) -> None:
    write(page, name, code)
    press(page, name, "Check")
    (mistake,) = [known for known in exercise(name).mistakes if known.name == called]
    expect(result(page, name)).to_contain_text(f"when {mistake.when}.", timeout=PATIENCE)
    expect(result(page, name)).to_contain_text(f"Hint: {mistake.hint}")
    assert name not in kept(page, "exercises")


def test_a_right_answer_is_remembered_and_checked_by_key(page: Page) -> None:
    write(page, "causal-mask", f"import torch\n\n\n{RIGHT}")
    page.keyboard.press("Control+Enter")
    expect(result(page, "causal-mask")).to_have_text("Right.", timeout=PATIENCE)
    assert kept(page, "exercises") == {"causal-mask": True}
    expect(block(page, "causal-mask").locator(".mark")).to_have_text("done")
    expect(block(page, "attention").locator(".cell-note")).to_have_text("Runs in your tab")
    expect(page.locator(".score output")).to_have_text(f"1 of {len(EXERCISES)} done")


def test_an_error_names_the_readers_line(page: Page) -> None:
    write(page, "split-heads", "def split_heads(x, n_heads):\n    print('here')\n    return x.split_all()\n")
    press(page, "split-heads", "Check")
    expect(result(page, "split-heads")).to_contain_text("(line 3)", timeout=PATIENCE)
    expect(result(page, "split-heads").locator("pre")).to_have_text("here\n")


def test_an_endless_answer_can_be_stopped(page: Page) -> None:
    write(page, "split-heads", "def split_heads(x, n_heads):\n    while True:\n        pass\n")
    press(page, "split-heads", "Check")
    expect(block(page, "split-heads").locator(".cell-note")).to_have_text("Checking", timeout=PATIENCE)
    block(page, "split-heads").locator(".cell-run").click()
    expect(result(page, "split-heads")).to_have_text("Stopped.", timeout=PATIENCE)


def test_drafts_and_marks_outlive_the_page_until_they_are_reset(page: Page, returning: Reader) -> None:
    page.goto(f"{returning.host.url}exercises/")
    (listed,) = page.locator(".exercise-list li", has=page.locator('a[href$="#exercise-causal-mask"]')).all()
    expect(listed.locator(".mark")).to_have_text("done")
    listed.get_by_role("link").click()
    draft = block(page, "causal-mask").locator(".stub code")
    expect(draft).to_contain_text("torch.arange(T_k) <= ", timeout=PATIENCE)
    expect(draft.locator(".tok-definition").first).to_have_text("causal_mask")
    press(page, "causal-mask", "Reset")
    expect(block(page, "causal-mask").locator(".stub code")).to_contain_text("...")
    page.get_by_role("button", name="Reset this chapter").click()
    expect(page.locator(".score output")).to_have_text(f"0 of {len(EXERCISES)} done")
    assert kept(page, "exercises") == {}
    assert kept(page, "drafts") == {}


def test_hints_come_one_by_one(page: Page) -> None:
    hints = block(page, "attention").locator("details.tip")
    expect(hints.nth(0)).to_be_visible()
    expect(hints.nth(1)).to_be_hidden()
    hints.nth(0).locator("summary").press("Enter")
    expect(hints.nth(1)).to_be_visible()
    expect(hints.nth(1).locator("summary")).to_have_text("Hint 2 of 2")


@pytest.mark.nightly
def test_a_rung_of_the_ladder_calls_the_readers_earlier_answer(page: Page, returning: Reader) -> None:
    page.goto(f"{returning.host.url}exercises/")
    write(page, "token-logprobs", LOGPROBS)
    press(page, "token-logprobs", "Check")
    expect(result(page, "token-logprobs")).to_contain_text("Right.", timeout=PATIENCE)
    loss = "def lm_loss(ids, weights, n_heads):\n    return -token_logprobs(ids, weights, n_heads).mean()"
    write(page, "lm-loss", loss)
    press(page, "lm-loss", "Check")
    expect(result(page, "lm-loss")).to_contain_text("Right.", timeout=PATIENCE)
    expect(result(page, "lm-loss")).to_contain_text(exercise("lm-loss").after)
    expect(result(page, "lm-loss").locator("pre")).to_contain_text("my own")


def test_without_scripts_hints_and_solution_are_there(browser: Browser, site_url: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{site_url}{CHAPTER}/")
    expect(block(page, "attention").locator("details")).to_have_count(3)
    expect(block(page, "attention").locator("button")).to_have_count(0)
    block(page, "attention").locator("details.success summary").click()
    expect(block(page, "attention").locator("details.success code")).to_be_visible()
    context.close()


@pytest.mark.parametrize(
    ("width", "scheme"), [pytest.param(DESKTOP, "light", marks=pytest.mark.nightly), (PHONE, "dark")]
)
def test_exercises_are_open_to_everyone(browser: Browser, site_url: str, width: int, scheme: str) -> None:
    with window(browser, width, scheme) as context:
        page = context.new_page()
        page.goto(f"{site_url}{CHAPTER}/")
        press(page, "attention", "Edit")
        expect(block(page, "attention").locator(".cm-content")).to_be_focused(timeout=PATIENCE)
        page.evaluate("document.querySelectorAll('.exercise details').forEach(it => { it.open = true; })")
        assert not axe(page, within=".exercise") + misfits(page)
