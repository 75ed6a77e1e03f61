"""The web console, as people use it: on two devices, offline, through a server's restart."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import Response, expect

from tests.browser.conftest import OpenWindow
from tests.browser.window import Person, Window

# The browser is one for all tests, and lives on one event loop.
pytestmark = pytest.mark.asyncio(loop_scope="session")


async def restarted_offline(window: Window) -> None:
    """The page is loaded again without a network, from what the device keeps."""
    await window.page.evaluate("navigator.serviceWorker.ready.then(() => undefined)")
    await window.page.context.set_offline(True)
    await window.page.reload()


async def test_a_new_account_starts_with_an_empty_list(first: Window, ada: Person) -> None:
    await expect(first.page.get_by_text("No memories yet")).to_be_visible()
    await first.page.get_by_role("button", name="Account").click()
    await expect(first.page.get_by_text(ada.email)).to_be_visible()
    await expect(first.page.get_by_role("link", name="API reference")).to_have_attribute(
        "href", "/docs"
    )


async def test_a_weak_password_is_refused_with_what_it_lacks(open_window: OpenWindow) -> None:
    window = await open_window()
    await window.page.get_by_role("button", name="Create an account").click()
    await window.page.get_by_label("First name").fill("Ada")
    await window.page.get_by_label("Last name").fill("Lovelace")
    await window.page.get_by_label("E-mail").fill("ada@example.org")
    password = window.page.get_by_label("Password", exact=True)
    await password.fill("lovelace")
    await window.page.get_by_role("button", name="Create account").click()
    problem = window.page.locator("#password-error")
    await expect(problem).to_contain_text("an upper-case letter, a digit, one of @ $ ! % * ? &")
    await expect(password).to_have_attribute("aria-invalid", "true")
    await password.fill("Lovelace1!")
    await expect(problem).to_be_empty()


async def test_the_servers_refusals_stand_at_their_fields(
    open_window: OpenWindow, first: Window, ada: Person
) -> None:
    window = await open_window()
    page = window.page
    await page.get_by_role("button", name="Create an account").click()
    await page.get_by_label("First name").fill("Ada")
    await page.get_by_label("Last name").fill("Again")
    await page.get_by_label("E-mail").fill(ada.email)
    await page.get_by_label("Password", exact=True).fill(ada.password)
    await page.get_by_role("button", name="Create account").click()
    await expect(page.locator("#email-error")).not_to_be_empty()
    await expect(page.get_by_label("E-mail")).to_be_focused()


async def test_a_wrong_password_is_told_and_the_right_one_signs_in(
    open_window: OpenWindow, first: Window, ada: Person
) -> None:
    window = await open_window()
    wrong = Person(ada.first_name, ada.last_name, ada.email, "Wrong1!password")
    await window.try_to_sign_in(wrong)
    await expect(window.page.locator(".form-error")).to_contain_text("password")
    await window.sign_in(ada)


async def test_writing_shows_on_the_other_device_as_it_is_typed(
    first: Window, second: Window
) -> None:
    await first.write("Lisbon", "The ferry at dusk")
    await first.saved()
    await second.open("Lisbon")
    await expect(second.body).to_have_text("The ferry at dusk")
    await second.append(", and back")
    await expect(first.body).to_have_text("The ferry at dusk, and back")
    await first.title.fill("Lisbon in May")
    await expect(second.title).to_have_value("Lisbon in May")
    await first.page.get_by_label("Add a tag").fill("travel")
    await first.page.keyboard.press("Enter")
    await expect(second.page.get_by_role("group", name="Tags")).to_contain_text("travel")
    await second.saved()


async def test_devices_see_who_else_is_there_and_where(
    first: Window, second: Window, ada: Person
) -> None:
    await first.write("Together", "Two of us")
    await second.open("Together")
    await expect(first.peers).to_have_accessible_name(f"{ada.name} (you, on another device)")
    await expect(second.peers).to_have_count(1)
    await second.body.click()
    caret = first.page.locator(".peer-caret")
    await expect(caret).to_have_attribute("data-name", ada.name)
    await second.page.get_by_role("button", name="Delete memory").focus()
    await expect(caret).to_have_count(0)
    await second.page.close()
    await expect(first.peers).to_have_count(0)


async def test_the_list_follows_other_devices(first: Window, second: Window) -> None:
    await first.write("One", "first")
    await first.write("Two", "second")
    await expect(second.rows).to_have_count(2)
    await expect(second.rows.first).to_contain_text("Two")
    await first.open("One")
    await first.append(", edited")
    await expect(second.rows.first).to_contain_text("first, edited")
    await first.page.get_by_role("button", name="Add to favourites").click()
    await second.page.get_by_role("button", name="Favourites").click()
    await expect(second.rows).to_have_count(1)
    await expect(second.rows).to_contain_text("One")


async def test_search_and_tags_narrow_the_list(first: Window) -> None:
    await first.write("Bread", "flour and time")
    await first.page.get_by_label("Add a tag").fill("kitchen")
    await first.page.keyboard.press("Enter")
    await first.write("Boat", "names for it")
    await first.page.keyboard.press("Control+k")
    await expect(first.search).to_be_focused()
    await first.page.keyboard.type("FLOUR bread")
    await expect(first.rows).to_have_count(1)
    await expect(first.rows).to_contain_text("Bread")
    await first.page.keyboard.press("Escape")
    await expect(first.rows).to_have_count(2)
    await first.page.get_by_role("button", name="kitchen", exact=True).click()
    await expect(first.rows).to_have_count(1)
    await first.search.fill("nothing like it")
    await expect(first.page.get_by_text("Nothing found")).to_be_visible()
    await first.page.get_by_role("button", name="Show all memories").click()
    await expect(first.rows).to_have_count(2)


async def test_the_keyboard_reaches_everything(first: Window) -> None:
    page = first.page
    await first.write("Older", "one")
    await first.write("Newer", "two")
    await page.keyboard.press("Escape")
    await expect(page.get_by_label("Memories", exact=True)).to_be_focused()
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Enter")
    await expect(first.title).to_have_value("Older")
    await page.get_by_role("button", name="Account").click()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("button", name="Sign out")).to_be_hidden()
    await expect(first.title).to_have_value("Older")
    await page.get_by_role("button", name="Delete memory").focus()
    await page.keyboard.press("n")
    await expect(first.title).to_be_focused()
    await expect(first.rows).to_have_count(3)


async def test_edits_made_offline_on_both_sides_meet(first: Window, second: Window) -> None:
    await first.write("Meeting", "Start.")
    await first.saved()
    await second.open("Meeting")
    await expect(second.body).to_have_text("Start.")
    await first.page.context.set_offline(True)
    await expect(first.status).to_have_text("Offline · nothing unsent")
    await first.append(" Offline.")
    await expect(first.status).to_have_text(re.compile(r"Offline · \d+ unsent changes"))
    await second.append(" Online.")
    await second.saved()
    await expect(first.body).to_have_text("Start. Offline.")
    await first.page.context.set_offline(False)
    await expect(first.body).to_contain_text("Online.")
    await first.saved()
    await expect(second.body).to_contain_text("Offline.")
    await expect(second.body).to_have_text(await first.body.inner_text())


async def test_the_page_starts_offline_with_everything_and_keeps_what_is_written(
    first: Window, second: Window
) -> None:
    await first.write("Before", "Known here")
    await first.saved()
    await restarted_offline(first)
    await expect(first.title).to_have_value("Before")
    await expect(first.body).to_have_text("Known here")
    await first.append(", and more")
    await first.write("Made offline", "Nobody knows yet")
    await first.page.get_by_role("button", name="Add to favourites").click()
    await expect(first.status).to_contain_text("unsent")
    await first.page.reload()
    await expect(first.body).to_have_text("Nobody knows yet")
    await expect(first.rows).to_have_count(2)
    await first.page.context.set_offline(False)
    await first.saved()
    await second.open("Made offline")
    await expect(second.body).to_have_text("Nobody knows yet")
    await expect(second.page.get_by_role("button", name="Remove from favourites")).to_be_visible()
    await second.open("Before")
    await expect(second.body).to_have_text("Known here, and more")


async def test_a_reload_keeps_the_memory_and_its_place(first: Window) -> None:
    await first.write("Stay", "As it was")
    await first.saved()
    await first.page.reload()
    await expect(first.title).to_have_value("Stay")
    await expect(first.body).to_have_text("As it was")
    await first.saved()


async def test_deleting_can_be_undone_and_reaches_other_devices(
    first: Window, second: Window
) -> None:
    await first.write("Away with it", "soon gone")
    await first.saved()
    await second.open("Away with it")
    await first.page.get_by_role("button", name="Delete memory").click()
    await expect(second.page.get_by_role("alert")).to_contain_text("deleted on another device")
    await expect(second.page.get_by_text("No memories yet")).to_be_visible()
    await expect(second.body).to_have_attribute("contenteditable", "false")
    await first.page.get_by_role("button", name="Undo").click()
    await expect(first.row("Away with it")).to_be_visible()
    await expect(second.row("Away with it")).to_be_visible()


async def test_signing_out_with_unsent_changes_asks_and_then_leaves_nothing(
    first: Window,
) -> None:
    await first.write("Secret", "for my eyes")
    await first.saved()
    page = first.page
    await page.context.set_offline(True)
    await first.append(" only")
    await expect(first.status).to_contain_text("unsent")
    await page.get_by_role("button", name="Account").click()
    await page.get_by_role("button", name="Sign out").click()
    await page.get_by_role("button", name="Stay signed in").click()
    await expect(first.body).to_have_text("for my eyes only")
    await page.get_by_role("button", name="Account").click()
    await page.get_by_role("button", name="Sign out").click()
    await page.get_by_role("button", name="Sign out and lose them").click()
    await expect(page.get_by_role("heading", name="Welcome back")).to_be_visible()
    assert await first.session() is None
    kept = await page.evaluate("indexedDB.databases().then((all) => all.map((one) => one.name))")
    assert kept == ["memo.session"]


async def test_two_tabs_share_a_session_and_sign_out_together(first: Window, ada: Person) -> None:
    await first.write("Shared", "by tabs")
    await first.saved()
    tab = Window(await first.page.context.new_page())
    await tab.page.goto("/")
    await tab.open("Shared")
    await tab.append(", both")
    await expect(first.body).to_have_text("by tabs, both")
    await tab.saved()
    await tab.page.get_by_role("button", name="Account").click()
    await tab.page.get_by_role("button", name="Sign out").click()
    for window in (tab, first):
        heading = window.page.get_by_role("heading", name="Welcome back")
        await expect(heading).to_be_visible()


async def test_what_one_tab_makes_offline_is_seen_and_sent_by_another(
    first: Window, second: Window
) -> None:
    await first.write("Lamp", "for the hall")
    await first.saved()
    tab = Window(await first.page.context.new_page())
    await tab.page.goto("/")
    await expect(tab.rows).to_have_count(1)
    await first.page.context.set_offline(True)
    await tab.write("Shelf", "for the books")
    await expect(tab.status).to_contain_text("unsent")
    await first.row("Lamp").click(button="right")
    await first.page.locator("[role=menuitem]").filter(has_text="Move to trash").click()
    await expect(tab.rows).to_have_count(1)
    await tab.page.close()
    await expect(first.rows).to_have_text(re.compile("Shelf"))
    await first.page.context.set_offline(False)
    await expect(second.rows).to_have_text(re.compile("Shelf"))
    await second.open("Shelf")
    await expect(second.body).to_have_text("for the books")


async def test_unsent_changes_outlive_the_end_of_the_session(
    first: Window, second: Window, ada: Person
) -> None:
    await first.write("Kept", "Sent.")
    await first.saved()
    page = first.page
    await page.context.set_offline(True)
    await first.append(" Unsent.")
    await expect(first.status).to_contain_text("unsent")
    session = await first.session()
    assert session is not None
    stolen = {"refreshToken": session["refreshToken"]}
    for _ in range(2):  # as a thief and its owner would: the server ends the session
        await second.page.request.post("/api/auth/refresh", data=stolen)
    await page.context.set_offline(False)
    await expect(page.locator(".form-error")).to_contain_text("Your session ended")
    await first.sign_in(ada)
    await first.saved()
    await second.open("Kept")
    await expect(second.body).to_have_text("Sent. Unsent.")


async def test_an_expired_token_is_renewed_once_by_two_tabs(first: Window) -> None:
    await first.write("Long lived", "still here")
    await first.saved()
    tab = Window(await first.page.context.new_page())
    refreshed: list[int] = []

    def note(response: Response) -> None:
        if response.url.endswith("/api/auth/refresh"):
            refreshed.append(response.status)

    for window in (first, tab):
        window.page.on("response", note)
    await tab.page.goto("/")
    await tab.open("Long lived")
    await tab.saved()
    context = first.page.context
    await context.clock.set_fixed_time(datetime.now(UTC) + timedelta(minutes=16))
    await context.set_offline(True)
    for window in (first, tab):
        await expect(window.status).to_contain_text("Offline")
    await context.set_offline(False)
    for window in (first, tab):
        await window.saved()
    assert refreshed == [200]


async def test_a_phone_shows_list_and_memory_as_two_screens(
    open_window: OpenWindow, first: Window, ada: Person
) -> None:
    await first.write("Pocket", "fits")
    await first.saved()
    phone = await open_window(viewport={"width": 360, "height": 740}, has_touch=True)
    await phone.sign_in(ada)
    await phone.row("Pocket").tap()
    await expect(phone.body).to_have_text("fits")
    await expect(phone.rows).to_have_count(0)
    assert await phone.page.evaluate("document.documentElement.scrollWidth") == 360
    await phone.page.get_by_role("button", name="Back to the list").tap()
    await expect(phone.row("Pocket")).to_be_visible()
    await expect(phone.body).to_have_count(0)


async def test_dark_follows_the_device_until_a_theme_is_chosen(
    open_window: OpenWindow, ada: Person
) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    dark = await open_window(color_scheme="dark")
    light = await open_window(color_scheme="light")
    darkness = await dark.page.evaluate(background)
    lightness = await light.page.evaluate(background)
    assert darkness != lightness
    await dark.sign_up(ada)
    await dark.page.get_by_role("button", name="Account").click()
    await dark.page.get_by_text("Light", exact=True).click()
    assert await dark.page.evaluate(background) == lightness
    await dark.page.reload()
    await expect(dark.search).to_be_visible()
    assert await dark.page.evaluate(background) == lightness
