"""The library in the console: categories, views, the trash, many memories at once, and search."""

import asyncio
import re
from uuid import UUID

import pytest
from playwright.async_api import Locator, expect

from protocol.client import Client
from protocol.messages import MESSAGES_CREATE, CreateMessage
from tests.browser.conftest import OpenWindow
from tests.browser.window import Person, Window
from tests.serving import ServerProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")


def view(window: Window, name: str) -> Locator:
    """A view, a category or a tag of the side bar."""
    return window.page.get_by_label("Views", exact=True).get_by_role(
        "button", name=name, exact=True
    )


def categories(window: Window) -> Locator:
    return window.page.locator("[data-category]")


async def drag(window: Window, what: Locator, onto: Locator) -> None:
    start, end = await what.bounding_box(), await onto.bounding_box()
    assert start
    assert end
    mouse = window.page.mouse
    await mouse.move(start["x"] + 40, start["y"] + 10)
    await mouse.down()
    await mouse.move(end["x"] + 40, end["y"] + 14, steps=8)
    await mouse.up()


async def from_menu(window: Window, title: str, name: str) -> None:
    """An entry of a row's menu."""
    await window.row(title).click(button="right")
    await entry(window, name).click()


def entry(window: Window, name: str) -> Locator:
    return window.page.locator("[role^=menuitem]").filter(has_text=name)


async def test_categories_are_made_offline_and_put_in_order_on_all_devices(
    first: Window, second: Window
) -> None:
    page = first.page
    await first.write("Lamp", "for the hall")
    await first.saved()
    await page.context.set_offline(True)
    await page.get_by_role("button", name="New category").click()
    await page.get_by_label("Name", exact=True).fill("Hallway")
    await page.get_by_label("Green").check(force=True)
    await page.keyboard.press("Enter")
    await page.get_by_role("button", name="Choose a category").click()
    await entry(first, "Hallway").click()
    await expect(page.get_by_role("button", name="Category: Hallway")).to_be_visible()
    await page.context.set_offline(False)
    await view(second, "Hallway").click()
    await expect(second.rows).to_have_text(re.compile("Lamp"))
    await view(second, "Hallway").focus()
    await second.page.keyboard.press("Alt+ArrowUp")
    await expect(categories(first).nth(7)).to_have_accessible_name("Hallway")
    await categories(first).nth(7).click(button="right")
    await entry(first, "Change").click()
    await page.get_by_label("Name", exact=True).fill("Entrance")
    await page.get_by_role("button", name="Save").click()
    await expect(second.page.get_by_role("heading", name="Entrance")).to_be_visible()
    await categories(first).nth(7).click(button="right")
    await entry(first, "Delete").click()
    await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await expect(view(second, "Entrance")).to_have_count(0)
    await expect(second.page.get_by_role("heading", name="All memories")).to_be_visible()
    await expect(second.row("Lamp")).to_be_visible()
    await drag(first, categories(first).first, categories(first).nth(2))
    for window in (first, second):
        await expect(categories(window).nth(2)).to_have_accessible_name("Work")


async def test_a_reload_keeps_view_filters_and_order(first: Window) -> None:
    page = first.page
    for title in ("Pear", "Apple", "Fig"):
        await first.write(title, "from the garden")
    await page.keyboard.press("Escape")
    await from_menu(first, "Pear", "Category")
    await entry(first, "Work").click()
    await view(first, "Uncategorized").click()
    await expect(first.rows).to_have_text([re.compile("Fig"), re.compile("Apple")])
    await page.get_by_role("button", name="Sort and dates").click()
    await page.get_by_label("Title, A to Z").check()
    await page.get_by_role("button", name="Today", exact=True).click()
    await page.keyboard.press("Escape")
    await page.reload()
    await expect(page.get_by_role("heading", name="Uncategorized")).to_be_visible()
    await expect(first.rows).to_have_text([re.compile("Apple"), re.compile("Fig")])
    await expect(page.get_by_label("Narrowed to")).to_contain_text("Today")
    await first.write("Quince", "stays in sight")
    await expect(page.get_by_role("heading", name="Uncategorized")).to_be_visible()
    await expect(first.rows).to_have_count(3)


