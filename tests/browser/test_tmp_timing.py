"""The web console, as people use it: on two devices, offline, through a server's restart."""

import re

import pytest
from playwright.async_api import expect

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


async def test_devices0_see_who_else_is_there_and_where(
    first: Window, second: Window, ada: Person
) -> None:
    import time; t0=time.time()
    await first.write("Together", "Two of us")
    print('await first.write("Together", "Two of us")', time.time()-t0)
    await second.open("Together")
    print('await second.open("Together")', time.time()-t0)
    await expect(first.peers).to_have_accessible_name(f"{ada.name} (you, on another device)")
    print('await expect(first.peers).to_have_accessible_name(f"{ada.nam', time.time()-t0)
    await expect(second.peers).to_have_count(1)
    print('await expect(second.peers).to_have_count(1)', time.time()-t0)
    await second.body.click()
    print('await second.body.click()', time.time()-t0)
    caret = first.page.locator(".peer-caret")
    await expect(caret).to_have_attribute("data-name", ada.name)
    print('await expect(caret).to_have_attribute("data-name", ada.name)', time.time()-t0)
    await second.page.get_by_role("button", name="Delete memory").focus()
    print('await second.page.get_by_role("button", name="Delete memory"', time.time()-t0)
    await expect(caret).to_have_count(0)
    print('await expect(caret).to_have_count(0)', time.time()-t0)
    await second.page.close()
    print('await second.page.close()', time.time()-t0)
    await expect(first.peers).to_have_count(0)
    print('await expect(first.peers).to_have_count(0)', time.time()-t0)



async def test_devices1_see_who_else_is_there_and_where(
    first: Window, second: Window, ada: Person
) -> None:
    import time; t0=time.time()
    await first.write("Together", "Two of us")
    print('await first.write("Together", "Two of us")', time.time()-t0)
    await second.open("Together")
    print('await second.open("Together")', time.time()-t0)
    await expect(first.peers).to_have_accessible_name(f"{ada.name} (you, on another device)")
    print('await expect(first.peers).to_have_accessible_name(f"{ada.nam', time.time()-t0)
    await expect(second.peers).to_have_count(1)
    print('await expect(second.peers).to_have_count(1)', time.time()-t0)
    await second.body.click()
    print('await second.body.click()', time.time()-t0)
    caret = first.page.locator(".peer-caret")
    await expect(caret).to_have_attribute("data-name", ada.name)
    print('await expect(caret).to_have_attribute("data-name", ada.name)', time.time()-t0)
    await second.page.get_by_role("button", name="Delete memory").focus()
    print('await second.page.get_by_role("button", name="Delete memory"', time.time()-t0)
    await expect(caret).to_have_count(0)
    print('await expect(caret).to_have_count(0)', time.time()-t0)
    await second.page.close()
    print('await second.page.close()', time.time()-t0)
    await expect(first.peers).to_have_count(0)
    print('await expect(first.peers).to_have_count(0)', time.time()-t0)



async def test_devices2_see_who_else_is_there_and_where(
    first: Window, second: Window, ada: Person
) -> None:
    import time; t0=time.time()
    await first.write("Together", "Two of us")
    print('await first.write("Together", "Two of us")', time.time()-t0)
    await second.open("Together")
    print('await second.open("Together")', time.time()-t0)
    await expect(first.peers).to_have_accessible_name(f"{ada.name} (you, on another device)")
    print('await expect(first.peers).to_have_accessible_name(f"{ada.nam', time.time()-t0)
    await expect(second.peers).to_have_count(1)
    print('await expect(second.peers).to_have_count(1)', time.time()-t0)
    await second.body.click()
    print('await second.body.click()', time.time()-t0)
    caret = first.page.locator(".peer-caret")
    await expect(caret).to_have_attribute("data-name", ada.name)
    print('await expect(caret).to_have_attribute("data-name", ada.name)', time.time()-t0)
    await second.page.get_by_role("button", name="Delete memory").focus()
    print('await second.page.get_by_role("button", name="Delete memory"', time.time()-t0)
    await expect(caret).to_have_count(0)
    print('await expect(caret).to_have_count(0)', time.time()-t0)
    await second.page.close()
    print('await second.page.close()', time.time()-t0)
    await expect(first.peers).to_have_count(0)
    print('await expect(first.peers).to_have_count(0)', time.time()-t0)



async def test_devices3_see_who_else_is_there_and_where(
    first: Window, second: Window, ada: Person
) -> None:
    import time; t0=time.time()
    await first.write("Together", "Two of us")
    print('await first.write("Together", "Two of us")', time.time()-t0)
    await second.open("Together")
    print('await second.open("Together")', time.time()-t0)
    await expect(first.peers).to_have_accessible_name(f"{ada.name} (you, on another device)")
    print('await expect(first.peers).to_have_accessible_name(f"{ada.nam', time.time()-t0)
    await expect(second.peers).to_have_count(1)
    print('await expect(second.peers).to_have_count(1)', time.time()-t0)
    await second.body.click()
    print('await second.body.click()', time.time()-t0)
    caret = first.page.locator(".peer-caret")
    await expect(caret).to_have_attribute("data-name", ada.name)
    print('await expect(caret).to_have_attribute("data-name", ada.name)', time.time()-t0)
    await second.page.get_by_role("button", name="Delete memory").focus()
    print('await second.page.get_by_role("button", name="Delete memory"', time.time()-t0)
    await expect(caret).to_have_count(0)
    print('await expect(caret).to_have_count(0)', time.time()-t0)
    await second.page.close()
    print('await second.page.close()', time.time()-t0)
    await expect(first.peers).to_have_count(0)
    print('await expect(first.peers).to_have_count(0)', time.time()-t0)


