"""A memory's thread in the console: written, answered, edited and read, online or not."""

import pytest
from playwright.async_api import Locator, expect

from tests.browser.window import Window

pytestmark = pytest.mark.asyncio(loop_scope="session")


def messages(window: Window) -> Locator:
    return window.page.get_by_label("Messages", exact=True).locator(".message")


async def say(window: Window, text: str) -> None:
    field = window.page.get_by_label("Write a message")
    await field.fill(text)
    await field.press("Enter")
    await expect(field).to_have_value("")


async def test_a_thread_is_written_edited_and_answered_on_two_devices_and_offline(
    first: Window, second: Window
) -> None:
    await first.write("Trip", "To the sea")
    await first.saved()
    await second.open("Trip")
    await say(first, "By train?")
    await expect(messages(second)).to_contain_text("By train?")
    await messages(second).get_by_role("button", name="Reply").click()
    await say(second, "Yes, the early one")
    quote = messages(first).nth(1).get_by_role("button", name="Ada Lovelace By train?")
    await expect(quote).to_be_visible()
    await messages(first).nth(0).get_by_role("button", name="Edit message").click()
    field = first.page.get_by_role("textbox", name="Edit message")
    await field.press("End")
    await field.press_sequentially(" Or by bus?")
    # Others see it as it is typed.
    await expect(messages(second).nth(0)).to_contain_text("By train? Or by bus?")
    await field.press("Enter")
    await expect(field).to_have_count(0)
    await messages(first).nth(0).get_by_role("button", name="Delete message").click()
    dialog = first.page.get_by_role("dialog", name="Delete this message?")
    await dialog.get_by_role("button", name="Delete").click()
    await expect(messages(second)).to_have_count(1)
    await expect(messages(second)).to_contain_text("A deleted message")
    await first.page.context.set_offline(True)
    await expect(first.status).to_contain_text("Offline")
    await say(first, "From below ground")
    await expect(messages(first)).to_have_count(2)
    await first.page.context.set_offline(False)
    await expect(messages(second).nth(1)).to_contain_text("From below ground")
