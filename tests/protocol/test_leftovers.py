"""Edits of an earlier run land in the next one, whether or not their memories are opened."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from pycrdt import Text

from protocol.client import Client
from protocol.errors import ErrorCode
from protocol.offline import MemoryStore
from protocol.session import Backoff
from tests.protocol.scripted import ScriptedServer, client_tasks

ONE, OTHER = UUID(int=1), UUID(int=2)
NOWHERE = "ws://127.0.0.1:9/ws"


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as server:
        yield server


@pytest.fixture
async def store() -> MemoryStore:
    """What is left of a run without a connection."""
    store = MemoryStore()
    async with Client(NOWHERE, "token", store=store) as client:
        for memory in (ONE, OTHER):
            (await client.open(memory)).text += "left"
    assert sorted(store.pending()) == [ONE, OTHER]
    return store


def device(server: ScriptedServer, store: MemoryStore) -> Client:
    return Client(server.url, "token", store=store, backoff=Backoff(0.001, 0.01))


def text(server: ScriptedServer, memory: UUID) -> str:
    return str(server.log(memory).doc.get("content", type=Text))


async def test_they_are_sent_and_their_documents_closed(
    server: ScriptedServer, store: MemoryStore
) -> None:
    async with device(server, store):
        await server.until(lambda: len(server.requests("documents.close")) == 2)
        assert [text(server, memory) for memory in (ONE, OTHER)] == ["left", "left"]
        assert store.pending() == []
    assert client_tasks() == set()


async def test_one_that_is_opened_meanwhile_stays_open(
    server: ScriptedServer, store: MemoryStore
) -> None:
    server.loses_acks = True
    async with device(server, store) as client:
        await server.until(lambda: server.log(ONE).head == 1)
        document = await client.open(ONE)
        server.loses_acks = False
        await server.drop()
        await document.saved()
        document.text += " and more"
        await document.saved()
        assert text(server, ONE) == "left and more"
        await server.until(lambda: len(server.requests("documents.close")) == 1)
        assert list(server.peers[0].channels.values()) == [ONE]


async def test_one_that_is_refused_stays_here_and_holds_up_no_other(
    server: ScriptedServer, store: MemoryStore
) -> None:
    server.open_refusals = [ErrorCode.NOT_FOUND]
    async with device(server, store):
        await server.until(lambda: len(server.requests("documents.close")) == 1)
        assert store.pending() == [ONE]
        # With the next connection it is tried again.
        await server.drop()
        await server.until(lambda: text(server, ONE) == "left")


async def test_a_mirror_of_one_takes_its_place(server: ScriptedServer, store: MemoryStore) -> None:
    server.loses_updates = True
    async with device(server, store) as client:
        await server.until(lambda: len(server.requests("documents.open")) == 1)
        mirror = await client.open(ONE, replica=False)
        async with asyncio.timeout(10):
            await mirror.synced()
        assert ONE in store.pending()
