"""The reference as it is served: whole, self-contained and searchable."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest
import uvicorn
from playwright.async_api import ConsoleMessage, Page, async_playwright, expect
from starlette.applications import Starlette

from protocol.errors import CloseCode, ErrorCode
from protocol.events import EVENTS
from protocol.operations import OPERATIONS
from protocol.rest import ENDPOINTS
from protocol.schema.blocks import anchor
from protocol.schema.shapes import frame_shapes
from server.reference import routes

ROOT = Path(__file__).parents[2]


class Outline(HTMLParser):
    """The ids, the addresses and the inline code of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.inline: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.ids += [attributes["id"] or ""] if "id" in attributes else []
        self.addresses += [attributes[name] or "" for name in ("href", "src") if name in attributes]
        self.inline += [name for name in attributes if name == "style" or name.startswith("on")]
        if tag == "style" or (tag == "script" and "src" not in attributes):
            self.inline.append(tag)


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = Starlette(routes=list(routes()))
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://reference") as client:
        yield client


async def test_the_page_has_a_place_for_everything_declared(client: httpx.AsyncClient) -> None:
    html = (await client.get("/docs")).text
    ids = set(Outline(html).ids)
    names = [operation.name for operation in OPERATIONS] + [event.name for event in EVENTS]
    names += [f"{endpoint.method} {endpoint.path}" for endpoint in ENDPOINTS]
    assert {anchor(name) for name in names} <= ids
    for shape in frame_shapes():
        assert f"<code>[{shape.number}, " in html
    for code in (*ErrorCode, *CloseCode):
        assert f"<code>{code.value}</code>" in html


async def test_links_within_the_page_lead_to_one_place_each(client: httpx.AsyncClient) -> None:
    outline = Outline((await client.get("/docs")).text)
    assert len(set(outline.ids)) == len(outline.ids)
    inner = {address[1:] for address in outline.addresses if address.startswith("#")}
    assert inner <= set(outline.ids)


async def test_all_that_the_page_loads_is_served_here(client: httpx.AsyncClient) -> None:
    outline = Outline((await client.get("/docs")).text)
    assert outline.inline == []
    outer = {a for a in outline.addresses if not a.startswith(("#", "data:"))}
    assert outer == {
        "/docs/reference.css",
        "/docs/reference.js",
        "/docs/asyncapi.json",
        "/docs/openapi.json",
    }
    for address in outer:
        assert (await client.get(address)).status_code == 200


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/docs", "text/html; charset=utf-8"),
        ("/docs/reference.css", "text/css; charset=utf-8"),
        ("/docs/reference.js", "text/javascript; charset=utf-8"),
        ("/docs/asyncapi.json", "application/json"),
    ],
)
async def test_each_part_is_served_as_what_it_is(
    client: httpx.AsyncClient, path: str, content_type: str
) -> None:
    response = await client.get(path)
    assert response.headers["content-type"] == content_type
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in response.headers["content-security-policy"]


async def test_the_documents_served_are_those_in_the_repository(client: httpx.AsyncClient) -> None:
    for name in ("asyncapi.json", "openapi.json"):
        written = json.loads((ROOT / "docs" / name).read_text(encoding="utf-8"))
        assert (await client.get(f"/docs/{name}")).json() == written


async def test_the_reference_is_only_for_reading(client: httpx.AsyncClient) -> None:
    response = await client.post("/docs")
    assert response.status_code == 405
    assert set(response.headers["allow"].split(", ")) == {"GET", "HEAD"}


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    """The page in Chromium, from a real socket. Whatever the browser complains of fails."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        pytest.fail("Chromium is missing: install it, or name it in CHROMIUM")
    config = uvicorn.Config(Starlette(routes=list(routes())), port=0, log_level="error")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(10):
        while not server.started:
            assert not serving.done(), "the server did not start"
            await asyncio.sleep(0)
    port = server.servers[0].sockets[0].getsockname()[1]
    complaints: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        complaints.append(message.text)

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        opened = await browser.new_page(viewport={"width": 390, "height": 844})
        opened.on("console", heard)
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        await opened.goto(f"http://127.0.0.1:{port}/docs")
        yield opened
        await browser.close()
    server.should_exit = True
    await serving
    assert complaints == []


async def test_search_leaves_only_what_matches_and_a_link_brings_the_rest_back(page: Page) -> None:
    await page.keyboard.press("/")
    await page.keyboard.type("sortBy")
    await expect(page.locator(".entry:visible")).to_have_count(1)
    await expect(page.locator("#memorieslist")).to_be_visible()
    await expect(page.locator("#found")).to_have_text("1 section matches.")

    await page.locator("#memorieslist ~ .beside a", has_text="Pagination").click()

    await expect(page.locator("#pagination")).to_be_in_viewport()
    await expect(page.locator("#accountme")).to_be_visible()


async def test_a_search_for_nothing_there_says_so(page: Page) -> None:
    await page.locator(".search input").fill("xyzzy")
    await expect(page.locator("#found")).to_have_text("Nothing matches “xyzzy”.")
    await page.keyboard.press("Escape")
    await expect(page.locator("#accountme")).to_be_visible()


async def test_a_phone_shows_no_more_than_its_width_and_opens_the_contents(page: Page) -> None:
    assert await page.evaluate("document.documentElement.scrollWidth") == 390
    contents = page.locator("#contents")
    await expect(contents).to_be_hidden()
    await page.locator(".menu").click()
    await contents.get_by_text("memories.create").click()
    await expect(contents).to_be_hidden()
    await expect(page.locator("#memoriescreate")).to_be_in_viewport()
