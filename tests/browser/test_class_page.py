"""The page that a class gets: opened from a disk, it is open to everyone and asks no host for anything."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser
from tests.browser.test_pages import DESKTOP, PHONE, axe, misfits, watch, window

from llmguide.exercises.classroom import chosen
from llmguide.exercises.course import stub
from llmguide.exercises.handout import page as page_of

pytestmark = pytest.mark.browser
ASKED = chosen(["temperature", "kv-cache", "coin-change"])


@pytest.fixture
def address(tmp_path: Path) -> str:
    (tmp_path / "index.html").write_text(page_of(ASKED), encoding="utf-8")
    return (tmp_path / "index.html").as_uri()


@pytest.mark.parametrize(("width", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")])
def test_it_is_open_to_everyone(browser: Browser, address: str, width: int, scheme: str) -> None:
    with window(browser, width, scheme) as context:
        page = context.new_page()
        problems = watch(page)
        page.goto(address)
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        canvas = page.evaluate("getComputedStyle(document.documentElement).colorScheme")
        assert canvas == "light dark", background
        assert not axe(page) + misfits(page) + problems


def test_the_keyboard_reaches_every_link_and_saves_a_file(browser: Browser, address: str) -> None:
    with window(browser, DESKTOP) as context:
        page = context.new_page()
        page.goto(address)
        reached = []
        for _ in page.locator("a").all():
            page.keyboard.press("Tab")
            reached.append(page.evaluate("document.activeElement.textContent"))
        assert reached == page.locator("a").all_text_contents()
        page.get_by_role("link", name="Save kv-cache.py").focus()
        with page.expect_download() as download:
            page.keyboard.press("Enter")
        assert download.value.suggested_filename == "kv-cache.py"
        assert Path(download.value.path()).read_text(encoding="utf-8") == stub(ASKED[1])