async def test_many_memories_are_changed_at_once_and_given_back(
    first: Window, second: Window
) -> None:
    page = first.page
    for title in ("One", "Two", "Three", "Four"):
        await first.write(title, "of several")
    await page.keyboard.press("Escape")
    await page.keyboard.press("m")
    await expect(entry(first, "Add to favourites")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(page.get_by_label("Memories", exact=True)).to_be_focused()
    await first.row("Three").click(modifiers=["Control"])
    await first.row("One").click(modifiers=["Shift"])
    await expect(page.get_by_text("3 selected")).to_be_visible()
    await page.get_by_role("button", name="Archive", exact=True).last.click()
    await expect(second.rows).to_have_count(1)
    await view(second, "Archive").click()
    await expect(second.rows).to_have_count(3)
    await page.keyboard.press("Control+z")
    await expect(second.page.get_by_text("The archive is empty")).to_be_visible()
    await expect(first.rows).to_have_count(4)


async def test_the_trash_gives_back_and_is_emptied(first: Window, second: Window) -> None:
    page = first.page
    for title in ("Keep", "Away", "Gone"):
        await first.write(title, "as it was")
    await first.saved()
    await view(second, "Trash").click()
    await expect(second.page.get_by_text("The trash is empty")).to_be_visible()
    await page.context.set_offline(True)
    for title in ("Keep", "Away", "Gone"):
        await from_menu(first, title, "Move to trash")
    await expect(page.get_by_text("No memories yet")).to_be_visible()
    await page.context.set_offline(False)
    await expect(second.rows).to_have_count(3)
    await second.row("Keep").click()
    await expect(second.page.get_by_text("as it was").last).to_be_visible()
    await second.page.get_by_role("button", name="Restore").click()
    await expect(first.row("Keep")).to_be_visible()
    await expect(second.body).to_have_text("as it was")
    await from_menu(second, "Away", "Delete for good")
    await second.page.get_by_role("button", name="Delete for good").click()
    await expect(second.rows).to_have_count(1)
    await view(first, "Trash").click()
    await page.get_by_role("button", name="Empty trash").click()
    await page.get_by_role("button", name="Delete for good").last.click()
    for window in (first, second):
        await expect(window.page.get_by_text("The trash is empty")).to_be_visible()


async def test_search_and_dates_find_what_the_list_does_not_show(
    first: Window, server: ServerProcess
) -> None:
    page = first.page
    await first.write("Café", "a quiet corner")
    await first.write("Boat", "names for it")
    await first.saved()
    memory_id = UUID(await page.evaluate("location.hash.slice(1)"))
    session = await first.session()
    assert session
    async with Client(server.socket_url, session["accessToken"]) as client:
        said = CreateMessage(memory_id=memory_id, content="The harbourmaster called")
        await client.call(MESSAGES_CREATE, said)
    await first.search.fill("cafe")
    await expect(first.rows).to_have_count(1)
    await expect(first.rows.locator("mark")).to_have_text("Café")
    await first.search.fill("harbourma")
    await expect(first.rows.locator("mark")).to_have_text("harbourmaster")
    await expect(first.row("Boat")).to_contain_text("In the thread")
    await first.search.fill("a")
    await expect(first.rows).to_have_count(2)
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Enter")
    await expect(first.title).to_have_value("Café")
    await page.get_by_role("button", name="Sort and dates").click()
    await page.get_by_label("Until").fill("2020-05-31")
    await expect(page.get_by_text("Nothing found")).to_be_visible()
    await page.get_by_role("button", name="Today", exact=True).click()
    await expect(first.rows).to_have_count(2)
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name="Remove the filter Today").click()
    await expect(page.get_by_label("Narrowed to")).to_be_hidden()


