"""Messages over real sockets: two people, what was written offline, and who may not write."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from pycrdt import Doc
from websockets.asyncio.client import connect

from protocol import frames
from protocol.client import Client
from protocol.log import Author
from protocol.memories import MEMORIES_CREATE, CreateMemory
from protocol.messages import (
    MESSAGES_CREATE,
    MESSAGES_LIST,
    MESSAGES_UPDATE,
    CreateMessage,
    ListMessages,
    UpdateMessage,
)
from protocol.offline import MemoryStore
from protocol.thread import Thread
from server.yjs import Message, Sync
from sync.lib0 import write_bytes
from tests.conftest import fresh_database, fresh_directory
from tests.e2e.rawsocket import PATIENCE, RawSocket
from tests.rows import add_member
from tests.serving import LocalServer, register

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Person:
    """An account and the device it has at hand."""

    def __init__(self, token: str, user_id: UUID) -> None:
        self.token = token
        self.id = user_id


async def person(server: LocalServer) -> Person:
    token = await register(server.url, f"{uuid4().hex}@example.com")
    async with RawSocket(server.socket_url, token) as raw:
        me = await raw.call("account.me", {})
        assert isinstance(me, frames.Reply)
        return Person(token, UUID(me.body["user"]["id"]))


async def admit(database: str, memory_id: UUID, member: Person, role: Any) -> None:
    pool = await asyncpg.create_pool(database, min_size=1, max_size=1)
    await add_member(pool, memory_id, Author(member.id), role)
    await pool.close()


async def test_what_was_written_and_edited_offline_lands_and_is_listed(
    server: LocalServer, shared_database: str
) -> None:
    ada, bob = await person(server), await person(server)
    store = MemoryStore()
    async with Client(server.socket_url, ada.token) as hers:
        memory_id = (await hers.call(MEMORIES_CREATE, CreateMemory(title="t"))).memory.id
        await admit(shared_database, memory_id, bob, "editor")
        request = CreateMessage(memory_id=memory_id, content="one two three")
        made = (await hers.call(MESSAGES_CREATE, request)).message

        async with Client(server.socket_url, bob.token, store=store) as his:
            document = await his.open(memory_id)
            while made.id not in document.messages:
                await document.changed()
        # On the train: nobody listens there.
        async with Client("ws://127.0.0.1:9/ws", bob.token, store=store) as his:
            document = await his.open(memory_id)
            document.messages.edit(made.id, "one two three four")
            document.messages.add("mine", user_id=bob.id, parent_message_id=made.id)
        # Meanwhile its author changes the same message.
        amendment = UpdateMessage(memory_id=memory_id, id=made.id, content="one 2 three")
        await hers.call(MESSAGES_UPDATE, amendment)

        async with Client(server.socket_url, bob.token, store=store) as his:
            document = await his.open(memory_id)
            await document.saved()
            while "2" not in str(document.messages.body(made.id)):
                await document.changed()
            assert str(document.messages.body(made.id)) == "one 2 three four"
            async with asyncio.timeout(PATIENCE):
                while True:  # rows follow within moments
                    page = await hers.call(MESSAGES_LIST, ListMessages(memory_id=memory_id))
                    if [each.content for each in page.messages] == ["one 2 three four", "mine"]:
                        break
        assert [each.user_id for each in page.messages] == [ada.id, bob.id]


async def test_a_commenter_writes_by_call_and_not_by_update(
    server: LocalServer, shared_database: str
) -> None:
    ada, guest = await person(server), await person(server)
    memory_id = uuid4()
    async with (
        RawSocket(server.socket_url, ada.token) as hers,
        RawSocket(server.socket_url, guest.token) as theirs,
    ):
        await hers.call("memories.create", {"id": str(memory_id)})
        await admit(shared_database, memory_id, guest, "commenter")
        opened = await hers.open(memory_id)
        body = {"memoryId": str(memory_id), "content": "hello"}
        made = await theirs.call("messages.create", body)
        assert isinstance(made, frames.Reply), made
        assert made.body["message"]["userId"] == str(guest.id)
        push = await hers.take(frames.Push)
        doc: Doc[Any] = Doc()
        for update in [*opened["updates"], *push.updates]:
            doc.apply_update(update)
        assert [message.content for message in Thread(doc).list()] == ["hello"]

        # The stock client's protocol knows no other way than an update.
        own: Doc[Any] = Doc()
        Thread(own).add("smuggled", user_id=ada.id)
        address = f"{server.socket_url.removesuffix('/ws')}/yjs/{memory_id}?token={guest.token}"
        update = bytearray((Message.SYNC, Sync.UPDATE))
        write_bytes(update, own.get_update())
        async with connect(address) as stock, asyncio.timeout(PATIENCE):
            await stock.send(bytes(update))
            while True:
                message = await stock.recv(decode=False)
                if message[0] == Message.AUTH:  # permission denied
                    break
        listed = await hers.call("messages.list", {"memoryId": str(memory_id)})
        assert isinstance(listed, frames.Reply)
        assert [each["content"] for each in listed.body["messages"]] == ["hello"]


async def test_what_is_no_request_is_refused_by_name(server: LocalServer) -> None:
    ada = await person(server)
    memory_id = str(uuid4())
    async with RawSocket(server.socket_url, ada.token) as raw:
        await raw.call("memories.create", {"id": memory_id})
        wrong: list[tuple[str, dict[str, Any], str]] = [
            ("messages.create", {"content": ""}, "content"),
            ("messages.create", {"content": "x" * 10_001}, "content"),
            ("messages.create", {"content": "x", "attachments": [str(uuid4())] * 6}, "attachments"),
            ("messages.create", {"content": "x", "messageType": "song"}, "messageType"),
            ("messages.update", {"id": "7", "content": "x"}, "id"),
            ("messages.list", {"limit": 101}, "limit"),
            ("messages.list", {"before": "now"}, "before"),
            ("messages.markRead", {"at": "now"}, "at"),
        ]
        for operation, body, field in wrong:
            error = await raw.call(operation, {"memoryId": memory_id, **body})
            assert isinstance(error, frames.Error)
            assert error.body.code == "invalid_request"
            assert list(error.body.details or ()) == [field], operation


async def test_unread_counts_of_two_accounts_reach_their_other_devices(
    server: LocalServer, shared_database: str
) -> None:
    ada, bob = await person(server), await person(server)
    memory_id = uuid4()
    async with (
        RawSocket(server.socket_url, ada.token) as hers,
        RawSocket(server.socket_url, bob.token) as phone,
        RawSocket(server.socket_url, bob.token) as laptop,
    ):
        await hers.call("memories.create", {"id": str(memory_id)})
        await admit(shared_database, memory_id, bob, "viewer")
        for content in ("one", "two"):
            await hers.call("messages.create", {"memoryId": str(memory_id), "content": content})

        async def unread(raw: RawSocket, **query: Any) -> int:
            changes = await raw.call("feed.changes", query)
            assert isinstance(changes, frames.Reply)
            [item] = [item for item in changes.body["items"] if item["kind"] == "memory"]
            found: int = item.get("memory", item).get("unreadCount", 0)
            return found

        assert await unread(laptop) == 2
        assert await unread(laptop, brief=True) == 2
        assert await unread(hers) == 0
        answer = await phone.call("messages.markRead", {"memoryId": str(memory_id)})
        assert isinstance(answer, frames.Reply)
        assert answer.body["unreadCount"] == 0
        while await unread(laptop):
            await laptop.take(frames.Event)
        assert await unread(laptop, brief=True) == 0


async def test_a_message_outlives_the_server(postgres: str) -> None:
    async with fresh_database(postgres) as database:
        with fresh_directory() as directory:
            await _outlive(directory, database)


async def _outlive(directory: Path, database: str) -> None:
    memory_id, message_id = str(uuid4()), str(uuid4())
    body = {"memoryId": memory_id, "id": message_id, "content": "hello"}
    server = LocalServer(directory, database)
    await server.start()
    ada = await person(server)
    async with RawSocket(server.socket_url, ada.token) as raw:
        await raw.call("memories.create", {"id": memory_id})
        first = await raw.call("messages.create", body)
    await server.stop()
    again = LocalServer(directory, database)
    await again.start()
    async with RawSocket(again.socket_url, ada.token) as raw:
        # The device has no answer, and asks again.
        second = await raw.call("messages.create", {**body, "content": "another"})
        assert isinstance(first, frames.Reply)
        assert isinstance(second, frames.Reply)
        assert second.body == first.body
        # This process writes under another Yjs client id: the message is hers all the same.
        changed = await raw.call("messages.update", {**body, "content": "hello again"})
        assert isinstance(changed, frames.Reply)
        assert changed.body["message"]["content"] == "hello again"
    await again.stop()
