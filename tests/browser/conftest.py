"""The console as it is served, in a real Chromium, with a real server behind it."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright, expect

from tests.browser.window import Person, Window
from tests.serving import ServerProcess

ROOT = Path(__file__).parents[2]
WEB = ROOT / "server" / "web"
SOURCES = (WEB, ROOT / "protocol" / "javascript" / "src")
BUILT = ("dist", "node_modules")
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS = 20_000

OpenWindow = Callable[..., Awaitable[Window]]


@pytest.fixture(scope="session", autouse=True)
def built_console() -> None:
    """The console is built from the sources as they are now."""
    page = WEB / "dist" / "index.html"
    if page.is_file() and page.stat().st_mtime >= _newest_source():
        return
    if shutil.which("npm") is None:
        pytest.fail("the console's tests need Node 20 or newer: install it, and npm with it")
    installed = WEB / "node_modules" / ".package-lock.json"
    lock = WEB / "package-lock.json"
    if not installed.is_file() or installed.stat().st_mtime < lock.stat().st_mtime:
        _run("npm", "ci", "--no-audit", "--no-fund")
    _run("node", "build.mjs")


def _newest_source() -> float:
    return max(
        path.stat().st_mtime
        for source in SOURCES
        for path in source.rglob("*")
        if path.is_file() and path.relative_to(source).parts[0] not in BUILT
    )


def _run(*command: str) -> None:
    done = subprocess.run(
        command, cwd=WEB, capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode != 0:
        pytest.fail(f"{' '.join(command)} failed in server/web:\n{done.stdout}{done.stderr}")


@pytest.fixture(scope="session")
def server() -> Iterator[ServerProcess]:
    """One for all these tests: each has accounts of its own."""
    # PostgreSQL runs as another account where tests are run by root, and has to get in here.
    with tempfile.TemporaryDirectory(prefix="memo-console-") as directory:
        Path(directory).chmod(0o755)
        server = ServerProcess(Path(directory), MAX_FILE_BYTES=str(12 * 2**20))
        server.start()
        yield server
        server.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        pytest.fail("the console's tests need Chromium: install it, or name it in CHROMIUM")
    expect.set_options(timeout=PATIENCE_MS)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium, headless=True, args=CHROMIUM_ARGUMENTS
        )
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def open_window(browser: Browser, server: ServerProcess) -> AsyncIterator[OpenWindow]:
    """Opens the console on a new device. Options are those of a Playwright context."""
    windows: list[Window] = []

    async def open_window(**options: Any) -> Window:
        context = await browser.new_context(base_url=server.url, **options)
        context.set_default_timeout(PATIENCE_MS)
        window = Window(await context.new_page())
        windows.append(window)
        await window.page.goto("/")
        return window

    yield open_window
    for window in windows:
        await window.page.context.close()
    assert [error for window in windows for error in window.errors] == []


@pytest_asyncio.fixture(loop_scope="session")
async def first(open_window: OpenWindow, ada: Person) -> Window:
    """A device on which Ada has just signed up."""
    window = await open_window()
    await window.sign_up(ada)
    return window


@pytest_asyncio.fixture(loop_scope="session")
async def second(open_window: OpenWindow, ada: Person, first: Window) -> Window:
    """Another device of hers."""
    window = await open_window()
    await window.sign_in(ada)
    return window


@pytest.fixture
def ada() -> Person:
    return Person("Ada", "Lovelace", f"ada-{uuid4().hex}@example.org")