async def test_a_hit_in_a_thread_opens_it_at_the_message(
    open_window: OpenWindow, first: Window, server: ServerProcess, ada: Person
) -> None:
    page = first.page
    await first.write("Harbour", "and its boats")
    await first.saved()
    memory_id = UUID(await page.evaluate("location.hash.slice(1)"))
    await first.write("Other", "nothing of it")
    session = await first.session()
    assert session
    async with Client(server.socket_url, session["accessToken"]) as client:

        async def say(content: str) -> None:
            await client.call(MESSAGES_CREATE, CreateMessage(memory_id=memory_id, content=content))

        await say("The lighthouse keeper")
        await asyncio.gather(*(say(f"Message {number}") for number in range(60)))
    phone = await open_window(viewport={"width": 375, "height": 812}, has_touch=True)
    await phone.sign_in(ada)
    for window in (first, phone):
        found = window.page.locator(".message").filter(has_text="The lighthouse keeper")
        await window.search.fill("lighthouse")
        await expect(window.row("Harbour")).to_contain_text("In the thread")
        await window.row("Harbour").click()
        await expect(found).to_be_in_viewport()
        await expect(found).to_have_class(re.compile("spotlit"))
        await window.page.reload()
        await expect(found).to_be_in_viewport()
        await expect(found).to_have_class(re.compile("spotlit"))


async def test_a_phone_has_views_in_a_drawer_and_menus_in_reach(
    open_window: OpenWindow, first: Window, ada: Person
) -> None:
    await first.write("Pocket", "fits")
    await first.saved()
    phone = await open_window(viewport={"width": 375, "height": 812}, has_touch=True)
    await phone.sign_in(ada)
    await phone.row("Pocket").locator(".row-more").tap()
    await entry(phone, "Category").tap()
    await entry(phone, "Travel").tap()
    await phone.page.get_by_role("button", name="Views and categories").tap()
    await view(phone, "Travel").tap()
    await expect(phone.page.get_by_role("heading", name="Travel")).to_be_visible()
    await expect(phone.rows).to_have_count(1)
    assert await phone.page.evaluate("document.documentElement.scrollWidth") == 375


async def test_a_finger_that_rests_on_a_category_moves_it_or_opens_its_menu(
    open_window: OpenWindow, ada: Person
) -> None:
    phone = await open_window(viewport={"width": 375, "height": 812}, has_touch=True)
    await phone.sign_up(ada)
    await phone.page.get_by_role("button", name="Views and categories").tap()
    touches = await phone.page.context.new_cdp_session(phone.page)

    async def touch(kind: str, *points: tuple[float, float]) -> None:
        at = [{"x": x, "y": y} for x, y in points]
        await touches.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": at})

    await categories(phone).nth(2).tap(trial=True)  # once the drawer is where it will be
    names = [await categories(phone).nth(index).get_attribute("title") for index in range(3)]
    places = [await categories(phone).nth(index).bounding_box() for index in range(3)]
    assert places[0]
    assert places[2]
    x, start, end = places[0]["x"] + 60, places[0]["y"] + 20, places[2]["y"] + 24
    lifted = phone.page.locator(".dragged")
    await touch("touchStart", (x, start))
    await expect(lifted).to_have_count(1)
    for step in range(1, 9):
        await touch("touchMove", (x, start + (end - start) * step / 8))
    await touch("touchEnd")
    await expect(categories(phone).nth(2)).to_have_attribute("title", names[0] or "")
    await expect(categories(phone).nth(0)).to_have_attribute("title", names[1] or "")
    await touch("touchStart", (x, start))
    await expect(lifted).to_have_count(1)
    await touch("touchEnd")
    await expect(entry(phone, "Change")).to_be_visible()
    await phone.page.keyboard.press("Escape")
    # A finger that moves at once scrolls.
    await touch("touchStart", (x, start))
    await touch("touchMove", (x, start + 60))
    await touch("touchEnd")
    await expect(lifted).to_have_count(0)
    await phone.page.reload()
    await phone.page.get_by_role("button", name="Views and categories").tap()
    await expect(categories(phone).nth(2)).to_have_attribute("title", names[0] or "")
