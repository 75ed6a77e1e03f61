"""One window on the console, and what a person does in it."""

from dataclasses import dataclass
from typing import Any

from playwright.async_api import Locator, Page, expect

SAVED = "Saved on the server"

READ_SESSION = """() => new Promise((resolve) => {
    const opening = indexedDB.open("memo.session");
    opening.onsuccess = () => {
        const database = opening.result;
        const reading = database.transaction("values").objectStore("values").get("session");
        reading.onsuccess = () => {
            database.close();
            resolve(reading.result ?? null);
        };
    };
})"""


@dataclass(frozen=True)
class Person:
    """Who signs up and signs in."""

    first_name: str
    last_name: str
    email: str
    password: str = "Correct1!horse"

    @property
    def name(self) -> str:
        return f"{self.first_name} {self.last_name}"


class Window:
    """A page of the console in a browser context, and so on a device, of its own.

    `errors` are uncaught exceptions and refusals of the content security policy.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.errors: list[str] = []
        self.title = page.get_by_label("Title", exact=True)
        self.body = page.get_by_label("Body", exact=True)
        self.status = page.get_by_label("Memory", exact=True).get_by_role("status")
        self.rows = page.get_by_label("Memories", exact=True).get_by_role("option")
        self.search = page.get_by_label("Search memories")
        self.peers = page.get_by_label("Also here").get_by_role("img")
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: self._logged(message.text))

    def _logged(self, text: str) -> None:
        if "Content Security Policy" in text:
            self.errors.append(text)

    async def sign_up(self, person: Person) -> None:
        page = self.page
        await page.get_by_role("button", name="Create an account").click()
        await page.get_by_label("First name").fill(person.first_name)
        await page.get_by_label("Last name").fill(person.last_name)
        await self._fill(person)
        await page.get_by_role("button", name="Create account").click()
        await expect(self.search).to_be_visible()

    async def sign_in(self, person: Person) -> None:
        await self.try_to_sign_in(person)
        await expect(self.search).to_be_visible()

    async def try_to_sign_in(self, person: Person) -> None:
        await self._fill(person)
        await self.page.get_by_role("button", name="Sign in").click()

    async def _fill(self, person: Person) -> None:
        await self.page.get_by_label("E-mail").fill(person.email)
        await self.page.get_by_label("Password", exact=True).fill(person.password)

    async def write(self, title: str, body: str) -> None:
        """A new memory, as typed."""
        await self.page.get_by_role("button", name="New memory").click()
        await expect(self.title).to_be_focused()
        await self.page.keyboard.type(title)
        await self.page.keyboard.press("Enter")
        await self.page.keyboard.type(body)

    async def append(self, text: str) -> None:
        """Types at the end of the body."""
        await self.body.focus()
        await self.page.keyboard.press("Control+End")
        await self.page.keyboard.type(text)

    async def saved(self) -> None:
        await expect(self.status).to_have_text(SAVED)

    async def session(self) -> dict[str, Any] | None:
        """What the device keeps of its session."""
        session: dict[str, Any] | None = await self.page.evaluate(READ_SESSION)
        return session

    async def settings(self, section: str) -> Locator:
        """The settings, open at a section."""
        page = self.page
        await page.get_by_role("button", name="Account").click()
        await page.get_by_role("button", name="Settings").click()
        dialog = page.get_by_role("dialog", name="Settings")
        await dialog.get_by_role("navigation").get_by_role("button", name=section).click()
        await expect(dialog.get_by_role("heading", name=section, level=3)).to_be_visible()
        return dialog

    def row(self, title: str) -> Locator:
        return self.rows.filter(has_text=title)

    async def open(self, title: str) -> None:
        await self.row(title).click()
        await expect(self.title).to_have_value(title)
