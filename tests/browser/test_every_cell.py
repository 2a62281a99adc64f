"""Every Run button of every page that has cells."""

import json
import math

import pytest
from site_tools.markdown.cells import WITH_CELLS

from tests.browser.cells import PLAIN, Reader, cell, difference
from tests.browser.conftest import representative

pytestmark = pytest.mark.browser

# Not found out here: each test would depend on every page, and be repeated when one of them changes.
PAGES = json.loads(WITH_CELLS.read_text(encoding="utf-8")) if WITH_CELLS.is_file() else []
# Seconds that a page's cells may take where it was built; the tab takes about twice as long. What trains for
# longer is run by site_tools.cells.check_in_tab alone, and each night in the tab itself (`make nightly`).
# `make cells` has compared the output of every cell; here a browser runs it.
MOST = 1
# They train a model of a real size, with parts of the package that no other page uses.
ALWAYS_WHOLE = "learn/post-training", "learn/post-training/tune-a-real-model"


def press_cells(reader: Reader, name: str, most: float) -> None:
    """Press the cells of a page from the top, up to so many seconds of them."""
    wrong = []
    taken = 0.0
    page, problems = reader.open(name)
    for number in range(1, page.locator("[data-cell]").count() + 1):
        block = cell(page, number).locator("[data-cell]")
        taken += float(block.get_attribute("data-seconds-tab") or 0)
        if taken > most and number > 1:  # the first cell always runs
            break
        if block.get_attribute("data-needs") == "local":
            assert (
                block.get_attribute("data-reason") in cell(page, number).locator(".cell-note").text_content()
            )
            continue
        if wrong := difference(page, number):
            break
    page.close()
    assert not wrong + problems, "\n".join(wrong + problems)


@pytest.mark.parametrize("name", representative(PAGES, PLAIN))
def test_the_first_cells_give_their_stored_outputs(reader: Reader, name: str) -> None:
    press_cells(reader, name, MOST)


@pytest.mark.parametrize("name", representative(PAGES, *ALWAYS_WHOLE))
def test_every_cell_gives_its_stored_output(reader: Reader, name: str) -> None:
    press_cells(reader, name, math.inf)
