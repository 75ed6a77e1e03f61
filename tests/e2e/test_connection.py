"""The life of a connection: hello, renewal, presence, slowness, deletion, goodbye."""

import asyncio
import socket
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import msgspec
import pytest
from pycrdt import Doc, Text
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from protocol import frames
from protocol.errors import CloseCode, ErrorCode
from protocol.frames import SUBPROTOCOL
from tests.e2e.rawsocket import RawSocket
from tests.serving import LocalServer, register

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def new_memory(raw: RawSocket, **fields: Any) -> UUID:
    memory_id = uuid4()
    answer = await raw.call("memories.create", {"id": str(memory_id), **fields})
    assert isinstance(answer, frames.Reply), answer
    return memory_id


async def new_token(server: LocalServer) -> str:
    return await register(server.url, f"{uuid4().hex}@example.com")


class Typist:
    """Makes updates of a document, one character or `size` of them each."""

    def __init__(self, size: int = 1) -> None:
        self._doc: Doc[Text] = Doc()
        self._text = self._doc.get("content", type=Text)
        self._made: list[bytes] = []
        self._size = size
        self._doc.observe(lambda event: self._made.append(event.update))

    def type(self) -> bytes:
        self._text.insert(0, "x" * self._size)
        return self._made.pop()


async def test_the_welcome_says_what_a_client_needs(server: LocalServer) -> None:
    token = await new_token(server)
    async with RawSocket(server.socket_url, None) as raw:
        await raw.send(frames.Hello(frames.HelloBody(token)))
        body = (await raw.take(frames.Welcome)).body
        me = await raw.call("account.me", {})
        assert isinstance(me, frames.Reply)
        assert me.body["user"]["id"] == body.user_id
        assert me.body["sessionId"] == body.session_id
        assert body.max_message_bytes >= 16 << 20
        changes = await raw.call("feed.changes", {"after": body.cursor})
        assert isinstance(changes, frames.Reply)
        assert changes.body["items"] == []


async def test_frames_behind_the_hello_wait_for_the_welcome(server: LocalServer) -> None:
    token = await new_token(server)
    async with RawSocket(server.socket_url, None) as raw:
        request = frames.Request(5, "account.me", msgspec.Raw(msgspec.msgpack.encode({})))
        await raw.send(frames.Hello(frames.HelloBody(token)), request)
        await raw.send(frames.Request(6, "account.me", request.body))
        assert {(await raw.take(frames.Reply)).id, (await raw.take(frames.Reply)).id} == {5, 6}


async def test_another_subprotocol_or_path_is_refused_before_the_upgrade(
    server: LocalServer,
) -> None:
    with pytest.raises(InvalidStatus, match="400"):
        await connect(server.socket_url, subprotocols=[Subprotocol("graphql-ws")])
    with pytest.raises(InvalidStatus, match="404"):
        await connect(server.socket_url + "x", subprotocols=[Subprotocol(SUBPROTOCOL)])


async def test_a_session_is_renewed_without_reconnecting(server: LocalServer) -> None:
    email = f"{uuid4().hex}@example.com"
    token = await register(server.url, email)
    async with RawSocket(server.socket_url, token) as raw, httpx.AsyncClient() as http:
        login = await http.post(
            f"{server.url}/api/auth/login",
            json={"email": email, "password": "Correct-Horse-1!"},
        )
        refreshed = await http.post(
            f"{server.url}/api/auth/refresh", json={"refreshToken": login.json()["refreshToken"]}
        )
        fresh = refreshed.json()["accessToken"]
        # The fresh token is of the login's session, not of the one this socket said hello with.
        answer = await raw.call("session.renew", {"token": fresh})
        assert isinstance(answer, frames.Error)
        assert answer.body.code == ErrorCode.UNAUTHORIZED.value
        answer = await raw.call("session.renew", {"token": token})
        assert isinstance(answer, frames.Reply)
        assert answer.body["expiresAt"].endswith("Z")


