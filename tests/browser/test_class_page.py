"""The page that a class gets: opened from a disk, it is open to everyone and asks no host for anything."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from llmguide.exercises.classroom import chosen
from llmguide.exercises.course import stub
from llmguide.exercises.handout import page as page_of
from tests.browser.windows import DESKTOP, PHONE, axe, misfits, watch

pytestmark = pytest.mark.browser
ASKED = chosen(["temperature", "kv-cache", "coin-change"])


@pytest.fixture
def address(tmp_path: Path) -> str:
    (tmp_path / "index.html").write_text(page_of(ASKED), encoding="utf-8")
    return (tmp_path / "index.html").as_uri()


@pytest.mark.parametrize(("width", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")])
def test_it_is_open_to_everyone(browser: Browser, address: str, width: int, scheme: str) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
    problems = watch(page)
    page.goto(address)
    red, green, blue = page.evaluate(
        """() => {
          const colors = getComputedStyle(document.body).color.match(/[0-9]+/g);
          return colors.slice(0, 3).map(Number);
        }"""
    )
    assert (red + green + blue < 3 * 128) == (scheme == "light")
    assert not axe(page) + misfits(page) + problems
    page.close()


def test_the_keyboard_reaches_every_link_and_saves_a_file(browser: Browser, address: str) -> None:
    page = browser.new_page(offline=True)
    page.goto(address)
    links = page.locator("a").all_text_contents()
    reached = []
    for _ in links:
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.textContent"))
    assert reached == links
    page.get_by_role("link", name="Save kv-cache.py").focus()
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    assert download.value.suggested_filename == "kv-cache.py"
    assert Path(download.value.path()).read_text(encoding="utf-8") == stub(ASKED[1])
    page.close()
