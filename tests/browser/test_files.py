"""Files in the console: into a memory and its thread, small and large, and out again."""

from pathlib import Path

import pytest
from playwright.async_api import Locator, Route, expect

from tests.browser.window import Window

pytestmark = pytest.mark.asyncio(loop_scope="session")

# A picture, as it comes by a drop or from the clipboard, to whatever has the focus.
BRING = """async ([name, kind]) => {
    const canvas = new OffscreenCanvas(4, 4);
    canvas.getContext("2d").fillRect(0, 0, 4, 4);
    const bytes = await canvas.convertToBlob({ type: "image/png" });
    const carried = new DataTransfer();
    carried.items.add(new File([bytes], name, { type: "image/png" }));
    const options = { bubbles: true, cancelable: true };
    const drop = () => new DragEvent("drop", { ...options, dataTransfer: carried });
    const paste = () => new ClipboardEvent("paste", { ...options, clipboardData: carried });
    document.activeElement.dispatchEvent(kind === "drop" ? drop() : paste());
}"""


def files(window: Window) -> Locator:
    return window.page.get_by_role("region", name="Files")


async def choose(window: Window, button: str, path: Path) -> None:
    async with window.page.expect_file_chooser() as chooser:
        await window.page.get_by_role("button", name=button, exact=True).click()
    await (await chooser.value).set_files(path)


async def test_files_go_on_where_they_broke_off_and_are_downloaded_removed_and_refused(
    first: Window, tmp_path: Path
) -> None:
    await first.write("Papers", "All of them")
    await first.saved()
    large, small = tmp_path / "scan.bin", tmp_path / "note.txt"
    large.write_bytes(bytes(range(256)) * 36_000)  # two pieces
    small.write_text("remember")
    pieces: list[str] = []

    async def lossy(route: Route) -> None:
        pieces.append(route.request.headers["upload-offset"])
        await (route.abort("connectionreset") if len(pieces) == 2 else route.fallback())

    await first.page.route("**/api/uploads/*", lossy)
    await choose(first, "Files", large)
    await expect(files(first).get_by_role("button", name="Open scan.bin 8.8 MB")).to_be_visible()
    assert pieces == ["0", "8388608", "8388608"]
    await choose(first, "Add files", small)
    await files(first).get_by_role("button", name="Open note.txt 8 bytes").click()
    viewer = first.page.get_by_role("dialog", name="note.txt")
    link = viewer.get_by_role("link", name="Download")
    async with first.page.expect_download() as download:
        await link.click()
    assert (await (await download.value).path()).read_text() == "remember"
    await viewer.get_by_role("button", name="Remove").click()
    await (
        first.page.get_by_role("dialog", name="Remove “note.txt”?")
        .get_by_role("button", name="Remove")
        .click()
    )
    await expect(viewer).to_have_count(0)
    await expect(files(first).locator(".file")).to_have_count(1)
    await first.page.unroute("**/api/uploads/*", lossy)
    huge = tmp_path / "film.bin"
    huge.write_bytes(bytes(13 * 2**20))
    await choose(first, "Files", huge)
    await expect(files(first)).to_contain_text("Too large: a file may have 12 MB.")
    await files(first).get_by_role("button", name="Cancel upload of film.bin").click()
    await expect(files(first).get_by_label("Uploads")).to_be_hidden()


async def test_what_is_dropped_and_pasted_is_taken(first: Window) -> None:
    await first.write("Pictures", "of us")
    await first.saved()
    await first.body.focus()
    await first.page.evaluate(BRING, ["dropped.png", "drop"])
    await expect(files(first).get_by_role("button", name="Open dropped.png")).to_be_visible()
    await expect(first.body).to_have_text("of us")
    await first.page.get_by_label("Write a message").fill("Look")
    await first.page.evaluate(BRING, ["pasted.png", "paste"])
    send = first.page.get_by_role("button", name="Send")
    await expect(send).to_be_enabled()
    await expect(first.page.get_by_label("Attachments")).to_contain_text("pasted.png")
    await send.click()
    thread = first.page.get_by_role("region", name="Thread")
    await expect(thread.get_by_role("button", name="Open pasted.png")).to_be_visible()
    await expect(thread.locator("img")).to_be_visible()
    await expect(files(first).locator(".file")).to_have_count(1)
