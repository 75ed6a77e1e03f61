"""A memory's history in the console: named, compared, restored, and that undone."""

import pytest
from playwright.async_api import expect

from tests.browser.window import Window

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_version_is_named_compared_and_restored_and_that_is_undone(first: Window) -> None:
    page = first.page
    await first.write("Recipe", "Two eggs and flour")
    await first.saved()
    history = page.get_by_role("dialog", name="History")
    await page.get_by_role("button", name="History").click()
    await history.get_by_label("Name of the version to save").fill("Grandmother's")
    await history.get_by_role("button", name="Save").click()
    version = history.get_by_label("Versions").get_by_role("button", name="Grandmother's")
    await expect(version).to_contain_text("You")
    await page.keyboard.press("Escape")
    await first.body.focus()
    await page.keyboard.press("Control+A")
    await page.keyboard.type("Three eggs and flour")
    await first.saved()
    await page.get_by_role("button", name="History").click()
    await version.click()
    await expect(history.locator("del")).to_have_text("Two")
    await expect(history.locator("ins")).to_have_text("Three")
    await history.get_by_role("button", name="Show what changed since").click()
    await expect(history.locator(".version-content")).to_contain_text("Two eggs and flour")
    await expect(history.locator("ins")).to_have_count(0)
    await history.get_by_role("button", name="Restore").click()
    await expect(first.body).to_have_text("Two eggs and flour")
    await page.get_by_role("button", name="Undo").click()
    await expect(first.body).to_have_text("Three eggs and flour")
