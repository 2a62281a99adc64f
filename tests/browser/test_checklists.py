"""Checklists: ticks stay, the keyboard reaches them, and without scripts they are plain lists."""

import pytest
from playwright.sync_api import Browser, expect

pytestmark = pytest.mark.browser


def test_a_tick_stays_and_is_counted(browser: Browser, site_url: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{site_url}resources/")
    first = page.locator(".checklist").first
    box = first.get_by_role("checkbox").first
    expect(first.locator("output")).to_contain_text("0 of")
    box.focus()
    page.keyboard.press("Space")
    expect(box).to_be_checked()
    expect(first.locator("output")).to_contain_text("1 of")
    page.reload()
    expect(first.get_by_role("checkbox").first).to_be_checked()
    expect(first.get_by_role("checkbox").nth(1)).not_to_be_checked()
    context.close()


def test_each_box_is_named_by_its_step_and_links_still_lead_on(browser: Browser, site_url: str) -> None:
    page = browser.new_page()
    page.goto(f"{site_url}resources/")
    box = page.get_by_role("checkbox", name="Train the n-gram model on a text you know well")
    expect(box).to_have_count(1)
    page.locator(".checklist a").first.click()
    expect(page).to_have_url(f"{site_url}learn/introduction/#the-simplest-language-model-counts")
    page.close()


def test_without_scripts_it_is_a_plain_list(browser: Browser, site_url: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{site_url}resources/")
    assert page.locator(".checklist ol > li").count() > 30
    assert page.locator(".checklist input").count() == 0
    context.close()
