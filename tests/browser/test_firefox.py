"""What a reader does with a cell, in Firefox: run, edit, stop, meet an error."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.cells import ISOLATED, PLAIN, TORCH
from tests.browser.firefox import Firefox, firefox
from tests.browser.host import Host, serving

pytestmark = pytest.mark.browser

PATIENCE = 120  # seconds that a first run may take on a busy machine
SAID = "document.getElementById('cell-announcer').textContent"


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firefox]:
    """A tab of the system's Firefox; FIREFOX names another program."""
    names = [os.environ.get("FIREFOX") or "firefox", "firefox", "firefox-esr"]
    program = next((path for name in names if (path := shutil.which(name))), None)
    if program is None:
        pytest.skip("NOT TESTED: no Firefox on PATH; on Debian: apt-get install firefox-esr")
    profile: Path = tmp_path_factory.mktemp("firefox")
    with firefox(program, profile) as tab:
        yield tab


def open_page(tab: Firefox, host: Host, name: str) -> None:
    tab.goto(f"{host.url}{name}/")
    tab.wait_for("document.querySelector('.cell-bar') !== null")


def box(number: int) -> str:
    return f"document.querySelector(`[data-cell='{number}']`).closest('.cell')"


def press_run(tab: Firefox, number: int) -> None:
    tab.evaluate(f"{SAID} = ''")
    tab.evaluate(f"{box(number)}.querySelector('.cell-run').click()")


def run(tab: Firefox, number: int) -> str:
    """Press Run, and wait for what is announced at the end."""
    press_run(tab, number)
    return tab.wait_for(SAID, PATIENCE)


def write(tab: Firefox, number: int, code: str) -> None:
    """Replace the code of a cell from the keyboard."""
    edit = f"{box(number)}.querySelector('[aria-label=\"Edit cell {number}\"]')"
    tab.evaluate(f"{edit}.hidden || {edit}.click()")
    tab.wait_for(f"{box(number)}.querySelector('.cm-content') !== null")
    tab.evaluate(f"{box(number)}.querySelector('.cm-content').focus()")
    tab.press("Control+a", *code)


def printed(tab: Firefox, number: int) -> str:
    return tab.evaluate(f"{box(number)}.querySelector('.cell-result code')?.textContent ?? ''")


@pytest.mark.parametrize(
    ("page", "numbers"),
    [(PLAIN, (1, 2, 3)), pytest.param(TORCH, (1, 2, 3), marks=pytest.mark.nightly)],
    ids=["plain", "torch"],
)
def test_cells_give_their_stored_outputs(tab: Firefox, page: str, numbers: tuple[int, ...]) -> None:
    with serving() as host:
        open_page(tab, host, page)
        said = [run(tab, number) for number in numbers]
        assert all(f"Cell {number}. In your tab" in text for number, text in zip(numbers, said, strict=True))
        assert any("equal to the stored output" in text for text in said)
        assert not [text for text in said if "differs" in text or "error" in text]


@pytest.mark.nightly
def test_an_edit_runs_from_the_keyboard_and_outlives_the_page(tab: Firefox) -> None:
    with serving() as host:
        open_page(tab, host, PLAIN)
        write(tab, 3, "print('mine', 6 * 7)")
        tab.press("Control+Enter")
        tab.wait_for(SAID, PATIENCE)
        assert printed(tab, 3) == "mine 42\n"
        open_page(tab, host, PLAIN)
        assert tab.evaluate(f"{box(3)}.querySelector('pre > code').textContent") == "print('mine', 6 * 7)\n"


@pytest.mark.nightly
def test_an_error_shows_the_readers_lines(tab: Firefox) -> None:
    with serving() as host:
        open_page(tab, host, PLAIN)
        write(tab, 3, "1 / 0")
        assert "an error" in run(tab, 3)
        shown = tab.evaluate(f"{box(3)}.querySelector('.cell-result .error').textContent")
        assert "line 1, in <module>" in shown
        assert shown.rstrip().endswith("ZeroDivisionError: division by zero")


@pytest.mark.nightly
@pytest.mark.parametrize("headers", [{}, ISOLATED], ids=["any host", "isolated"])
def test_stop_ends_an_endless_loop_and_keeps_the_names(tab: Firefox, headers: dict[str, str]) -> None:
    with serving(headers=headers) as host:
        open_page(tab, host, PLAIN)
        write(tab, 3, "name = 'still here'")
        tab.press("Enter", *"print('begun')", "Enter", *"while True: pass")
        press_run(tab, 3)
        tab.wait_for(f"{box(3)}.querySelector('.cell-result code')?.textContent === 'begun\\n'", PATIENCE)
        tab.evaluate(f"{box(3)}.querySelector('.cell-run').click()")
        assert "Variables are kept" in tab.wait_for(SAID)
        write(tab, 3, "print(name)")
        run(tab, 3)
        assert printed(tab, 3) == "still here\n"
