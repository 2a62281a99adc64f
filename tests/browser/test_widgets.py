"""The play pages in Chromium: nothing before the click, right results, mouse and keyboard, for everyone."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from site_tools.built.served import BASE, compressed

from llmguide.tokenization.openai import load_encoding
from tests.browser.conftest import representative
from tests.browser.host import SITE
from tests.browser.windows import DESKTOP, OPEN, PHONE, PUBLIC, axe, misfits, watch, window

pytestmark = pytest.mark.browser

# Page, and the widgets on it in order.
PAGES = {
    "tokenizer": ["tokenizer", "trainer"],
    "attention": ["explorer"],
    "sampling": ["sampler"],
    "calculators": ["calculators"],
    "scale": ["scale"],
    "pipeline": ["pipeline"],
}
BUDGETS = {"tokenizer": 250_000, "explorer": 2_000_000, "sampler": 2_000_000}  # bytes; the others' is:
SMALL = 25_000
LAZY = (
    "runtime/widgets/",
    "assets/model/",
    "assets/vendor/gpt-tokenizer",
    "assets/vendor/presets",
    "pyodide",
)


def lazy(url: str) -> bool:
    return any(part in url for part in LAZY) and not url.endswith("runtime/widgets/start.js")


def sent(url: str) -> int:
    """Bytes of a file of the site as a host sends it."""
    path = SITE / urlsplit(url).path.removeprefix(BASE)
    return min(path.stat().st_size, compressed(path))


def widget(page: Page, name: str) -> Locator:
    return page.locator(f'[data-widget="{name}"]')


def start(page: Page, name: str) -> Locator:
    """Press the button of a widget, and wait for its controls."""
    box = widget(page, name)
    box.get_by_role("button", name="Start").click()
    expect(box.locator(".widget-start")).to_have_count(0, timeout=30_000)
    return box


def started(page: Page, name: str) -> Locator:
    """A widget that starts without a click."""
    box = widget(page, name)
    expect(box.locator(".permalink")).to_be_attached(timeout=30_000)
    return box


@contextmanager
def opened(
    browser: Browser, url: str, name: str, *, width: int = DESKTOP, scheme: str = "light"
) -> Iterator[tuple[Page, Locator]]:
    """A page with one of its widgets started; nothing may go wrong while it is used."""
    page_name = next(page for page, names in PAGES.items() if name in names)
    with window(browser, width, scheme) as context:
        page = context.new_page()
        problems = watch(page)
        page.goto(f"{url}play/{page_name}/")
        yield page, start(page, name)
        assert not problems


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def rows(table: Locator) -> dict[str, list[str]]:
    """Cells of each row of a table, by its head."""
    found = table.evaluate(
        "box => [...box.querySelectorAll('tbody tr')].map(r => [...r.children].map(cell => cell.innerText))"
    )
    return {head: cells for head, *cells in found}


@pytest.mark.parametrize("name", representative(PAGES, "tokenizer"))
def test_nothing_is_loaded_before_the_click_and_the_button_names_the_size(
    browser: Browser, site_url: str, name: str
) -> None:
    with window(browser, DESKTOP) as context:
        page = context.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{site_url}play/{name}/", wait_until="networkidle")
        assert not [url for url in asked if lazy(url)]
        had = set(asked)
        for kind in PAGES[name]:
            named = int(widget(page, kind).get_attribute("data-bytes") or 0)
            label = widget(page, kind).get_by_role("button").inner_text()
            assert f"{named / 1e6:.1f} MB" in label or f"{-(-named // 1000)} kB" in label
            asked.clear()
            start(page, kind)
            new = set(asked) - had
            had |= new
            total = sum(map(sent, new))
            assert total <= named <= BUDGETS.get(kind, SMALL)
            if kind == PAGES[name][0]:  # a second widget shares modules with the first
                assert total > 0.99 * named


@pytest.mark.parametrize(
    ("width", "scheme"), [pytest.param(DESKTOP, "light", marks=pytest.mark.nightly), (PHONE, "dark")]
)
@pytest.mark.parametrize("name", PAGES)
def test_started_widgets_are_open_to_everyone(
    browser: Browser, site_url: str, name: str, width: int, scheme: str
) -> None:
    with window(browser, width, scheme) as context:
        context.clock.install()
        page = context.new_page()
        problems = watch(page)
        page.goto(f"{site_url}play/{name}/")
        for kind in PAGES[name]:
            start(page, kind)
        page.evaluate(OPEN)
        context.clock.run_for(1000)  # what is announced waits until the reader's hand rests
        assert not problems + misfits(page) + axe(page, within=".widget")  # for the rest: test_every_page


def test_tokens_are_tiktokens(browser: Browser, site_url: str) -> None:
    text = "Größe 🤖, 1234567"
    with opened(browser, site_url, "tokenizer") as (_, box):
        box.get_by_label("Your text").fill(text)
        for encoding in ("r50k_base", "cl100k_base"):
            if encoding != "r50k_base":
                box.get_by_role("button", name=f"Add {encoding}").click()
            strip = box.get_by_role("group", name=f"Tokens of {encoding}")
            ids = load_encoding(encoding).encode(text)
            expect(strip.get_by_role("button")).to_have_count(len(ids))
            labels = strip.evaluate("strip => [...strip.querySelectorAll('button')].map(b => b.ariaLabel)")
            assert [int(label.rpartition(" ")[2]) for label in labels] == ids
        summary = rows(box.locator("table").first)
        assert summary["cl100k_base"][0] == str(len(ids))


def test_tokens_are_read_with_the_arrow_keys_and_in_a_table(browser: Browser, site_url: str) -> None:
    with opened(browser, site_url, "tokenizer") as (page, box):
        box.get_by_label("Your text").fill("Hello, world!")
        box.get_by_role("group", name="Tokens of r50k_base").get_by_role("button").first.focus()
        press(page, "ArrowRight", "ArrowRight")
        expect(box.locator(".detail").first).to_have_text(
            "token 3 of 4: ·world, id 995, 6 bytes: 20 77 6f 72 6c 64"
        )
        press(page, "End")
        expect(box.locator(".detail").first).to_contain_text("token 4 of 4: !, id 0")
        press(page, "Shift+Tab", "Tab")  # one stop on the way, and the place is kept
        assert page.evaluate("document.activeElement.textContent") == "!"
        box.locator("summary").click()
        assert rows(box.locator("details table"))["3"] == ["·world", "995", "20 77 6f 72 6c 64"]


def test_a_special_token_is_text_until_the_reader_says_otherwise(browser: Browser, site_url: str) -> None:
    with opened(browser, site_url, "tokenizer") as (_, box):
        box.get_by_label("Your text").fill("<|endoftext|>")
        tokens = box.get_by_role("group", name="Tokens of r50k_base").get_by_role("button")
        expect(tokens).to_have_count(7)
        box.get_by_label("Read <|endoftext|>").check()
        expect(tokens).to_have_count(1)
        expect(tokens).to_have_accessible_name("<|endoftext|>, id 50256")
        expect(box.locator("output")).to_have_text("r50k_base: 1 tokens")


def test_merges_are_learned_from_the_keyboard(browser: Browser, site_url: str) -> None:
    with opened(browser, site_url, "trainer") as (page, box):
        box.get_by_role("button", name="Merge once").focus()
        press(page, "Enter", "Enter")
        merges = rows(box.locator("table").nth(1))
        # es occurs 6 times in newest and 3 times in widest, as the paper says; then est
        assert merges == {"257": ["es + t", "est", "9"], "256": ["e + s", "es", "9"]}
        expect(box.locator("output")).to_have_text(
            "Merge 2: es + t becomes est, id 257; the pair occurred 9 times."
        )
        box.get_by_label("Text to learn from").fill("aaabdaaabac")
        box.get_by_role("button", name="Merge 10 times").click()
        # Z = aa, Y = ab, X = ZY: the example of Wikipedia; then whatever is left
        assert list(rows(box.locator("table").nth(1)).values())[-3:] == [
            ["aa + ab", "aaab", "2"],
            ["a + b", "ab", "2"],
            ["a + a", "aa", "4"],
        ]
        box.get_by_label("Text to learn from").fill("")
        expect(box.get_by_role("button", name="Merge once")).to_be_disabled()


def test_every_head_is_reached_and_its_weights_sum_to_one(browser: Browser, site_url: str) -> None:
    with opened(browser, site_url, "explorer") as (page, box):
        heads = box.get_by_role("group", name="Layers and heads").get_by_role("button")
        expect(heads).to_have_count(16)
        heads.first.focus()
        press(page, "End", "Enter")
        expect(heads.last).to_have_attribute("aria-pressed", "true")
        box.get_by_text("All weights of this head").click()
        matrix = box.locator("details table").first
        expect(matrix.locator("caption")).to_contain_text("Layer 4, head 4")
        weights = matrix.evaluate(
            "t => [...t.tBodies[0].rows].map(r => [...r.querySelectorAll('td')].map(cell => cell.innerText))"
        )
        for place, row in enumerate(weights, 1):
            assert sum(cell != "" for cell in row) == place  # the future is masked
            assert sum(float(cell) for cell in row if cell) == pytest.approx(1, abs=0.005 * place + 1e-9)


def test_a_token_is_chosen_and_the_next_one_expected(browser: Browser, site_url: str) -> None:
    with opened(browser, site_url, "explorer") as (page, box):
        box.get_by_label("Your text").fill("The Congress of the United")
        strip = box.get_by_role("group", name="Tokens of the text").get_by_role("button")
        expect(strip).to_have_count(6)
        page.mouse.move(0, 0)  # off the tokens: one under the pointer is chosen
        strip.last.focus()
        expected = rows(box.locator("table").last)
        assert next(iter(expected)) == "·States"
        # the page's own table, by PyTorch, says the same
        page_table = rows(page.locator("article > .table-scroll table, article > table").first)
        assert page_table["The Congress of the United"][0].endswith(
            expected["·States"][0].split(".")[0] + "%"
        )
        press(page, "Home")
        expect(box.locator("output")).to_contain_text("Token 1, <|endoftext|>, attends most to token 1")


def test_pictures_follow_the_palette(browser: Browser, site_url: str) -> None:
    with opened(browser, site_url, "explorer") as (page, box):
        picture = box.locator("canvas.map")
        corner = "canvas => canvas.getContext('2d').getImageData(1, 1, 1, 1).data.join()"
        light = picture.evaluate(corner)
        page.emulate_media(color_scheme="dark")
        expect(page.locator("body")).to_have_attribute("data-md-color-scheme", "slate")
        assert picture.evaluate(corner) != light


def test_filters_act_and_a_seed_repeats_itself(browser: Browser, site_url: str) -> None:
    with opened(browser, site_url, "sampler") as (page, box):
        written = box.locator(".written")
        box.get_by_role("button", name="Write 20").click()
        first = written.inner_text()
        assert first.startswith("We must")
        assert len(first) > 30
        box.get_by_role("button", name="Start over").click()
        assert written.inner_text() == "We must"
        box.get_by_role("button", name="Write one token").focus()
        press(page, *["Enter"] * 20)
        assert written.inner_text() == first
        box.get_by_label("Seed").fill("1")
        box.get_by_role("button", name="Write 20").click()
        assert written.inner_text() != first


def test_sliders_are_moved_by_keys_and_say_their_value(browser: Browser, site_url: str) -> None:
    with opened(browser, site_url, "sampler") as (page, box):
        top_k, temperature = box.get_by_label("Top-k"), box.get_by_label("Temperature")
        top_k.focus()
        press(page, "Home", "ArrowRight", "ArrowRight", "ArrowRight")
        expect(top_k).to_have_attribute("aria-valuetext", "3")
        expect(box.get_by_text("Tokens left")).to_contain_text("3 after top-k")
        expect(box.locator("output")).to_have_text("3 of 2048 tokens can follow.")
        shares = [float(cells[-1].strip("%")) for cells in rows(box.locator("table")).values()]
        assert sum(shares) == pytest.approx(100, abs=0.3)
        assert shares[3] == 0
        temperature.focus()
        press(page, "Home")
        expect(temperature).to_have_attribute("aria-valuetext", "0, greedy")
        assert next(iter(rows(box.locator("table")).values()))[-1] == "100.0%"


def test_calculators_compute_and_refuse(browser: Browser, site_url: str) -> None:
    with opened(browser, site_url, "calculators") as (_, box):
        box.get_by_label("Model").select_option("llama-2-7b")
        expect(box).to_contain_text("6,738,415,616 parameters")
        box.get_by_label("Tokens, prompt and completion").fill("4096")
        cache = box.get_by_role("group", name="Key/value cache").locator("table")
        assert rows(cache)["All of it"] == ["2.15\u00a0GB"]  # 2 GiB
        box.get_by_label("Key/value heads").fill("8")
        assert rows(cache)["All of it"] == ["537\u00a0MB"]  # a quarter
        box.get_by_label("Rank").fill("0")
        expect(box.locator("output")).to_have_text("rank must be a number above 0, not 0")
        box.get_by_label("Rank").fill("8")
        expect(box.locator("output")).to_be_empty()
        # 32 layers x 2 matrices x 8 x (4096 + 4096), less on the values that 8 heads make
        lora = rows(box.get_by_role("group", name="LoRA").locator("table"))
        assert lora["Trained parameters"][0].startswith(f"{32 * 8 * (4096 + 4096 + 4096 + 1024):,}")


PERMALINKS: dict[str, Callable[[Locator], object]] = {
    "tokenizer": lambda box: box.get_by_label("Your text").input_value(),
    "trainer": lambda box: rows(box.locator("table").nth(1)),
    "explorer": lambda box: box.locator("[aria-pressed=true]").get_attribute("aria-label"),
    "sampler": lambda box: box.get_by_label("Top-k").input_value(),
    "calculators": lambda box: rows(box.locator("table").nth(1)),
    "scale": lambda box: rows(box.locator("table")),
}


def change(page: Page, box: Locator, name: str) -> None:
    if name == "tokenizer":
        box.get_by_label("Your text").fill("one & two = ?#")
    elif name == "trainer":
        box.get_by_role("button", name="Merge 10 times").click()
    elif name == "explorer":
        box.get_by_role("button", name="Layer 3, head 2").click()
    elif name == "sampler":
        box.get_by_label("Top-k").fill("7")
    elif name == "calculators":
        box.get_by_label("Training tokens").fill("123")
    else:
        box.get_by_label("Parameters").focus()
        press(page, "ArrowRight", "ArrowRight", "ArrowRight")


@pytest.mark.parametrize("name", representative(PERMALINKS, "explorer", "calculators"))
def test_a_link_brings_the_settings_back(browser: Browser, site_url: str, name: str) -> None:
    look = PERMALINKS[name]
    with opened(browser, site_url, name) as (page, box):
        before = look(box)
        change(page, box, name)
        after = look(box)
        assert after != before
        link = box.get_by_role("link", name="Link to these settings").evaluate("link => link.href")
        fresh = page.context.new_page()
        fresh.goto(link)
        assert look(started(fresh, name)) == after


def test_scale_starts_at_gpt_3(browser: Browser, site_url: str) -> None:
    with opened(browser, site_url, "scale") as (_, box):
        found = rows(box.locator("table"))
        # the numbers of the introduction's cell, to three digits
        assert found["Each parameter a grain of rice"][0] == "4,370 tonnes"
        assert found["Counting the parameters, one a second"][0] == "5,530 years"
        assert found["Reading the training text"][0] == "1,600 years"
        assert found["The same at 10¹² operations a second"][0] == "9,960 years"


@pytest.mark.nightly
def test_the_pipeline_learns_and_stops(browser: Browser, site_url: str) -> None:
    with opened(browser, site_url, "pipeline") as (page, box):
        box.get_by_role("button", name="Train").focus()
        press(page, "Enter")
        expect(box.locator("svg.chart path.series")).to_be_visible(timeout=120_000)
        expect(box.get_by_role("img", name="Loss of pre-training")).to_be_visible()
        box.get_by_role("button", name="Stop").click()
        expect(box.locator("output")).to_have_text("Stopped.")
        assert page.evaluate("document.activeElement.textContent").startswith("Train")


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.nightly)])
def test_a_button_can_be_read_after_a_click(browser: Browser, site_url: str, scheme: str) -> None:
    with opened(browser, site_url, "trainer", scheme=scheme) as (page, box):
        again = box.get_by_role("button", name="Start over")
        before = again.evaluate("button => getComputedStyle(button).color")
        again.click()
        page.mouse.move(0, 0)
        expect(again).to_be_focused()
        expect(again).to_have_css("color", before)


def test_a_file_that_is_missing_is_told_and_can_be_tried_again(browser: Browser, site_url: str) -> None:
    with window(browser, DESKTOP) as context:
        page = context.new_page()
        page.route("**/weights.bin", lambda route: route.fulfill(status=404))
        page.goto(f"{site_url}play/sampling/")
        box = widget(page, "sampler")
        box.get_by_role("button", name="Start").click()
        expect(box.locator("output")).to_have_text(
            "It could not be loaded: weights.bin is not there (404). Check the connection and try again."
        )
        expect(box).to_contain_text("If JavaScript is enabled")
        page.unroute("**/weights.bin")
        start(page, "sampler")


def test_instant_navigation_offers_the_next_page_its_widgets(browser: Browser, site_url: str) -> None:
    with window(browser, DESKTOP) as context:
        page = context.new_page()
        problems = watch(page)
        sitemap = (SITE / "sitemap.xml").read_text(encoding="utf-8").replace(PUBLIC, site_url)
        page.route("**/sitemap.xml", lambda route: route.fulfill(body=sitemap, content_type="text/xml"))
        with page.expect_response("**/sitemap.xml"):
            page.goto(f"{site_url}play/")
        page.evaluate("window.survives = true")
        page.locator("article").get_by_role("link", name="Tokens").click()
        start(page, "trainer")
        page.go_back()
        page.locator("article").get_by_role("link", name="Understanding scale").click()
        box = start(page, "scale")
        box.get_by_role("link", name="Link to these settings").click()
        expect(box.locator("table")).to_be_visible()  # the address changes, and nothing else
        expect(page).to_have_url(re.compile(r"#scale\?params="))
        assert page.evaluate("window.survives"), "the browser loaded the whole page anew"
        assert not problems


@pytest.mark.parametrize("name", representative(PAGES, "tokenizer"))
def test_without_scripts_words_and_numbers_stand_there(browser: Browser, site_url: str, name: str) -> None:
    context = browser.new_context(java_script_enabled=False, viewport={"width": PHONE, "height": 900})
    page = context.new_page()
    page.goto(f"{site_url}play/{name}/")
    for kind in PAGES[name]:
        expect(widget(page, kind)).to_contain_text("If JavaScript is enabled")
        expect(widget(page, kind).locator("button")).to_have_count(0)
    assert page.locator("article table").count() or page.locator(".widget a").count()
    context.close()
