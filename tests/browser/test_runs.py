"""What readers run on a page that they have just opened: any cell, two at once, one below an edit."""

import random
from itertools import accumulate

import pytest
from playwright.sync_api import Page, expect

from tests.browser.cells import PATIENCE, PLAIN, Reader, cell, difference, run, write
from tests.browser.conftest import representative
from tests.browser.test_every_cell import MOST, PAGES

pytestmark = pytest.mark.browser

FIGURES = "learn/attention"  # figures, whose names the cells below use, stand between cells that need torch
LITTLE = 2  # seconds, as MOST


def runnable(page: Page, seconds: float) -> list[int]:
    """The numbers of the cells that run in the tab, with all above them, in so many seconds; at least one."""
    cells = page.locator("[data-cell]:not([data-needs='local'])").evaluate_all(
        "blocks => blocks.map(({ dataset }) => [Number(dataset.cell), Number(dataset.secondsTab)])"
    )
    numbers, taken = zip(*sorted(cells), strict=True)
    soon = [number for number, total in zip(numbers, accumulate(taken), strict=True) if total < seconds]
    return soon or [numbers[0]]


def few(page: Page, at_least: int) -> list[int]:
    """The cells that run soon, if the page has so many; else all that run in the tab."""
    numbers = runnable(page, LITTLE)
    if len(numbers) < at_least:
        numbers = runnable(page, MOST)
    if len(numbers) < at_least:
        pytest.skip(f"fewer than {at_least} cells run in the tab")
    return numbers


def alone(reader: Reader, name: str, choose) -> list[str]:
    """Press Run on one cell of a page that has just been opened; what goes wrong."""
    page, problems = reader.open(name)
    number = choose(page)
    figures = page.locator("figure, article img").count()
    wrong = difference(page, number)
    assert page.locator("figure, article img").count() >= figures, "a stored figure is gone"
    page.close()
    return [f"cell {number}: {problem}" for problem in wrong + problems]


@pytest.mark.nightly
@pytest.mark.parametrize("name", PAGES)
def test_the_last_cell_alone_gives_its_stored_output(reader: Reader, name: str) -> None:
    assert alone(reader, name, lambda page: runnable(page, MOST)[-1]) == []


@pytest.mark.parametrize("name", representative(PAGES, FIGURES))
def test_a_middle_cell_alone_gives_its_stored_output(reader: Reader, name: str) -> None:
    def choose(page: Page) -> int:
        numbers = runnable(page, LITTLE)
        return random.Random(name).choice(numbers[1:-1] or numbers)

    assert alone(reader, name, choose) == []


@pytest.mark.parametrize("name", representative(PAGES, PLAIN))
def test_two_cells_pressed_quickly_both_run(reader: Reader, name: str) -> None:
    page, problems = reader.open(name)
    *_, first, second = [number for number in few(page, 2) if number <= 12]
    page.evaluate("document.querySelectorAll('details').forEach(it => { it.open = true; })")
    for number in (second, first):
        cell(page, number).locator(".cell-run").click()
    for number in (second, first):
        note = cell(page, number).locator(".cell-note")
        expect(note).to_contain_text("In your tab, ", timeout=PATIENCE)
        assert "error" not in note.text_content()
        assert "differs" not in note.text_content()
    page.close()
    assert not problems


@pytest.mark.parametrize("name", representative(PAGES, PLAIN))
def test_a_cell_uses_the_names_of_an_edit_above_it(reader: Reader, name: str) -> None:
    page, problems = reader.open(name)
    edited, between, last = few(page, 3)[:3]
    page.evaluate("document.querySelectorAll('details').forEach(it => { it.open = true; })")
    run(page, cell(page, last))
    write(page, cell(page, edited), "edited = 41")
    write(page, cell(page, between), "more = edited + 1")
    write(page, cell(page, last), "print('more', more)")
    assert "an error" not in run(page, cell(page, last))
    expect(page.locator(".cell-result")).to_contain_text("more 42")
    write(page, cell(page, edited), "edited = 1")
    run(page, cell(page, last))  # `between` has not changed, and uses what has
    expect(page.locator(".cell-result")).to_contain_text("more 2")
    page.close()
    assert not problems
