"""The feed as a client reads it on, against a scripted server on a real socket."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from protocol import frames
from protocol.client import Client
from protocol.errors import ErrorCode, MemoError
from protocol.feed import Changes
from protocol.following import Feed
from protocol.session import Backoff
from tests.protocol.scripted import ScriptedServer

HINT = frames.Event("feed.changed", {})


class Log:
    """What the scripted feed holds: an item a change. Cursors count them."""

    def __init__(self, server: ScriptedServer) -> None:
        self.items: list[dict[str, Any]] = []
        self.page = 200
        self.asked: list[dict[str, Any]] = []
        self.refusals: list[frames.ErrorBody] = []
        server.answers["feed.changes"] = self._answer

    def change(self, kind: str, number: int, **fields: Any) -> None:
        self.items.append({"kind": kind, "id": str(UUID(int=number)), **fields})

    def _answer(self, body: dict[str, Any]) -> Any:
        self.asked.append(body)
        if self.refusals:
            return self.refusals.pop(0)
        start = int(body.get("after") or 0)
        end = min(start + self.page, len(self.items))
        more = end < len(self.items)
        return {"items": self.items[start:end], "cursor": str(end), "more": more}


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as server:
        yield server


@pytest.fixture
def log(server: ScriptedServer) -> Log:
    return Log(server)


def device(server: ScriptedServer) -> Client:
    return Client(server.url, "token", backoff=Backoff(0.001, 0.01))


def prompt(feed: Feed) -> Feed:
    feed._backoff = Backoff(0.001, 0.01)
    return feed


async def page(feed: Feed) -> Changes:
    async with asyncio.timeout(10):
        return await anext(feed)


def ids(changes: Changes) -> list[int]:
    return [item.id.int for item in changes.items]


async def test_it_reads_to_the_end_and_goes_on_when_there_is_news(
    server: ScriptedServer, log: Log
) -> None:
    log.page = 2
    for number in range(3):
        log.change("memory", number, deleted=True)
    async with device(server) as client:
        feed = client.follow()
        assert ids(await page(feed)) == [0, 1]
        last = await page(feed)
        assert (ids(last), last.more) == ([2], False)
        log.change("category", 7, deleted=True)
        await server.tell(HINT)
        assert ids(await page(feed)) == [7]
    assert [body.get("after") for body in log.asked] == [None, "2", "3"]


async def test_it_starts_from_a_cursor_of_an_earlier_run(server: ScriptedServer, log: Log) -> None:
    for number in range(3):
        log.change("file", number, deleted=True)
    async with device(server) as client:
        assert ids(await page(client.follow("2", brief=True))) == [2]
    assert log.asked == [{"after": "2", "limit": 200, "brief": True}]


async def test_items_of_a_new_kind_are_there_beside_the_others(
    server: ScriptedServer, log: Log
) -> None:
    log.change("robot", 1, robot={"legs": 4}, joints=[1, 2])
    log.change("file", 2, deleted=True)
    async with device(server) as client:
        changes = await page(client.follow())
    assert [item.kind for item in changes.items] == ["robot", "file"]


async def test_after_a_lost_connection_it_asks_what_it_has_missed(
    server: ScriptedServer, log: Log
) -> None:
    async with device(server) as client:
        feed = client.follow()
        assert ids(await page(feed)) == []
        reader = asyncio.create_task(page(feed))
        await server.drop()
        log.change("memory", 5, deleted=True)
        # The connection may be back before the change was made; the hint is then still to come.
        await server.until(lambda: bool(server.peers))
        await server.tell(HINT)
        changes = await reader
        assert ids(changes) == [5] or ids(await page(feed)) == [5]


async def test_what_fails_for_now_is_asked_again(server: ScriptedServer, log: Log) -> None:
    log.refusals = [frames.ErrorBody("internal", "scripted"), frames.ErrorBody("busy", "scripted")]
    log.change("memory", 1, deleted=True)
    async with device(server) as client:
        assert ids(await page(prompt(client.follow()))) == [1]
    assert len(log.asked) == 3


async def test_a_refusal_ends_the_iteration_with_its_reason(
    server: ScriptedServer, log: Log
) -> None:
    log.refusals = [frames.ErrorBody("invalid_request", "no cursor of ours")]
    async with device(server) as client:
        with pytest.raises(MemoError, match="no cursor of ours") as caught:
            await page(client.follow("x"))
        assert caught.value.code is ErrorCode.INVALID_REQUEST


async def test_it_ends_when_the_client_is_closed(server: ScriptedServer, log: Log) -> None:
    async with device(server) as client:
        feed = client.follow()
        await page(feed)
        reader = asyncio.create_task(anext(feed, None))
    assert await reader is None
    assert [changes async for changes in client.follow()] == []


async def test_a_hint_that_comes_during_an_answer_is_not_lost() -> None:
    asked: list[str | None] = []

    async def ask(request: Any) -> Changes:
        asked.append(request.after)
        if len(asked) == 1:
            feed.hint()
        return Changes(items=[], cursor=str(len(asked)))

    feed = Feed(ask)
    await page(feed)
    await page(feed)
    assert asked == [None, "1"]


async def test_a_reader_that_is_cancelled_loses_no_page() -> None:
    answers: list[asyncio.Future[Changes]] = []

    async def ask(request: Any) -> Changes:
        answers.append(asyncio.get_running_loop().create_future())
        return await answers[-1]

    feed = Feed(ask)
    reader = asyncio.ensure_future(anext(feed))
    await asyncio.sleep(0)
    reader.cancel()
    await asyncio.wait([reader])
    again = asyncio.ensure_future(anext(feed))
    await asyncio.sleep(0)
    answers[1].set_result(Changes(items=[], cursor="1"))
    assert (await again).cursor == "1"
