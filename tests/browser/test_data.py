"""What belongs to an account: taken along, brought in, and deleted, from the settings."""

import asyncio
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4
from zipfile import ZipFile

import pytest
from playwright.async_api import FilePayload, Locator, Route, expect
from pycrdt import Doc, Text

from tests.browser.conftest import OpenWindow
from tests.browser.window import Person, Window

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def archive(window: Window) -> Path:
    """Has an archive made, and downloads it."""
    dialog = await window.settings("Your data")
    await dialog.get_by_role("button", name="Make an archive").click()
    entry = dialog.get_by_role("list", name="Archives").get_by_role("listitem")
    await expect(entry).to_contain_text("kept until")
    async with window.page.expect_download() as download:
        await entry.get_by_role("link", name="Download").click()
    assert (await download.value).suggested_filename.startswith("memo-")
    path: Path = await (await download.value).path()
    await dialog.get_by_role("button", name="Close settings").click()
    return path


async def choose(window: Window, content: bytes) -> Locator:
    """Has a ZIP file brought in. Returns the settings."""
    dialog = await window.settings("Your data")
    chosen = FilePayload(name="all.zip", mimeType="application/zip", buffer=content)
    await dialog.get_by_label("ZIP file to bring in").set_input_files(chosen)
    return dialog


async def test_an_archive_is_made_and_downloaded(first: Window) -> None:
    await first.write("Take me", "along")
    await first.saved()
    with ZipFile(await archive(first)) as taken:
        assert "manifest.json" in taken.namelist()
        document = next(name for name in taken.namelist() if name.endswith("/document.yjs"))
        doc: Doc[Any] = Doc()
        doc.apply_update(taken.read(document))
        assert str(doc.get("content", type=Text)) == "along"
    dialog = await first.settings("Your data")
    await dialog.get_by_role("button", name="Make an archive").click()
    await expect(dialog.get_by_text("Try again in")).to_be_visible()


async def test_an_archive_and_a_folder_of_markdown_are_brought_into_another_account(
    open_window: OpenWindow, first: Window
) -> None:
    await first.write("Moved", "from there to here")
    await first.saved()
    taken = (await archive(first)).read_bytes()
    folder = BytesIO()
    with ZipFile(folder, "w") as notes:
        notes.writestr("vault/Tea.md", "# Tea\n\nTwo spoons.")
        notes.writestr("vault/broken.md", b"\xff\xfe")
    other = await open_window()
    await other.sign_up(Person("Grace", "Hopper", f"grace-{uuid4().hex}@example.org"))
    dialog = await choose(other, taken)
    report = dialog.get_by_role("list", name="Brought in").get_by_role("listitem").first
    await expect(report).to_have_attribute("data-state", "done")
    await expect(report).to_contain_text("1 memory")
    await other.page.keyboard.press("Escape")
    closed = asyncio.Event()

    async def later(route: Route) -> None:
        await closed.wait()
        await route.continue_()

    await other.page.route("**/api/files", later)
    dialog = await choose(other, folder.getvalue())
    await expect(dialog.get_by_role("list", name="Being sent")).to_contain_text("all.zip")
    await other.page.keyboard.press("Escape")
    await expect(dialog).to_have_count(0)
    closed.set()
    await expect(other.page.get_by_text("The archive is brought in: 1 memory.")).to_be_visible()
    dialog = await other.settings("Your data")
    report = dialog.get_by_role("list", name="Brought in").get_by_role("listitem").first
    await report.get_by_text("1 entry was left out").click()
    await expect(report).to_contain_text("vault/broken.md")
    await expect(report).to_contain_text("is not text")
    # The archives themselves take no room.
    sections = other.page.get_by_role("navigation", name="Sections")
    await sections.get_by_role("button", name="Storage").click()
    await expect(other.page.get_by_text("in 0 files")).to_be_visible()
    await other.page.keyboard.press("Escape")
    await expect(other.rows).to_have_count(2)
    await expect(other.row("Tea")).to_contain_text("Two spoons.")
    await other.open("Moved")
    await expect(other.body).to_have_text("from there to here")


async def test_an_account_is_deleted_with_all_that_the_device_has_of_it(
    first: Window, ada: Person
) -> None:
    page = first.page
    await first.write("Gone", "for good")
    await first.saved()
    dialog = await first.settings("Your data")
    await dialog.get_by_text("Delete your account…").click()
    await expect(dialog.get_by_text("Your memory goes, with threads")).to_be_visible()
    remove = dialog.get_by_role("button", name="Delete my account for good")
    await dialog.get_by_label("Current password").fill("Wrong1!password")
    await dialog.get_by_label("Type “delete” to confirm").fill("remove")
    await remove.click()
    await expect(dialog.locator("#delete-confirm-error")).to_have_text("Type the word delete.")
    await dialog.get_by_label("Type “delete” to confirm").fill("delete")
    await remove.click()
    await expect(dialog.locator("#delete-password-error")).to_have_text(
        "Current password is wrong."
    )
    await dialog.get_by_label("Current password").fill(ada.password)
    await remove.click()
    await expect(page.get_by_role("heading", name="Welcome back")).to_be_visible()
    await expect(page.get_by_text("Your account is deleted")).to_be_visible()
    assert await first.session() is None
    kept = await page.evaluate("indexedDB.databases().then((all) => all.map((one) => one.name))")
    assert kept == ["memo.session"]
    await first.try_to_sign_in(ada)
    await expect(page.locator(".form-error")).to_contain_text("password")
