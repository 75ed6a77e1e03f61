"""Requests that wait for a connection, against a scripted server on a real socket."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from protocol import frames
from protocol.accounts import ACCOUNT_UPDATE, UpdateAccount
from protocol.categories import (
    CATEGORIES_CREATE,
    CATEGORIES_REORDER,
    CreateCategory,
    ReorderCategories,
)
from protocol.client import Client
from protocol.documents import DOCUMENTS_OPEN, OpenDocument
from protocol.errors import CloseCode, ErrorCode, MemoError
from protocol.memories import (
    MEMORIES_CREATE,
    MEMORIES_DELETE,
    MEMORIES_UPDATE,
    CreateMemory,
    DeleteMemory,
    UpdateMemory,
)
from protocol.messages import MESSAGES_CREATE, MESSAGES_MARK_READ, CreateMessage, MarkRead
from protocol.offline import MemoryStore, OfflineStore, SqliteStore
from protocol.operation import Operation
from protocol.queue import MAX_QUEUED, Outcome, RequestQueue
from protocol.records import Body
from protocol.session import Backoff
from protocol.sessions import SESSIONS_END, EndSessions
from protocol.signal import Stream
from tests.protocol.scripted import ScriptedServer, client_tasks

PROMPT = Backoff(0.001, 0.01)
MOMENT = "2026-01-31T08:30:00.000Z"
MEMORY: dict[str, Any] = {
    "userId": str(UUID(int=9)),
    "categoryId": None,
    "title": None,
    "description": None,
    "content": {},
    "tags": [],
    "metadata": {},
    "isFavorite": False,
    "isArchived": False,
    "privacyLevel": "private",
    "role": "owner",
    "epoch": "e",
    "offset": 0,
    "createdAt": MOMENT,
    "updatedAt": MOMENT,
}
CATEGORY: dict[str, Any] = {
    "name": "Trips",
    "description": None,
    "icon": None,
    "color": None,
    "isDefault": False,
    "sortOrder": 1,
    "createdAt": MOMENT,
    "updatedAt": MOMENT,
}
MESSAGE: dict[str, Any] = {
    "userId": None,
    "content": "here",
    "messageType": "text",
    "metadata": None,
    "attachments": [],
    "isAiGenerated": False,
    "parentMessageId": None,
    "status": "sent",
    "createdAt": MOMENT,
    "updatedAt": MOMENT,
    "receivedAt": MOMENT,
}
ANSWERS: dict[str, Callable[[Any], Any]] = {
    "memories.create": lambda body: {"memory": {**MEMORY, "id": body["id"]}},
    "memories.update": lambda body: {"memory": {**MEMORY, "id": body["id"]}},
    "memories.delete": lambda body: {"id": body["id"], "deletedAt": MOMENT},
    "categories.create": lambda body: {"category": {**CATEGORY, "id": body["id"]}},
    "messages.create": lambda body: {
        "message": {**MESSAGE, "id": body["id"], "memoryId": body["memoryId"]}
    },
    "messages.markRead": lambda body: {
        "memoryId": body["memoryId"],
        "lastReadAt": MOMENT,
        "unreadCount": 0,
    },
}


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as server:
        server.answers.update(ANSWERS)
        yield server


def device(server: ScriptedServer, store: OfflineStore | None = None) -> Client:
    client = Client(server.url, "token", backoff=PROMPT, store=store)
    client._queue._backoff = lambda: Backoff(0.001, 0.01)
    return client


def refusing(server: ScriptedServer, operation: str, *refusals: frames.ErrorBody) -> None:
    """Let the server refuse the next calls of an operation, and take those that follow."""
    left = list(refusals)
    server.answers[operation] = lambda body: left.pop(0) if left else ANSWERS[operation](body)


def received(server: ScriptedServer) -> list[str]:
    return [request.operation for request in server.sent(frames.Request)]


async def ended(outcomes: Stream[Outcome], count: int) -> list[Outcome]:
    async with asyncio.timeout(10):
        return [await anext(outcomes) for _ in range(count)]


async def test_what_was_queued_offline_is_sent_by_the_next_run_in_its_order(
    server: ScriptedServer, tmp_path: Path
) -> None:
    store = SqliteStore(tmp_path / "offline.db")
    offline = device(server, store)  # it was never connected
    category = await offline.enqueue(CATEGORIES_CREATE, CreateCategory(name="Trips"))
    memory = await offline.enqueue(MEMORIES_CREATE, CreateMemory(category_id=category.id))
    assert memory.id is not None
    message = CreateMessage(memory_id=memory.id, content="here")
    await offline.enqueue(MESSAGES_CREATE, message)
    await offline.enqueue(MESSAGES_MARK_READ, MarkRead(memory_id=memory.id))
    await offline.enqueue(MEMORIES_UPDATE, UpdateMemory(id=memory.id, is_favorite=True))
    await offline.enqueue(MEMORIES_DELETE, DeleteMemory(id=memory.id))
    store.close()

    store = SqliteStore(tmp_path / "offline.db")
    async with device(server, store) as client:
        outcomes = client.outcomes()
        assert len(client.queued()) == 6
        order = [
            "categories.create",
            "memories.create",
            "messages.create",
            "messages.markRead",
            "memories.update",
            "memories.delete",
        ]
        told = await ended(outcomes, 6)
        assert [outcome.request.operation for outcome in told] == order
        assert all(outcome.error is None for outcome in told)
        assert told[1].response.memory.id == memory.id
        assert received(server) == order
        assert client.queued() == []
    store.close()
    [update] = server.requests("memories.update")
    assert update == {"id": str(memory.id), "isFavorite": True}  # what was left out stays so
    assert client_tasks() == set()


async def test_what_makes_something_gets_an_id_unless_it_has_one(server: ScriptedServer) -> None:
    client = device(server)
    given = await client.enqueue(MEMORIES_CREATE, CreateMemory())
    own = await client.enqueue(MEMORIES_CREATE, CreateMemory(id=UUID(int=5)))
    assert given.id is not None
    assert given.id.version == 4
    assert own.id == UUID(int=5)
    assert own.read(MEMORIES_CREATE) == CreateMemory(id=UUID(int=5))
    assert (await client.enqueue(SESSIONS_END, EndSessions(all=True))).id is None


async def test_an_operation_of_one_connection_is_not_queued(server: ScriptedServer) -> None:
    client = device(server)
    with pytest.raises(MemoError, match="of one connection") as caught:
        await client.enqueue(DOCUMENTS_OPEN, OpenDocument(memory_id=uuid4()))
    assert caught.value.code is ErrorCode.INVALID_REQUEST
    assert client.queued() == []


async def test_the_line_is_bounded(server: ScriptedServer) -> None:
    client = device(server)
    client._queue._size = MAX_QUEUED
    with pytest.raises(MemoError) as caught:
        await client.enqueue(MEMORIES_CREATE, CreateMemory())
    assert caught.value.code is ErrorCode.TOO_LARGE


async def test_a_closed_client_takes_no_requests_and_ends_the_outcomes(
    server: ScriptedServer,
) -> None:
    async with device(server) as client:
        outcomes = client.outcomes()
    with pytest.raises(MemoError) as caught:
        await client.enqueue(MEMORIES_CREATE, CreateMemory())
    assert caught.value.code is ErrorCode.CHANNEL_CLOSED
    assert [outcome async for outcome in outcomes] == []
    assert [outcome async for outcome in client.outcomes()] == []


async def test_a_refusal_is_told_and_dropped_and_what_is_behind_it_goes_on(
    server: ScriptedServer,
) -> None:
    refusing(server, "memories.update", frames.ErrorBody("not_found", "no such category"))
    async with device(server) as client:
        outcomes = client.outcomes()
        memory = uuid4()
        await client.enqueue(MEMORIES_UPDATE, UpdateMemory(id=memory, category_id=uuid4()))
        await client.enqueue(MEMORIES_DELETE, DeleteMemory(id=memory))
        refused, deleted = await ended(outcomes, 2)
        assert refused.error is not None
        assert refused.error.code is ErrorCode.NOT_FOUND
        assert deleted.response.id == memory
        assert client.queued() == []


async def test_what_fails_for_now_is_tried_again_and_only_what_builds_on_it_waits(
    server: ScriptedServer,
) -> None:
    refusing(server, "memories.create", frames.ErrorBody("internal", "scripted"))
    client = device(server)
    first = await client.enqueue(MEMORIES_CREATE, CreateMemory())
    assert first.id is not None
    await client.enqueue(MESSAGES_CREATE, CreateMessage(memory_id=first.id, content="behind"))
    other = await client.enqueue(MEMORIES_CREATE, CreateMemory())
    outcomes = client.outcomes()
    async with client:
        told = await ended(outcomes, 3)
    assert [outcome.request.operation for outcome in told].count("memories.create") == 2
    ids = [body["id"] for body in server.requests("memories.create")]
    assert ids == [str(first.id), str(other.id), str(first.id)]
    assert received(server)[-1] == "messages.create"


async def test_who_calls_too_often_waits_as_long_as_told_with_all_the_like(
    server: ScriptedServer,
) -> None:
    refusing(server, "memories.create", frames.ErrorBody("rate_limited", "slow", retry_after=0.3))
    client = device(server)
    await client.enqueue(MEMORIES_CREATE, CreateMemory())
    await client.enqueue(MEMORIES_CREATE, CreateMemory())
    await client.enqueue(CATEGORIES_CREATE, CreateCategory(name="Another limit"))
    outcomes = client.outcomes()
    started = asyncio.get_running_loop().time()
    async with client:
        await ended(outcomes, 3)
    assert asyncio.get_running_loop().time() - started >= 0.3
    assert received(server) == [
        "memories.create",
        "categories.create",
        "memories.create",
        "memories.create",
    ]


async def test_a_reply_that_is_lost_with_the_connection_is_asked_for_again(
    server: ScriptedServer,
) -> None:
    del server.answers["memories.create"]
    async with device(server) as client:
        outcomes = client.outcomes()
        request = await client.enqueue(MEMORIES_CREATE, CreateMemory())
        await server.until(lambda: len(server.requests("memories.create")) == 1)
        server.answers.update(ANSWERS)
        await server.drop()
        [outcome] = await ended(outcomes, 1)
        assert outcome.error is None
        assert [body["id"] for body in server.requests("memories.create")] == [str(request.id)] * 2


async def test_a_session_that_ends_keeps_the_line_for_the_next_one(server: ScriptedServer) -> None:
    del server.answers["memories.create"]
    store = MemoryStore()
    async with device(server, store) as client:
        outcomes = client.outcomes()
        await client.enqueue(MEMORIES_CREATE, CreateMemory())
        await server.until(lambda: len(server.requests("memories.create")) == 1)
        await server.close(CloseCode.SESSION_ENDED)
        assert [outcome async for outcome in outcomes] == []
    assert len(store.queued()) == 1


async def test_a_discarded_request_is_not_sent(server: ScriptedServer) -> None:
    client = device(server)
    taken = await client.enqueue(MEMORIES_CREATE, CreateMemory())
    kept = await client.enqueue(MEMORIES_CREATE, CreateMemory())
    assert client.discard(taken.number)
    assert not client.discard(taken.number)
    outcomes = client.outcomes()
    async with client:
        await ended(outcomes, 1)
    assert [body["id"] for body in server.requests("memories.create")] == [str(kept.id)]


async def test_a_document_of_a_memory_that_waits_to_be_made_is_opened_when_it_is_made(
    server: ScriptedServer,
) -> None:
    async with device(server) as client:
        made = await client.enqueue(MEMORIES_CREATE, CreateMemory())
        assert made.id is not None
        document = await client.open(made.id)
        document.text += "draft"
        await document.saved()
    assert received(server)[:2] == ["memories.create", "documents.open"]
    assert server.requests("documents.open")[0]["memoryId"] == str(made.id)


async def test_requests_of_another_version_of_the_app_are_refused_and_hold_up_nothing(
    server: ScriptedServer,
) -> None:
    store = MemoryStore()
    store.enqueue("memories.teleport", msgspec.msgpack.encode({}), MOMENT)
    store.enqueue("memories.delete", msgspec.msgpack.encode({"id": 7}), MOMENT)
    client = device(server, store)
    await client.enqueue(MEMORIES_DELETE, DeleteMemory(id=UUID(int=1)))
    outcomes = client.outcomes()
    async with client:
        told = await ended(outcomes, 3)
    codes = [outcome.error.code if outcome.error else None for outcome in told]
    assert codes == [ErrorCode.UNKNOWN_OPERATION, ErrorCode.INVALID_REQUEST, None]


class FailingStore(MemoryStore):
    """A store whose disk fails once when an outcome is to be written."""

    fails = True

    def dequeue(self, number: int) -> bool:
        if self.fails:
            self.fails = False
            raise MemoError(ErrorCode.INTERNAL, "the disk is full")
        return super().dequeue(number)


async def test_what_a_store_could_not_let_go_of_is_sent_again(server: ScriptedServer) -> None:
    client = device(server, FailingStore())
    await client.enqueue(MEMORIES_DELETE, DeleteMemory(id=UUID(int=1)))
    outcomes = client.outcomes()
    async with client:
        await ended(outcomes, 2)
    assert received(server) == ["memories.delete"] * 2
    assert client.queued() == []


@pytest.mark.parametrize(
    ("operation", "request_body", "subjects"),
    [
        (MEMORIES_DELETE, DeleteMemory(id=UUID(int=1)), {str(UUID(int=1))}),
        (
            CATEGORIES_REORDER,
            ReorderCategories(ids=[UUID(int=1), UUID(int=2)]),
            {str(UUID(int=1)), str(UUID(int=2))},
        ),
        (ACCOUNT_UPDATE, UpdateAccount(first_name="Ada"), {"account"}),
    ],
    ids=["one", "several", "none"],
)
def test_a_request_is_about_the_ids_it_names_or_else_its_domain(
    operation: Operation[Any, Any], request_body: Body, subjects: set[str]
) -> None:
    async def send(*_: Any) -> None: ...

    queue = RequestQueue(MemoryStore(), send=send, is_online=lambda: False, born=lambda _: None)
    assert queue.add(operation, request_body).subjects == subjects
