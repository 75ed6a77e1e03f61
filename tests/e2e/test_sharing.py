"""Two accounts and one memory, on two nodes with a Redis between them, over `/ws` and `/yjs`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from pycrdt import Doc, Text, create_sync_message, create_update_message
from websockets.asyncio.client import ClientConnection, connect

from protocol import frames
from protocol.client import Client
from protocol.errors import CloseCode, ErrorCode, MemoError
from tests.conftest import fresh_database, fresh_directory
from tests.e2e.rawsocket import PATIENCE, RawSocket
from tests.redisserver import RedisServer
from tests.serving import LocalServer, register

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Nodes(NamedTuple):
    here: LocalServer
    there: LocalServer


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def nodes(postgres: str, redis: RedisServer) -> AsyncIterator[Nodes]:
    async with fresh_database(postgres) as database:
        with fresh_directory() as directory:
            nodes = Nodes(
                *(LocalServer(directory, database, REDIS_URL=redis.url) for _ in range(2))
            )
            for node in nodes:
                await node.start()
            yield nodes
            for node in nodes:
                await node.stop()


class Person(NamedTuple):
    token: str
    email: str
    id: str


async def person(nodes: Nodes) -> Person:
    email = f"{uuid4().hex}@example.com"
    token = await register(nodes.here.url, email)
    async with RawSocket(nodes.here.socket_url, token) as socket:
        me = await reply(socket, "account.me")
    return Person(token, email, me["user"]["id"])


async def reply(socket: RawSocket, operation: str, **body: Any) -> dict[str, Any]:
    answer = await socket.call(operation, body)
    assert isinstance(answer, frames.Reply), answer
    answered: dict[str, Any] = answer.body
    return answered


async def refused(socket: RawSocket, operation: str, **body: Any) -> str:
    answer = await socket.call(operation, body)
    assert isinstance(answer, frames.Error), answer
    return answer.body.code


class Shared(NamedTuple):
    """Ada's memory, whose editor Bob is; she is on one node."""

    ada: Person
    bob: Person
    memory: str
    owner: RawSocket

    async def set_role(self, role: str) -> None:
        body = {"memoryId": self.memory, "userId": self.bob.id, "role": role}
        await reply(self.owner, "sharing.setRole", **body)

    async def remove(self) -> None:
        await reply(self.owner, "sharing.remove", memoryId=self.memory, userId=self.bob.id)

    async def set_privacy(self, level: str) -> None:
        await reply(self.owner, "memories.update", id=self.memory, privacyLevel=level)


@asynccontextmanager
async def sharing(nodes: Nodes) -> AsyncIterator[Shared]:
    ada, bob = await person(nodes), await person(nodes)
    async with RawSocket(nodes.here.socket_url, ada.token) as owner:
        memory = (await reply(owner, "memories.create", title="Lisbon"))["memory"]["id"]
        await reply(owner, "sharing.invite", memoryId=memory, email=bob.email, role="editor")
        async with RawSocket(nodes.there.socket_url, bob.token) as guest:
            [invitation] = (await reply(guest, "sharing.invitations"))["invitations"]
            assert invitation["memoryTitle"] == "Lisbon"
            await reply(guest, "sharing.accept", invitationId=invitation["id"])
        yield Shared(ada, bob, memory, owner)


@asynccontextmanager
async def stock(node: LocalServer, memory: str, token: str) -> AsyncIterator[ClientConnection]:
    """A stock client's socket, behind the server's first message."""
    url = f"{node.socket_url.removesuffix('/ws')}/yjs/{memory}?token={token}"
    async with connect(url) as socket:
        await socket.recv()
        yield socket


async def close_code(socket: ClientConnection) -> int:
    async with asyncio.timeout(PATIENCE):
        await socket.wait_closed()
    assert socket.close_code is not None
    return socket.close_code


def typed(doc: Doc[Any], text: str) -> bytes:
    before = doc.get_state()
    doc.get("content", type=Text).insert(0, text)
    return doc.get_update(before)


