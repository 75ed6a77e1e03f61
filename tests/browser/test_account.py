"""Ways into an account, and its settings: in the console, with mail and a provider around it."""

import re
import subprocess
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import asyncpg
import httpx
import pyotp
import pytest
import pytest_asyncio
from PIL import Image
from playwright.async_api import Page, expect

from tests.browser.conftest import OpenWindow
from tests.browser.window import Person, Window
from tests.conftest import fresh_database, fresh_directory
from tests.mailroom import Mailroom, mailroom
from tests.serving import LocalServer, free_port

pytestmark = pytest.mark.asyncio(loop_scope="session")

PROVIDER = Path(__file__).parents[1] / "openid"
NEXT = "Another2!horse"


class House(NamedTuple):
    """A server with everything around it."""

    server: LocalServer
    room: Mailroom
    database: str


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def house(postgres: str) -> AsyncIterator[House]:
    if not (PROVIDER / "node_modules").is_dir():
        pytest.fail("the OpenID provider is not installed: get Node 20+ and run `make setup`")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(
        ["node", "provider.mjs", f"{url}/signed-in"],
        cwd=PROVIDER,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as provider:
        assert provider.stdout is not None
        issuer = provider.stdout.readline().strip()
        async with fresh_database(postgres) as database, mailroom() as (room, place):
            with fresh_directory() as directory:
                server = LocalServer(
                    directory,
                    database,
                    port=port,
                    PUBLIC_URL=url,
                    SMTP_URL=f"smtp://{place}",
                    MAIL_FROM="memo@example.com",
                    ENCRYPTION_KEY=f"{'A' * 43}=",
                    GOOGLE_CLIENT_ID="memo",
                    GOOGLE_CLIENT_SECRET="open sesame",
                    GOOGLE_ISSUER=issuer,
                )
                await server.start()
                yield House(server, room, database)
                await server.stop()
        provider.kill()


@pytest.fixture(scope="module")
def server(house: House) -> LocalServer:
    return house.server


async def on_the_providers_page(page: Page, name: str) -> None:
    """Signs in there as whoever has this name, and comes back."""
    await page.locator("input[name=login]").fill(name)
    await page.locator("input[name=password]").fill("any")
    await page.get_by_role("button", name="Sign-in").click()
    await page.get_by_role("button", name="Continue").click()


async def test_a_forgotten_password_is_set_anew_by_a_link(
    first: Window, open_window: OpenWindow, house: House, ada: Person
) -> None:
    window = await open_window()
    page = window.page
    await page.get_by_label("E-mail").fill(ada.email)
    await page.get_by_role("button", name="Forgot password?").click()
    await expect(page.get_by_label("E-mail")).to_have_value(ada.email)
    await page.get_by_role("button", name="Send the link").click()
    await expect(page.get_by_role("heading", name="Look at your mail")).to_be_visible()
    token = await house.room.token(ada.email, "reset")
    await page.goto(f"/reset#{token}")
    password = page.get_by_role("textbox", name="New password")
    await password.fill("long but simple")
    assert token not in page.url
    await page.get_by_role("button", name="Set the password").click()
    await expect(page.locator("#password-error")).to_contain_text("an upper-case letter")
    await password.fill(NEXT)
    await page.get_by_role("button", name="Set the password").click()
    await expect(page.locator(".form-done")).to_contain_text("The password is set")
    await window.sign_in(Person(ada.first_name, ada.last_name, ada.email, NEXT))
    await expect(first.page.get_by_text("Your session ended")).to_be_visible()


async def test_an_address_is_confirmed_and_an_open_page_sees_it(
    first: Window, house: House, ada: Person
) -> None:
    dialog = await first.settings("Security")
    await expect(dialog.get_by_text("Not confirmed")).to_be_visible()
    await dialog.get_by_role("button", name="Send the link again").click()
    # One was sent when the account was made.
    await expect(dialog.get_by_text("Try again in")).to_be_visible()
    tab = Window(await first.page.context.new_page())
    await tab.page.goto(f"/verify#{await house.room.token(ada.email, 'verify')}")
    await tab.page.get_by_role("button", name="Confirm").click()
    await expect(tab.page.get_by_role("heading", name="Thank you")).to_be_visible()
    await expect(dialog.get_by_text("Confirmed", exact=True)).to_be_visible()
    await tab.page.get_by_role("button", name="To your memories").click()
    await expect(tab.search).to_be_visible()


async def confirm(house: House, person: Person) -> None:
    """Their address, by the link that they were sent."""
    token = await house.room.token(person.email, "verify")
    async with httpx.AsyncClient(base_url=house.server.url, timeout=20) as http:
        reply = await http.post("/api/auth/verify", json={"token": token})
    assert reply.status_code == 200, reply.text


async def test_two_factor_is_turned_on_and_asked_for_at_the_door(
    first: Window, open_window: OpenWindow, ada: Person, house: House
) -> None:
    dialog = await first.settings("Security")
    await dialog.get_by_text("Turn it on").click()
    await dialog.locator("#enable-password").fill(ada.password)
    await dialog.get_by_role("button", name="Go on").click()
    await expect(dialog.get_by_text("Confirm your e-mail address first")).to_be_visible()
    await confirm(house, ada)
    await dialog.locator("#enable-password").fill("Wrong1!password")
    await dialog.get_by_role("button", name="Go on").click()
    await expect(dialog.locator("#enable-password-error")).to_have_text(
        "Current password is wrong."
    )
    await dialog.locator("#enable-password").fill(ada.password)
    await dialog.get_by_role("button", name="Go on").click()
    await expect(dialog.get_by_role("img", name="QR code")).to_be_visible()
    secret = (await dialog.locator(".secret").inner_text()).replace(" ", "")
    await dialog.get_by_label("Code that the app shows").fill(pyotp.TOTP(secret).now())
    await dialog.get_by_role("button", name="Turn it on").click()
    codes = dialog.get_by_role("list", name="Recovery codes").get_by_role("listitem")
    await expect(codes).to_have_count(10)
    recovery = await codes.first.inner_text()
    await dialog.get_by_role("button", name="I have kept them").click()
    await expect(dialog.get_by_text("10 recovery codes left")).to_be_visible()

    window = await open_window()
    await window.try_to_sign_in(ada)
    code = window.page.get_by_label("Code")
    await expect(code).to_be_focused()
    await code.fill("aaaa-bbbb-cccc-dddd")
    await window.page.get_by_role("button", name="Sign in").click()
    await expect(window.page.locator("#code-error")).to_contain_text("is wrong")
    await code.fill(recovery)
    await window.page.get_by_role("button", name="Sign in").click()
    await expect(window.search).to_be_visible()


async def test_who_comes_with_google_is_let_in(open_window: OpenWindow) -> None:
    window = await open_window()
    page = window.page
    await page.get_by_role("button", name="Continue with Google").click()
    await on_the_providers_page(page, "grace")
    await expect(window.search).to_be_visible()
    assert page.url.endswith("/")
    dialog = await window.settings("Security")
    await expect(dialog.get_by_text("This account has no password")).to_be_visible()
    await dialog.get_by_role("button", name="Unlink Google").click()
    await expect(dialog.locator("[data-failed=true]:not(:empty)")).to_be_visible()
    await page.goto("/signed-in?code=made-up")
    await expect(window.search).to_be_visible()


async def test_who_has_no_password_leaves_with_a_code_by_mail(
    open_window: OpenWindow, house: House
) -> None:
    window = await open_window()
    page = window.page
    await page.get_by_role("button", name="Continue with Google").click()
    await on_the_providers_page(page, "leaving")
    await expect(window.search).to_be_visible()
    dialog = await window.settings("Your data")
    await dialog.get_by_text("Delete your account…").click()
    await dialog.get_by_role("button", name="Send me a code").click()
    await expect(dialog.get_by_text("Sent to leaving@example.com.")).to_be_visible()
    letter = await house.room.letter("leaving@example.com", "delete your account")
    code = re.search(r"to do it with:\s+(\S+)", letter)
    assert code
    await dialog.get_by_label("Code from the message").fill(code[1])
    await dialog.get_by_label("Type “delete” to confirm").fill("delete")
    await dialog.get_by_role("button", name="Delete my account for good").click()
    await expect(page.get_by_role("heading", name="Welcome back")).to_be_visible()


async def test_google_is_linked_to_an_account_that_is_there(
    first: Window, ada: Person, house: House
) -> None:
    await confirm(house, ada)
    dialog = await first.settings("Security")
    await dialog.get_by_role("button", name="Link Google").click()
    await on_the_providers_page(first.page, "linked")
    await expect(dialog.get_by_role("button", name="Unlink Google")).to_be_visible()
    await expect(dialog.get_by_text("linked@example.com")).to_be_visible()
    await dialog.get_by_role("button", name="Unlink Google").click()
    await expect(dialog.get_by_role("button", name="Link Google")).to_be_visible()


async def test_a_profile_is_saved_with_what_is_wrong_at_its_field(
    first: Window, second: Window
) -> None:
    dialog = await first.settings("Profile")
    await dialog.get_by_label("First name").fill("Augusta")
    await dialog.get_by_label("Phone").fill("12345")
    await dialog.get_by_role("button", name="Save").click()
    await expect(dialog.locator("#phoneNumber-error")).to_contain_text("international form")
    await expect(dialog.get_by_label("Phone")).to_be_focused()
    await dialog.get_by_label("Phone").fill("+351 912 345 678")
    await dialog.get_by_label("Time zone").select_option("Europe/Lisbon")
    await dialog.get_by_role("button", name="Save").click()
    await expect(dialog.get_by_text("Saved.")).to_be_visible()
    await expect(second.page.get_by_role("button", name="Account")).to_contain_text("Augusta")
    picture = BytesIO()
    Image.new("RGB", (400, 300), "teal").save(picture, "PNG")
    await dialog.get_by_label("Picture", exact=True).set_input_files(
        {"name": "me.png", "mimeType": "image/png", "buffer": picture.getvalue()}
    )
    await expect(second.page.locator(".avatar-me img")).to_be_visible()
    await dialog.get_by_role("button", name="Remove the picture").click()
    await expect(second.page.locator(".avatar-me img")).to_have_count(0)


async def test_another_device_is_signed_out(first: Window, second: Window) -> None:
    dialog = await first.settings("Devices")
    await expect(dialog.get_by_role("listitem")).to_have_count(2)
    await expect(dialog.get_by_role("listitem").filter(has_text="This device")).to_have_count(1)
    await dialog.get_by_role("button", name="Sign out all others").click()
    question = first.page.get_by_role("dialog", name="Sign the other device out?")
    await question.get_by_role("button", name="Sign out").click()
    await expect(dialog.get_by_role("listitem")).to_have_count(1)
    await expect(second.page.get_by_role("heading", name="Welcome back")).to_be_visible()


async def test_who_looks_after_the_installation_finds_and_closes_accounts(
    first: Window, open_window: OpenWindow, house: House, ada: Person
) -> None:
    dialog = await first.settings("Profile")
    sections = dialog.get_by_role("navigation")
    await expect(sections.get_by_role("button", name="Administration")).to_have_count(0)
    await first.page.keyboard.press("Escape")
    await expect(dialog).to_have_count(0)
    other = Person("Grace", "Hopper", f"grace-{ada.email}")
    window = await open_window()
    await window.sign_up(other)
    database = await asyncpg.connect(house.database)
    await database.execute("UPDATE users SET role = 'admin' WHERE email = $1", ada.email)
    await database.close()
    await first.page.reload()
    await expect(first.page.locator(".connection")).to_have_text("Online")
    dialog = await first.settings("Administration")
    await expect(dialog.get_by_text("Signed-in devices")).to_be_visible()
    await dialog.get_by_label("Search accounts").fill(other.email)
    await expect(dialog.get_by_text("1 account", exact=True)).to_be_visible()
    await dialog.get_by_label(f"Role of {other.name}").select_option("premium")
    await dialog.get_by_role("button", name=f"Disable {other.name}").click()
    question = first.page.get_by_role("dialog", name=f"Disable {other.name}?")
    await question.get_by_role("button", name="Disable").click()
    await expect(dialog.get_by_text("Disabled", exact=True).last).to_be_visible()
    await expect(window.page.get_by_role("heading", name="Welcome back")).to_be_visible()
    await dialog.get_by_role("button", name=f"Enable {other.name}").click()
    await expect(dialog.get_by_label(f"Role of {other.name}")).to_have_value("premium")


async def test_settings_say_that_the_server_is_out_of_reach_and_go_on_by_themselves(
    first: Window,
) -> None:
    page = first.page
    await page.context.set_offline(True)
    await expect(page.locator(".connection")).to_contain_text("Offline")
    dialog = await first.settings("Storage")
    await expect(dialog.get_by_text("can't be reached")).to_be_visible()
    await page.context.set_offline(False)
    await expect(dialog.get_by_text("in 0 files")).to_be_visible()


async def test_a_phone_shows_all_settings_without_scrolling_sideways(
    open_window: OpenWindow, ada: Person
) -> None:
    phone = await open_window(viewport={"width": 375, "height": 812}, has_touch=True)
    await phone.sign_up(ada)
    for section in ("Profile", "Security", "Devices", "Storage", "Your data"):
        await phone.page.get_by_role("button", name="Views and categories").tap()
        dialog = await phone.settings(section)
        await expect(dialog.locator(".panel").first).to_be_visible()
        body = dialog.locator(".settings-body")
        assert await body.evaluate("body => body.scrollWidth <= body.clientWidth"), section
        await expect(dialog.get_by_role("heading", name="Settings")).to_be_in_viewport()
        await dialog.get_by_role("button", name="Close settings").tap()