async def test_logging_out_closes_the_sessions_sockets(server: LocalServer) -> None:
    email = f"{uuid4().hex}@example.com"
    await register(server.url, email)
    async with httpx.AsyncClient(base_url=server.url) as http:
        login = (
            await http.post(
                "/api/auth/login", json={"email": email, "password": "Correct-Horse-1!"}
            )
        ).json()
        async with RawSocket(server.socket_url, login["accessToken"]) as raw:
            memory_id = await new_memory(raw)
            stock = await connect(
                f"{server.socket_url.removesuffix('/ws')}/yjs/{memory_id}"
                f"?token={login['accessToken']}"
            )
            await stock.recv()
            reply = await http.post(
                "/api/auth/logout", json={"refreshToken": login["refreshToken"]}
            )
            assert reply.status_code == 204
            assert await raw.close_code() == CloseCode.SESSION_ENDED
            await stock.wait_closed()
            assert stock.close_code == CloseCode.SESSION_ENDED


async def test_presence_is_relayed_shown_to_who_joins_and_taken_back(
    server: LocalServer,
) -> None:
    token = await new_token(server)
    here = b"\x01\x07\x01\x0c" + b'{"name":"A"}'
    async with RawSocket(server.socket_url, token) as watcher:
        memory_id = await new_memory(watcher)
        channel = (await watcher.open(memory_id))["channel"]
        async with RawSocket(server.socket_url, token) as raw:
            await raw.open(memory_id)
            await raw.send(frames.Awareness(channel, here))
            assert (await watcher.take(frames.AwarenessRelay)).payload == here
            async with RawSocket(server.socket_url, token) as late:
                await late.open(memory_id)
                assert (await late.take(frames.AwarenessRelay)).payload == here
        gone = (await watcher.take(frames.AwarenessRelay)).payload
        assert gone.startswith(b"\x01\x07")
        assert gone.endswith(b"\x04null")


async def test_deleting_a_memory_ends_its_channels_and_refuses_edits(
    server: LocalServer,
) -> None:
    token = await new_token(server)
    async with (
        RawSocket(server.socket_url, token) as one,
        RawSocket(server.socket_url, token) as other,
    ):
        memory_id = await new_memory(one)
        channel = (await one.open(memory_id))["channel"]
        await other.open(memory_id)
        await other.call("memories.delete", {"id": str(memory_id)})
        error = (await one.take(frames.Error)).body
        assert (error.code, error.channel) == (ErrorCode.GONE.value, channel)
        await one.send(frames.Update(channel, 1, Typist().type()))
        assert (await one.take(frames.Error)).body.code == ErrorCode.CHANNEL_CLOSED.value
        answer = await one.call("documents.open", {"memoryId": str(memory_id)})
        assert isinstance(answer, frames.Error)
        assert answer.body.code == ErrorCode.GONE.value


async def test_a_cancelled_request_is_answered_so(server: LocalServer) -> None:
    token = await new_token(server)
    async with RawSocket(server.socket_url, token) as raw:
        body = msgspec.Raw(msgspec.msgpack.encode({"title": "x"}))
        await raw.send(frames.Request(1, "memories.create", body), frames.Cancel(1))
        error = await raw.take(frames.Error)
        assert (error.id, error.body.code) == (1, ErrorCode.CANCELLED.value)