def cut(doc: Doc[Any], length: int) -> bytes:
    """An update that only deletes."""
    made: list[bytes] = []
    doc.observe(lambda event: made.append(event.update))
    del doc.get("content", type=Text)[0:length]
    return made[0]


async def test_a_memory_is_shared_and_followed_by_both(nodes: Nodes) -> None:
    async with (
        sharing(nodes) as shared,
        RawSocket(nodes.there.socket_url, shared.bob.token) as guest,
    ):
        listed = await reply(guest, "memories.list")
        [memory] = listed["memories"]
        assert (memory["id"], memory["role"]) == (shared.memory, "editor")
        mine = await shared.owner.open(UUID(shared.memory))
        theirs = await guest.open(UUID(shared.memory))
        await guest.send(frames.Update(theirs["channel"], 1, typed(Doc(), "hello")))
        await guest.take(frames.Ack)
        assert (await shared.owner.take(frames.Push)).channel == mine["channel"]
        members = (await reply(guest, "sharing.members", memoryId=shared.memory))["members"]
        assert [(member["role"], member["email"]) for member in members] == [
            ("owner", None),
            ("editor", None),
        ]


async def test_a_link_is_joined_by_its_token(nodes: Nodes) -> None:
    async with sharing(nodes) as shared:
        eve = await person(nodes)
        link = {"memoryId": shared.memory, "role": "viewer", "maxUses": 1}
        made = (await reply(shared.owner, "sharing.link", **link))["invitation"]
        assert made["url"].endswith(f"/join#{made['token']}")
        async with RawSocket(nodes.there.socket_url, eve.token) as socket:
            joined = await reply(socket, "sharing.accept", token=made["token"])
            assert joined["memory"]["role"] == "viewer"
            assert not (await socket.open(UUID(shared.memory)))["canWrite"]


async def test_roles_change_on_an_open_channel_of_another_node(nodes: Nodes) -> None:
    async with (
        sharing(nodes) as shared,
        RawSocket(nodes.there.socket_url, shared.bob.token) as guest,
    ):
        doc: Doc[Any] = Doc()
        memory = UUID(shared.memory)
        channel = (await guest.open(memory))["channel"]
        await guest.send(frames.Update(channel, 1, typed(doc, "kept")))
        await guest.take(frames.Ack)
        await shared.set_role("viewer")
        event = await changed(guest)
        assert event == {"memoryId": shared.memory, "role": "viewer"}
        await guest.send(frames.Update(channel, 2, cut(doc, 2)))
        error = (await guest.take(frames.Error)).body
        assert (error.code, error.client_seq) == (ErrorCode.FORBIDDEN.value, 2)
        await shared.set_role("editor")
        assert (await changed(guest))["role"] == "editor"
        opened = await guest.open(memory)
        assert opened["canWrite"]
        await guest.send(frames.Update(channel, 3, typed(Doc(), "again ")))
        # The title, what was kept, and this: the deletion is nowhere.
        assert (await guest.take(frames.Ack)).offset == 3


async def changed(socket: RawSocket) -> dict[str, Any]:
    while True:
        event = await socket.take(frames.Event)
        if event.name == "sharing.changed":
            body: dict[str, Any] = event.body
            return body


async def test_one_who_is_removed_is_out_at_once(nodes: Nodes) -> None:
    async with (
        sharing(nodes) as shared,
        RawSocket(nodes.there.socket_url, shared.bob.token) as guest,
        stock(nodes.there, shared.memory, shared.bob.token) as editor,
    ):
        memory = UUID(shared.memory)
        channel = (await guest.open(memory))["channel"]
        own = (await shared.owner.open(memory))["channel"]
        await shared.remove()
        error = (await guest.take(frames.Error)).body
        assert (error.code, error.channel) == (ErrorCode.FORBIDDEN.value, channel)
        assert await close_code(editor) == CloseCode.FORBIDDEN
        await shared.owner.send(frames.Update(own, 1, typed(Doc(), "secret")))
        await shared.owner.take(frames.Ack)
        await guest.send(frames.Update(channel, 1, typed(Doc(), "still there?")))
        late = (await guest.take(frames.Error)).body
        assert (late.code, late.client_seq) == (ErrorCode.CHANNEL_CLOSED.value, 1)
        for operation in ("documents.open", "documents.token", "sharing.members"):
            code = await refused(guest, operation, memoryId=shared.memory)
            assert code == ErrorCode.NOT_FOUND.value
        assert await refused(guest, "memories.get", id=shared.memory) == ErrorCode.NOT_FOUND.value
        assert guest.kept(frames.Push) == []
        async with connect(
            f"{nodes.there.socket_url.removesuffix('/ws')}/yjs/{shared.memory}"
            f"?token={shared.bob.token}"
        ) as again:
            assert await close_code(again) == CloseCode.NOT_FOUND


