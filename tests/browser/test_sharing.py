"""Sharing in the console: invited, joined, given another role and removed, at once."""

from io import BytesIO
from uuid import uuid4

import pytest
from PIL import Image
from playwright.async_api import Locator, expect

from tests.browser.conftest import OpenWindow
from tests.browser.window import Person, Window

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture
def bob() -> Person:
    return Person("Bob", "Builder", f"bob-{uuid4().hex}@example.org")


async def share(window: Window) -> Locator:
    await window.page.get_by_role("button", name="Share", exact=True).click()
    return window.page.get_by_role("dialog", name="Share")


async def test_an_invited_commenter_comments_reads_only_and_is_removed(
    open_window: OpenWindow, first: Window, bob: Person
) -> None:
    other = await open_window()
    await other.sign_up(bob)
    picture = BytesIO()
    Image.new("RGB", (300, 300), "teal").save(picture, "PNG")
    settings = await first.settings("Profile")
    await settings.get_by_label("Picture", exact=True).set_input_files(
        {"name": "me.png", "mimeType": "image/png", "buffer": picture.getvalue()}
    )
    await expect(settings.locator(".avatar-large img")).to_be_visible()
    await first.page.keyboard.press("Escape")
    await first.write("Ours", "Written by one")
    await first.saved()
    await first.page.get_by_label("Write a message").fill("What do you think?")
    await first.page.keyboard.press("Enter")
    dialog = await share(first)
    await dialog.get_by_label("E-mail address to invite").fill(bob.email)
    await dialog.get_by_label("Role of who is invited").select_option("commenter")
    await dialog.get_by_role("button", name="Invite", exact=True).click()
    await expect(dialog.get_by_label("Invitations")).to_contain_text(bob.email)
    card = other.page.get_by_label("Invitations for you")
    await expect(card).to_contain_text("Ada Lovelace shares “Ours” with you.")
    await card.get_by_role("button", name="Accept").click()
    await expect(other.body).to_have_text("Written by one")
    await expect(other.body).to_have_attribute("contenteditable", "false")
    await expect(other.status).to_have_text("You can comment")
    await expect(other.page.get_by_role("separator")).to_have_text("New")
    await expect(other.page.locator(".message .avatar img")).to_be_visible()
    field = other.page.get_by_label("Write a message")
    await field.fill("Very good")
    await field.press("Enter")
    comment = first.page.locator(".message").filter(has_text="Very good")
    await expect(comment).to_contain_text("Bob Builder")
    role = dialog.get_by_label("Role of Bob Builder")
    await role.select_option("viewer")
    await expect(other.page.get_by_text("You can read this thread")).to_be_visible()
    await expect(field).to_be_hidden()
    await role.select_option("editor")
    await expect(other.body).to_have_attribute("contenteditable", "true")
    await other.append(", and by two")
    await expect(first.body).to_have_text("Written by one, and by two")
    await role.select_option("remove")
    await (
        first.page.get_by_role("dialog", name="Remove Bob Builder?")
        .get_by_role("button", name="Remove")
        .click()
    )
    await expect(other.page.get_by_role("alert").first).to_contain_text("no longer shared with you")
    await expect(other.body).to_have_attribute("contenteditable", "false")


async def test_a_link_lets_a_new_account_join(
    open_window: OpenWindow, first: Window, bob: Person
) -> None:
    await first.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await first.write("By link", "Come in")
    await first.saved()
    dialog = await share(first)
    await dialog.get_by_label("Role of who is invited").select_option("viewer")
    await dialog.get_by_role("button", name="Copy a link that").click()
    await expect(dialog.get_by_role("status")).to_have_text("The link is on the clipboard.")
    link = await first.page.evaluate("navigator.clipboard.readText()")
    other = await open_window()
    await other.page.goto(link)
    await other.page.reload()  # the token left the address, and is not lost
    await other.sign_up(bob)
    joining = other.page.get_by_role("dialog", name="You are invited")
    await expect(joining).to_contain_text(bob.email)
    await joining.get_by_role("button", name="Join").click()
    await expect(other.body).to_have_text("Come in")
    assert link.partition("#")[2] not in other.page.url
    await expect(dialog.get_by_label("Members")).to_contain_text("Bob Builder")
    await other.page.get_by_role("button", name="Share", exact=True).click()
    await other.page.get_by_role("button", name="Leave this memory").click()
    await (
        other.page.get_by_role("dialog", name="Leave this memory?")
        .get_by_role("button", name="Leave")
        .click()
    )
    await expect(other.page.get_by_text("No memories yet")).to_be_visible()
