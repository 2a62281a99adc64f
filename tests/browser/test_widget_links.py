"""Links to a widget with settings start it, and may hold anything."""

import random
import re
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import representative
from tests.browser.places import expect_to_land
from tests.browser.test_widgets import PAGES, started, widget
from tests.browser.windows import DESKTOP, PHONE, watch, window

pytestmark = pytest.mark.browser


def address(site_url: str, name: str) -> str:
    """The page of a widget."""
    return f"{site_url}play/{next(page for page, names in PAGES.items() if name in names)}/"


@pytest.mark.parametrize("width", [DESKTOP, pytest.param(PHONE, marks=pytest.mark.nightly)])
def test_a_link_starts_its_widget_and_shows_it(browser: Browser, site_url: str, width: int) -> None:
    with window(browser, width) as context:
        page = context.new_page()
        problems = watch(page)
        page.goto(f"{site_url}play/tokenizer/#trainer?text=abcabc")  # the second widget of its page
        box = started(page, "trainer")
        expect(box.get_by_label("Text to learn from")).to_have_value("abcabc")
        expect_to_land(box)
        expect(widget(page, "tokenizer").get_by_role("button", name="Start")).to_be_visible()
        page.evaluate("location.hash = '#tokenizer?text=Hello'")  # as a link of the page would
        expect(started(page, "tokenizer").get_by_label("Your text")).to_have_value("Hello")
        page.evaluate("location.hash = '#tokenizer?text=Goodbye'")
        expect(widget(page, "tokenizer").get_by_label("Your text")).to_have_value("Goodbye")
        expect_to_land(widget(page, "tokenizer"))
        assert not problems


@pytest.mark.parametrize(
    ("name", "parameter", "most"),
    [
        ("tokenizer", "text", 20_000),
        pytest.param("trainer", "text", 5000, marks=pytest.mark.nightly),
        pytest.param("sampler", "prompt", 2000, marks=pytest.mark.nightly),
        pytest.param("explorer", "text", 2000, marks=pytest.mark.nightly),
    ],
)
def test_a_text_that_a_link_brings_is_cut_and_the_page_says_so(
    browser: Browser, site_url: str, name: str, parameter: str, most: int
) -> None:
    with window(browser, DESKTOP) as context:
        page = context.new_page()
        problems = watch(page)
        page.goto(f"{address(site_url, name)}#{name}?{parameter}={'a' * (most + 7)}")
        box = started(page, name)
        assert box.locator("textarea").input_value() == "a" * most
        expect(box).to_contain_text(
            f"The link has {most + 7:,} characters of text; only the first {most:,} are used."
        )
        assert not problems


ODD = [
    "",
    "-1",
    "0",
    "1e999",
    "-Infinity",
    "NaN",
    "2.5",
    "1e308",
    "1e-308",
    "x",
    "{}",
    "__proto__",
    "\x00",
    "0x10",
]
NUMBERS = {
    "explorer": ["layer", "head"],
    "sampler": ["repetitionPenalty", "temperature", "topK", "topP", "minP", "seed"],
    "scale": ["params", "tokens"],
    "trainer": ["merges"],
    "calculators": [
        *("preset", "tokens", "peak", "utilization", "devices", "stage", "length", "sequences", "recompute"),
        *("cached", "batch", "cachedBytes", "rank", "targets", "bits", "n_layers", "d_model", "n_heads"),
        *("n_kv_heads", "head_dim", "d_ff", "vocab_size", "__proto__"),
    ],
}


@pytest.mark.parametrize("trials", [2, pytest.param(10, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("name", representative(NUMBERS, "calculators", "sampler"))
def test_numbers_of_a_link_are_bounded(browser: Browser, site_url: str, name: str, trials: int) -> None:
    rng = random.Random(name)
    with window(browser, DESKTOP) as context:
        page = context.new_page()
        problems = watch(page)
        page.goto(address(site_url, name))
        for trial in range(trials):
            query = urlencode({"trial": trial} | {key: rng.choice(ODD) for key in NUMBERS[name]})
            page.evaluate("hash => location.hash = hash", f"#{name}?{query}")
            box = started(page, name)
            text, link = box.inner_text(), str(box.locator(".permalink").get_attribute("href"))
            assert not re.search(r"NaN|∞|Infinity|undefined", text), query
            assert not re.search(r"NaN|Infinity|trial|__proto__", link), query
            page.evaluate("location.hash = ''")
            page.reload()
        assert not problems