async def test_a_stock_reader_is_denied_and_once_an_editor_asked_for_its_edits(
    nodes: Nodes,
) -> None:
    async with sharing(nodes) as shared:
        await shared.set_role("viewer")
        opened = await shared.owner.open(UUID(shared.memory))
        doc: Doc[Any] = Doc()
        await shared.owner.send(frames.Update(opened["channel"], 1, typed(doc, "keep")))
        await shared.owner.take(frames.Ack)
        copy: Doc[Any] = Doc()
        copy.apply_update(doc.get_update())
        async with stock(nodes.there, shared.memory, shared.bob.token) as reader:
            await reader.send(create_update_message(cut(copy, 2)))
            denied = await reader.recv()
            assert isinstance(denied, bytes)
            assert denied[:2] == b"\x02\x00"
            assert ErrorCode.FORBIDDEN.value.encode() in denied
            await shared.set_role("editor")
            asked = await reader.recv()
            assert isinstance(asked, bytes)
            assert asked[:2] == b"\x00\x00"  # sync step 1: what did it do meanwhile?
            await reader.send(create_update_message(copy.get_update(doc.get_state())))
            push = await shared.owner.take(frames.Push)
        doc.apply_update(push.updates[0])
        assert str(doc.get("content", type=Text)) == "ep"


async def test_a_stranger_reads_a_public_memory_until_it_is_private(nodes: Nodes) -> None:
    async with sharing(nodes) as shared:
        eve = await person(nodes)
        async with RawSocket(nodes.there.socket_url, eve.token) as stranger:
            memory = UUID(shared.memory)
            assert await refused(stranger, "memories.get", id=shared.memory) == "not_found"
            await shared.set_privacy("public")
            assert (await reply(stranger, "memories.get", id=shared.memory))["memory"][
                "role"
            ] == "viewer"
            assert (await reply(stranger, "memories.list"))["memories"] == []
            assert not (await stranger.open(memory))["canWrite"]
            # A token for the document alone grants no more than the account may do.
            granted = await reply(stranger, "documents.token", memoryId=shared.memory)
            async with stock(nodes.here, shared.memory, granted["token"]) as reader:
                await reader.send(create_sync_message(Doc()))
                await shared.set_privacy("private")
                assert await close_code(reader) == CloseCode.FORBIDDEN
            assert (await stranger.take(frames.Error)).body.code == ErrorCode.FORBIDDEN.value
            assert await refused(stranger, "memories.get", id=shared.memory) == "not_found"


async def test_the_python_client_follows_its_role(nodes: Nodes) -> None:
    async with (
        sharing(nodes) as shared,
        Client(nodes.there.socket_url, shared.bob.token) as client,
    ):
        document = await client.open(UUID(shared.memory))
        await document.synced()
        events = client.events()
        await shared.set_role("viewer")
        await told(events)
        document.text += "waits"
        with pytest.raises(MemoError) as stopped:
            await document.saved(PATIENCE)
        assert stopped.value.code is ErrorCode.FORBIDDEN
        await shared.set_role("editor")
        opened = await shared.owner.open(UUID(shared.memory))
        if opened["offset"] < 2:  # the title, and what waited
            await shared.owner.take(frames.Push)
        assert document.can_write


async def told(events: AsyncIterator[frames.Event]) -> None:
    async for event in events:
        if event.name == "sharing.changed":
            return
