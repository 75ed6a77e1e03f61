"""What a device writes without a connection, all that a frontend can do, lands on a real server."""

import asyncio
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from protocol.categories import (
    CATEGORIES_CREATE,
    CATEGORIES_DELETE,
    CATEGORIES_LIST,
    CreateCategory,
    DeleteCategory,
)
from protocol.client import Client
from protocol.errors import ErrorCode
from protocol.feed import FEED_CHANGES, GetChanges
from protocol.memories import (
    MEMORIES_CREATE,
    MEMORIES_DELETE,
    MEMORIES_GET,
    MEMORIES_UPDATE,
    CreateMemory,
    DeleteMemory,
    GetMemory,
    UpdateMemory,
)
from protocol.messages import (
    MESSAGES_CREATE,
    MESSAGES_LIST,
    MESSAGES_MARK_READ,
    CreateMessage,
    ListMessages,
    MarkRead,
)
from protocol.offline import MemoryStore, SqliteStore
from protocol.queue import Outcome
from protocol.records import Empty
from protocol.signal import Stream
from protocol.trash import MEMORIES_RESTORE, RestoreMemory
from tests.e2e.rawsocket import PATIENCE
from tests.serving import LocalServer, register

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOWHERE = "ws://127.0.0.1:9/ws"  # on the train: nobody listens there


async def ended(outcomes: Stream[Outcome], count: int) -> list[Outcome]:
    async with asyncio.timeout(PATIENCE):
        return [await anext(outcomes) for _ in range(count)]


async def write(client: Client, memory: UUID, category: UUID, message: UUID) -> int:
    """Queue a bit of everything; how much that is."""
    await client.enqueue(CATEGORIES_CREATE, CreateCategory(id=category, name="Trips"))
    await client.enqueue(
        MEMORIES_CREATE, CreateMemory(id=memory, title="Lisbon", category_id=category)
    )
    await client.enqueue(
        MESSAGES_CREATE, CreateMessage(id=message, memory_id=memory, content="here")
    )
    await client.enqueue(MESSAGES_MARK_READ, MarkRead(memory_id=memory, message_id=message))
    await client.enqueue(MEMORIES_UPDATE, UpdateMemory(id=memory, is_favorite=True))
    await client.enqueue(MEMORIES_UPDATE, UpdateMemory(id=memory, is_archived=True))
    await client.enqueue(MEMORIES_DELETE, DeleteMemory(id=memory))
    await client.enqueue(MEMORIES_RESTORE, RestoreMemory(id=memory))
    return 8


async def test_all_that_is_written_offline_lands_once_and_in_order_after_a_restart(
    server: LocalServer, tmp_path: Path
) -> None:
    token = await register(server.url, f"{uuid4().hex}@example.com")
    path = tmp_path / "offline.db"
    memory, category, message = uuid4(), uuid4(), uuid4()
    store = SqliteStore(path)
    async with Client(NOWHERE, token, store=store) as client:
        count = await write(client, memory, category, message)
        document = await client.open(memory)
        document.text += "Pastéis"
    store.close()

    store = SqliteStore(path)
    async with Client(server.socket_url, token, store=store) as client:
        outcomes = client.outcomes()
        document = await client.open(memory)
        told = await ended(outcomes, count)
        assert [outcome.error for outcome in told] == [None] * count
        assert [outcome.request.number for outcome in told] == list(range(1, count + 1))
        assert client.queued() == []

        seen = (await client.call(MEMORIES_GET, GetMemory(id=memory))).memory
        assert (seen.title, seen.category_id) == ("Lisbon", category)
        assert (seen.is_favorite, seen.is_archived, seen.deleted_at) == (True, True, None)
        assert seen.last_read_at is not None
        page = await client.call(MESSAGES_LIST, ListMessages(memory_id=memory))
        assert [(each.id, each.content) for each in page.messages] == [(message, "here")]
        document = await client.open(memory)  # its channel ended when the memory was in the trash
        await document.saved()
        state = (seen.offset, await client.call(FEED_CHANGES, GetChanges()))

        # The same once more, as after replies that were lost.
        again = await write(client, memory, category, message)
        assert [outcome.error for outcome in await ended(outcomes, again)] == [None] * again
        changes = await client.call(FEED_CHANGES, GetChanges())
        assert len(changes.items) == len(state[1].items)
        assert {item.kind for item in changes.items} == {"account", "category", "memory"}
        page = await client.call(MESSAGES_LIST, ListMessages(memory_id=memory))
        assert [each.id for each in page.messages] == [message]
        document = await client.open(memory)
        await document.saved()
    store.close()

    async with Client(server.socket_url, token) as other:
        document = await other.open(memory)
        await document.synced()
        assert str(document.text) == "Pastéis"


async def test_a_refusal_is_told_and_does_not_hold_up_the_rest(server: LocalServer) -> None:
    token = await register(server.url, f"{uuid4().hex}@example.com")
    store = MemoryStore()
    memory, category, other = uuid4(), uuid4(), uuid4()
    async with Client(server.socket_url, token) as laptop:
        await laptop.call(CATEGORIES_CREATE, CreateCategory(id=category, name="Trips"))
        async with Client(NOWHERE, token, store=store) as phone:
            created = await phone.enqueue(
                MEMORIES_CREATE, CreateMemory(id=memory, category_id=category)
            )
            message = CreateMessage(memory_id=memory, content="lost with it")
            behind = await phone.enqueue(MESSAGES_CREATE, message)
            await phone.enqueue(MEMORIES_CREATE, CreateMemory(id=other))
            await phone.enqueue(MEMORIES_UPDATE, UpdateMemory(id=other, is_favorite=True))
        await laptop.call(CATEGORIES_DELETE, DeleteCategory(id=category))

        async with Client(server.socket_url, token, store=store) as phone:
            told = await ended(phone.outcomes(), 4)
        refused = {
            outcome.request: outcome.error.code for outcome in told if outcome.error is not None
        }
        assert refused == {created: ErrorCode.NOT_FOUND, behind: ErrorCode.NOT_FOUND}
        assert store.queued() == []
        seen = await laptop.call(MEMORIES_GET, GetMemory(id=other))
        assert seen.memory.is_favorite
        left = await laptop.call(CATEGORIES_LIST, Empty())
        assert category not in [each.id for each in left.categories]


async def test_what_was_queued_while_the_server_was_down_lands_when_it_is_back(
    server: LocalServer,
) -> None:
    token = await register(server.url, f"{uuid4().hex}@example.com")
    async with Client(server.socket_url, token) as client:
        outcomes = client.outcomes()
        await client.enqueue(MEMORIES_CREATE, CreateMemory(title="before"))
        await ended(outcomes, 1)
        await server.stop()
        meanwhile = await client.enqueue(MEMORIES_CREATE, CreateMemory(title="meanwhile"))
        assert client.queued() == [meanwhile]
        await server.start()
        [outcome] = await ended(outcomes, 1)
        assert outcome.request == meanwhile
        assert outcome.response.memory.title == "meanwhile"