async def test_a_slow_reader_costs_its_neighbours_nothing_and_misses_nothing(
    server: LocalServer,
) -> None:
    token = await new_token(server)
    small = socket.socket()
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    small.setblocking(False)
    host, port = server.socket_url.removeprefix("ws://").removesuffix("/ws").split(":")
    await asyncio.get_running_loop().sock_connect(small, (host, int(port)))
    updates = 200
    typist = Typist(size=30_000)  # six megabytes in all: more than an outbox holds
    async with (
        RawSocket(server.socket_url, token) as writer,
        RawSocket(server.socket_url, token) as neighbour,
        RawSocket(server.socket_url, token, sock=small, max_queue=1) as slow,
    ):
        memory_id = await new_memory(writer)
        channel = (await writer.open(memory_id))["channel"]
        await neighbour.open(memory_id)
        await slow.open(memory_id)
        sent: list[bytes] = []
        for number in range(1, updates + 1):
            sent.append(typist.type())
            await writer.send(frames.Update(channel, number, sent[-1]))
            await writer.take(frames.Ack)
            # The neighbour hears each at once, while the slow one reads nothing.
            assert (await neighbour.take(frames.Push)).updates == [sent[-1]]
        metrics = (await asyncio.to_thread(httpx.get, f"{server.url}/metrics")).text
        assert value_of(metrics, "memo_slow_readers_total") > 0
        heard: list[bytes] = []
        offset = 1
        while len(heard) < updates:
            push = await slow.take(frames.Push)
            assert push.offset == offset
            heard += push.updates
            offset += len(push.updates)
        assert heard == sent


def value_of(metrics: str, name: str) -> float:
    for line in metrics.splitlines():
        if line.startswith(f"{name} "):
            return float(line.split()[1])
    raise AssertionError(f"there is no metric {name}")


async def test_a_stopping_server_says_goodbye_and_commits_what_it_took(
    database: str, data_directory: Any
) -> None:
    server = LocalServer(data_directory, database)
    await server.start()
    token = await new_token(server)
    typist = Typist()
    async with RawSocket(server.socket_url, token) as raw:
        memory_id = await new_memory(raw)
        channel = (await raw.open(memory_id))["channel"]
        sent = [frames.Update(channel, number, typist.type()) for number in range(1, 201)]
        await raw.send(*sent)
        stopping = asyncio.create_task(server.stop())
        goodbye = (await raw.take(frames.Goodbye)).body
        assert goodbye.reason == "shutdown"
        assert goodbye.reconnect_after_ms > 0
        assert await raw.close_code() == CloseCode.GOING_AWAY
        await stopping
        acked = {frame.offset for frame in raw.kept(frames.Ack)}
    await server.start()
    async with RawSocket(server.socket_url, token) as raw:
        opened = await raw.open(memory_id)
        assert opened["offset"] >= max(acked, default=0)
        assert acked <= set(range(1, 201))
    await server.stop()


async def test_requests_wait_their_turn_and_are_told_when_it_does_not_come(
    database: str, data_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.connection.MAX_RUNNING_ON_NODE", 1)
    server = LocalServer(data_directory, database)
    await server.start()
    try:
        token = await new_token(server)
        async with (
            RawSocket(server.socket_url, token) as one,
            RawSocket(server.socket_url, token) as other,
        ):
            answers = await asyncio.gather(*(raw.call("account.me", {}) for raw in (one, other)))
            assert all(isinstance(answer, frames.Reply) for answer in answers)
            monkeypatch.setattr("server.requests.QUEUE_SECONDS", 0)
            body = msgspec.Raw(msgspec.msgpack.encode({}))
            await one.send(*(frames.Request(100 + n, "account.me", body) for n in range(3)))
            assert isinstance(await one.take(frames.Reply), frames.Reply)
            for _ in range(2):
                error = (await one.take(frames.Error)).body
                assert (error.code, error.retry_after) == (ErrorCode.BUSY.value, 5)
    finally:
        await server.stop()


async def test_a_session_ended_by_a_command_is_cut_off(
    server: LocalServer, shared_database: str
) -> None:
    """Nobody tells the server: it looks."""
    token = await new_token(server)
    pool = await asyncpg.connect(shared_database)
    try:
        async with RawSocket(server.socket_url, None) as raw:
            await raw.send(frames.Hello(frames.HelloBody(token)))
            welcome = (await raw.take(frames.Welcome)).body
            await pool.execute(
                "UPDATE sessions SET ended_at = now() WHERE id = $1", UUID(welcome.session_id)
            )
            assert await raw.close_code() == CloseCode.SESSION_ENDED
    finally:
        await pool.close()
