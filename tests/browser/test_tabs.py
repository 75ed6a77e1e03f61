"""The TypeScript client in the tabs of a real browser: its locks, its database, its channels."""

import subprocess
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from playwright.async_api import Browser, Page

from tests.serving import Person, ServerProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")

PACKAGE = Path(__file__).parents[2] / "protocol" / "javascript"
TAB = """async (token) => {
  const client = new memo.MemoryClient({
    url: `ws://${location.host}/ws`,
    credentials: { getToken: async () => token },
    store: await memo.IndexedDbStore.open("account"),
  });
  const call = client.call.bind(client);
  const calls = [];
  client.call = (operation, body) => {
    calls.push(operation);
    return call(operation, body);
  };
  const ended = [];
  client.on("settled", ({ entry }) => ended.push(entry.seq));
  client.on("refused", ({ entry, error }) => ended.push(`${entry.operation}: ${error.code}`));
  Object.assign(window, { client, calls, ended });
}"""
EXPORT = ("--global-name=memo", "--footer:js=globalThis.memo = memo;")
EMPTIED = """async () => {
  for (;;) {
    const changed = new Promise((resolve) => {
      const off = client.on("queue-changed", () => resolve(off()));
    });
    if ((await client.queued()).length === 0) return;
    await changed;
  }
}"""
WRITE = """async ([memoryId, from, to]) => {
  for (let number = from; number < to; number += 1) {
    await client.enqueue("messages.create", { memoryId, content: `${number}` });
  }
}"""


@pytest.fixture(scope="module", autouse=True)
def built_console() -> None:
    """The console is not what is tested here."""


@pytest.fixture(scope="module")
def bundle() -> str:
    """The client as one script."""
    done = subprocess.run(
        ["node_modules/.bin/esbuild", "src/index.ts", "--bundle", *EXPORT],
        cwd=PACKAGE,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class Tabs:
    """A browser profile of one account."""

    def __init__(self, browser: Browser, server: ServerProcess, bundle: str) -> None:
        self._browser = browser
        self._server = server
        self._bundle = bundle
        self._person = Person(server, f"{uuid4().hex}@example.org")

    async def __aenter__(self) -> "Tabs":
        self._context = await self._browser.new_context(base_url=self._server.url, bypass_csp=True)
        await self._context.add_init_script(self._bundle)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._context.close()

    async def open(self) -> Page:
        """A tab that has not connected yet."""
        page = await self._context.new_page()
        await page.goto("/health")
        await page.evaluate(TAB, self._person.token)
        return page


async def messages(page: Page, memory_id: str) -> list[str]:
    """What the server has of a thread, in the order in which it came."""
    body = {"memoryId": memory_id, "limit": 100}
    found: dict[str, Any] = await page.evaluate(
        "(body) => client.call('messages.list', body)", body
    )
    received = sorted(found["messages"], key=lambda each: each["receivedAt"])
    return [each["content"] for each in received]


async def test_two_tabs_send_what_both_have_queued_once_and_in_order(
    browser: Browser, server: ServerProcess, bundle: str
) -> None:
    async with Tabs(browser, server, bundle) as tabs:
        left, right = await tabs.open(), await tabs.open()
        memory_id = (await left.evaluate("() => client.enqueue('memories.create', {})"))["body"][
            "id"
        ]
        await left.evaluate(WRITE, [memory_id, 0, 5])
        await right.evaluate(WRITE, [memory_id, 5, 10])
        for tab in (left, right):
            await tab.evaluate("() => client.connect()")
        for tab in (left, right):
            await tab.wait_for_function("() => ended.length === 11")
            assert await tab.evaluate("() => ended") == list(range(1, 12))
        calls = [*await left.evaluate("() => calls"), *await right.evaluate("() => calls")]
        assert (calls.count("memories.create"), calls.count("messages.create")) == (1, 10)
        assert await messages(left, memory_id) == [str(number) for number in range(10)]


async def test_what_a_closed_tab_has_left_is_sent_by_another_one(
    browser: Browser, server: ServerProcess, bundle: str
) -> None:
    async with Tabs(browser, server, bundle) as tabs:
        dying, living = await tabs.open(), await tabs.open()
        memory_id = (await dying.evaluate("() => client.enqueue('memories.create', {})"))["body"][
            "id"
        ]
        await dying.evaluate(WRITE, [memory_id, 0, 40])
        await living.evaluate("() => client.connect()")
        await dying.evaluate("() => client.connect()")
        await dying.wait_for_function("() => ended.length > 2")
        await dying.close()
        await living.evaluate(EMPTIED)
        assert await messages(living, memory_id) == [str(number) for number in range(40)]

        again = await tabs.open()
        await again.evaluate(WRITE, [memory_id, 40, 42])
        await living.close()
        await again.close()
        reopened = await tabs.open()
        await reopened.evaluate("() => client.connect()")
        await reopened.evaluate(EMPTIED)
        assert len(await messages(reopened, memory_id)) == 42
