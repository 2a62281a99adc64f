"""What a cell shows before, during and after a run, after an edit, and when a cell above it fails."""

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.cells import PATIENCE, PLAIN, Reader, cell, open_page, plain_cell, run, write
from tests.browser.host import serving
from tests.browser.windows import DESKTOP, window

pytestmark = pytest.mark.browser

FIGURE = "projects/continued-pretraining"  # a figure and tables that Python alone computes
ELSEWHERE = "is not available in the tab; run this page with `llmguide serve` or as a notebook."
MISTAKES = {
    "import pandas": f"No module named 'pandas'\npandas {ELSEWHERE}",
    "import lzma": f"No module named 'lzma'\nlzma {ELSEWHERE}",
    "import nmpy": "No module named 'nmpy'\nDid you mean: 'numpy'?",
    "name = input()": "a cell cannot read from the keyboard; assign the text to a variable instead",
    "import torch\ntorch.softmx": "module 'torch' has no attribute 'softmx'. Did you mean: 'softmax'?",
    "torch.ones(2).shap": "'Tensor' object has no attribute 'shap'. Did you mean: 'shape'?",
    "torch.conv2d": "torch.conv2d is not in the in-page subset; run with PyTorch",
}


def unfold(page: Page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach(it => { it.open = true; })")


def test_the_line_is_short_and_its_details_open_from_the_keyboard(reader: Reader) -> None:
    page, problems = reader.open(PLAIN)
    box = plain_cell(page)
    expect(box.locator(".cell-note")).to_have_text(re.compile(r"^Runs in your tab · 6\.\d MB once$"))
    details = box.locator(".cell-details")
    expect(details).to_be_hidden()
    box.get_by_role("button", name="Cell 3: details").press("Enter")
    expect(details).to_contain_text("Runs cells 1 to 2 above first.")
    expect(details).to_contain_text(re.compile(r"Downloads Python \(6\.\d MB\), once\."))
    page.keyboard.press("Escape")
    expect(details).to_be_hidden()
    assert not problems


def test_a_long_wait_is_told_beforehand(reader: Reader) -> None:
    page, _ = reader.open("learn/pretraining")
    last = page.locator(".cell:has([data-cell]) .cell-note").last
    expect(last).to_contain_text(" or more")


@pytest.mark.parametrize(
    ("platform", "key"),
    [("MacIntel", "⌘ Enter"), pytest.param("Linux x86_64", "Ctrl-Enter", marks=pytest.mark.nightly)],
)
def test_the_key_that_runs_is_that_of_the_keyboard(browser: Browser, platform: str, key: str) -> None:
    with serving() as host, window(browser, DESKTOP) as context:
        context.add_init_script(
            f"Object.defineProperty(navigator, 'platform', {{ get: () => '{platform}' }})"
        )
        page, _ = open_page(context, host, PLAIN)
        plain_cell(page).get_by_role("button", name="Edit").click()
        expect(plain_cell(page).locator(".cell-help")).to_contain_text(f"{key} runs.")


def test_an_output_that_the_code_did_not_make_is_dimmed_and_says_so(reader: Reader) -> None:
    page, problems = reader.open(PLAIN)
    box = plain_cell(page)
    stored, origin, result = (box.locator(it) for it in (".output", ".cell-origin", ".cell-result"))
    expect(stored).not_to_contain_class("dimmed")
    write(page, box, "print('mine')")
    expect(stored).to_contain_class("dimmed")
    expect(origin).to_have_text("Output of the original code")
    assert "differs" not in run(page, box)
    expect(result.locator("code")).to_have_text("mine\n")
    expect(result).not_to_contain_class("dimmed")
    expect(origin).to_have_count(0)
    write(page, box, "print('other')")
    expect(result).to_contain_class("dimmed")
    expect(result).to_contain_text("of an earlier run")
    page.reload()
    expect(stored).to_contain_class("dimmed")
    expect(origin).to_have_text("Output of the original code")
    expect(box.locator("[data-cell] > pre .tok-string")).to_have_text("'other'")
    box.get_by_role("button", name="Reset").click()
    expect(stored).not_to_contain_class("dimmed")
    expect(origin).to_have_count(0)
    assert not problems


@pytest.mark.nightly
def test_an_error_of_an_earlier_run_is_dimmed_while_a_cell_runs(reader: Reader) -> None:
    page, problems = reader.open(PLAIN)
    box = plain_cell(page)
    error = box.locator(".cell-result:has(.error)")
    write(page, box, "import time\n1 / slow\ntime.sleep(60)")
    run(page, box)
    expect(error).not_to_contain_class("dimmed")
    write(page, cell(page, 1), "slow = 1")
    box.locator(".cell-run").click()
    expect(box.locator(".cell-note")).to_have_text("Running", timeout=PATIENCE)
    expect(error).to_contain_class("dimmed")
    box.get_by_role("button", name="Stop").click()
    expect(box.locator(".cell-run")).to_have_text("Run")
    assert not problems


@pytest.mark.nightly
def test_a_cell_above_that_fails_is_linked_and_the_stored_outputs_stay(reader: Reader) -> None:
    page, problems = reader.open(FIGURE)
    unfold(page)
    last = page.locator("[data-cell]").count()
    figures = page.locator("article figure").count()
    write(page, cell(page, 1), "nothing = 0")
    said = run(page, cell(page, last))
    assert "above failed, so this cell did not run. You have edited cell 1" in said
    link = cell(page, last).locator(".cell-note a")
    number = int(link.text_content().removeprefix("Cell "))
    assert 1 < number < last, "the reader did not touch the cell that fails"
    assert page.locator("article figure").count() == figures
    assert page.locator(".error").count() == 1
    assert page.locator("article .dimmed").count() >= 2, "the outputs of both cells are dimmed"
    link.click()
    expect(cell(page, number).locator(".cell-run")).to_be_focused()
    expect(page.locator(".error")).to_be_in_viewport()
    cell(page, 1).get_by_role("button", name="Reset").click()
    assert "failed" not in run(page, cell(page, last))
    expect(cell(page, last).locator(".dimmed")).to_have_count(0)
    expect(page.locator(".error")).to_have_count(0)
    assert not problems


@pytest.mark.nightly
def test_a_stop_during_a_cell_above_shows_nothing_under_the_cell_that_was_run(reader: Reader) -> None:
    page, problems = reader.open(PLAIN)
    write(page, cell(page, 1), "print('above')\nimport time\ntime.sleep(60)")
    box = plain_cell(page)
    box.locator(".cell-run").click()
    expect(box.locator(".cell-note")).to_have_text("Running cell 1 first", timeout=PATIENCE)
    box.get_by_role("button", name="Stop").click()
    expect(box.locator(".cell-note")).to_have_text("Stopped. Variables are kept", timeout=PATIENCE)
    expect(box.locator(".cell-result")).to_have_count(0)
    expect(box.locator(".output")).not_to_contain_class("dimmed")
    assert not problems


def test_an_error_says_what_to_do(reader: Reader) -> None:
    page, problems = reader.open("learn/attention")
    unfold(page)
    for code, message in MISTAKES.items():
        write(page, cell(page, 1), code)
        run(page, cell(page, 1))
        error = cell(page, 1).locator(".cell-result .error").text_content()
        assert error.endswith(message)
    check_gradient(page)
    assert not problems


def check_gradient(page: Page) -> None:
    """In an edited cell: the button appears after a run, and goes when the code is no longer what ran."""
    box, said = cell(page, 1), page.locator("#cell-announcer")
    button = box.get_by_role("button", name="Check gradient of cell 1")
    for factor, message in (
        ("x", "agrees with finite differences"),
        ("x.detach()", "wrong. At x[1] it is 2,"),
    ):
        expect(button).to_be_hidden()
        square = f"def square(x):\n    return (x * {factor}).sum()\n"
        write(page, box, f"import torch\n{square}x = torch.tensor([1.0, 2.0])\nsquare(x)")
        run(page, box)
        button.click()
        expect(said).to_contain_text(message, timeout=PATIENCE)
        write(page, box, "pass")
