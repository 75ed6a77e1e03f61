"""Attacks that once worked: each made a connection hang, the server stall or grow, or its log
fill."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest
import pytest_asyncio

from protocol import frames
from protocol.errors import CloseCode, ErrorCode
from protocol.frames import MAX_FRAMES, MAX_UNREADABLE
from server import http as server_http
from server import websocket as server_websocket
from tests.e2e.rawsocket import RawSocket
from tests.e2e.test_connection import value_of
from tests.e2e.test_hostile import awareness, new_memory, typed, undisturbed
from tests.serving import LocalServer, register

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATIENCE = 10.0
PING, CONTINUATION, BINARY, CLOSE = 0x89, 0x80, 0x82, 0x88
UNFINISHED = 0x02  # a binary message whose first fragment this is


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def token(server: LocalServer) -> str:
    return await register(server.url, "attacker@example.com")


class Wire:
    """A TCP connection to the server that does nothing by itself."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def head(self) -> bytes:
        """The head of a response."""
        return await self.until(b"\r\n\r\n")

    async def until(self, end: bytes) -> bytes:
        """What comes up to and with `end`."""
        async with asyncio.timeout(PATIENCE):
            return await self._reader.readuntil(end)

    async def hello(self, token: str) -> None:
        """Say hello and hear the welcome."""
        hello = frames.encode(frames.Hello(frames.HelloBody(token)))
        await self.send(masked(BINARY, hello))
        async with asyncio.timeout(PATIENCE):
            assert (await self._reader.read(2))[:1] == bytes((BINARY,))

    async def rest(self) -> bytes:
        """Everything until the server ends the connection."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await self._reader.read()
            except ConnectionResetError:
                return b""

    def close(self) -> None:
        self._writer.transport.abort()


@asynccontextmanager
async def wire(server: LocalServer) -> AsyncIterator[Wire]:
    host, port = server.url.removeprefix("http://").split(":")
    connection = Wire(*await asyncio.open_connection(host, int(port)))
    try:
        yield connection
    finally:
        connection.close()


@asynccontextmanager
async def upgraded(server: LocalServer, path: str = "/ws") -> AsyncIterator[Wire]:
    """A WebSocket whose frames the test writes itself."""
    async with wire(server) as connection:
        await connection.send(upgrade(path))
        assert b" 101 " in await connection.head()
        yield connection


def upgrade(path: str) -> bytes:
    return (
        f"GET {path} HTTP/1.1\r\nHost: memo\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: bWVtb3J5LWFwcC10ZXN0cw==\r\n\r\n"
    ).encode()


def masked(first: int, payload: bytes = b"") -> bytes:
    """A WebSocket frame of a client; `first` is its first byte."""
    size = len(payload)
    if size < 126:
        head = bytes((first, 0x80 | size))
    else:
        head = bytes((first, 0xFF)) + size.to_bytes(8, "big")
    return head + bytes(4) + payload


def request(number: int, operation: str, **body: Any) -> frames.Request:
    return frames.Request(number, operation, msgspec.Raw(msgspec.msgpack.encode(body)))


# Values


@pytest.mark.parametrize("number", [1e30, -1e30, 2.0**64, 1e308])
async def test_a_number_past_64_bits_does_not_poison_the_lists_it_is_in(
    number: float, server: LocalServer, token: str
) -> None:
    async with RawSocket(server.socket_url, token) as socket:
        made = await socket.call("memories.create", {"metadata": {"n": number}})
        assert isinstance(made, frames.Reply)
        assert made.body["memory"]["metadata"] == {"n": number}
        for operation in ("memories.list", "feed.changes"):
            assert isinstance(await socket.call(operation, {}), frames.Reply)


async def test_nul_in_a_search_finds_what_was_written_with_it(
    server: LocalServer, token: str
) -> None:
    async with RawSocket(server.socket_url, token) as socket:
        made = await socket.call("memories.create", {"title": "be\x00fore", "tags": ["a\x00b"]})
        assert isinstance(made, frames.Reply)
        for query in ({"search": "be\x00fore"}, {"tags": ["a\x00b"]}):
            found = await socket.call("memories.list", query)
            assert isinstance(found, frames.Reply)
            assert made.body["memory"]["id"] in [m["id"] for m in found.body["memories"]]


@pytest.mark.parametrize("key", [1, None, b"x", 1.5, (1, 2)])
async def test_a_key_that_is_not_text_is_refused_by_name(
    key: Any, server: LocalServer, token: str
) -> None:
    async with RawSocket(server.socket_url, token) as socket:
        answer = await socket.call("memories.create", {"metadata": {"a": {key: 1}}})
        assert isinstance(answer, frames.Error)
        assert answer.body.code == ErrorCode.INVALID_REQUEST.value


async def test_a_body_that_would_unfold_to_gigabytes_is_refused_unread(
    server: LocalServer, token: str
) -> None:
    count = 8 << 20
    unfolding = b"\x81\xa8metadata\x81\xa1a\xdd" + count.to_bytes(4, "big") + b"\x90" * count
    async with undisturbed(server), RawSocket(server.socket_url, token) as socket:
        await socket.send(frames.Request(7, "memories.create", msgspec.Raw(unfolding)))
        error = await socket.take(frames.Error)
        assert (error.id, error.body.code) == (7, ErrorCode.TOO_LARGE.value)


# Floods


@pytest.mark.parametrize(
    "flood",
    [
        masked(UNFINISHED) + masked(CONTINUATION & 0x7F) * 1_000_000,
        masked(PING) * 500_000,
        masked(BINARY, b"\x91\x91\xcc\xc8") * 300_000,
    ],
    ids=["fragments", "pings", "messages"],
)
async def test_a_flood_of_tiny_frames_keeps_nobody_waiting(
    flood: bytes, server: LocalServer
) -> None:
    async with undisturbed(server), upgraded(server) as attacker:
        sending = asyncio.create_task(attacker.send(flood))
        await asyncio.wait({sending}, timeout=PATIENCE)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def test_a_message_of_many_updates_keeps_nobody_waiting(
    server: LocalServer, token: str
) -> None:
    async with undisturbed(server), RawSocket(server.socket_url, token) as socket:
        channel = (await socket.open(await new_memory(socket)))["channel"]
        update = [3, channel, 1, b"\x00\x00"]
        await socket.socket.send(msgspec.msgpack.encode([update] * 60_000))
        last = request(99_999, "account.me")
        await socket.send(last)
        async with asyncio.timeout(PATIENCE):
            while (await socket.take(frames.Reply)).id != last.id:
                pass


@pytest.mark.parametrize(
    ("frame", "count"), [(b"\x92\x02\x01", MAX_FRAMES + 1), (b"\x90", MAX_UNREADABLE + 1)]
)
async def test_a_message_of_too_many_frames_is_none(
    frame: bytes, count: int, server: LocalServer, token: str
) -> None:
    async with RawSocket(server.socket_url, token) as socket:
        await socket.socket.send(b"\xdd" + count.to_bytes(4, "big") + frame * count)
        assert await socket.close_code() == CloseCode.INVALID_MESSAGE


async def test_who_asks_for_presence_a_thousand_times_at_once_is_shown_it_a_few_times(
    server: LocalServer, token: str
) -> None:
    async with RawSocket(server.socket_url, token) as socket:
        memory_id = await new_memory(socket)
        channel = (await socket.open(memory_id))["channel"]
        await socket.send(frames.Awareness(channel, awareness((1, 1, b'{"name":"here"}'))))
        await socket.call("account.me", {})
        async with upgraded(server, f"/yjs/{memory_id}?token={token}") as stock:
            leave = masked(CLOSE, (1000).to_bytes(2, "big"))
            ask, greet = masked(BINARY, b"\x03"), masked(BINARY, b"\x00\x00\x01\x00")
            await stock.send(greet + ask * 1000)
            await stock.until(b'{"name":"here"}')
            await stock.send(leave)  # read behind the thousand
            shown = 1 + (await stock.rest()).count(b'{"name":"here"}')
    assert shown < 50


async def test_answers_that_are_not_read_do_not_pile_up(server: LocalServer, token: str) -> None:
    megabyte = typed(5, "x" * (1 << 20))
    async with RawSocket(server.socket_url, token) as socket:
        memory_id = await new_memory(socket)
        channel = (await socket.open(memory_id))["channel"]
        await socket.send(frames.Update(channel, 1, megabyte))
        await socket.take(frames.Ack)
        async with upgraded(server) as glutton:
            opening = [
                request(number, "documents.open", memoryId=str(memory_id)) for number in range(400)
            ]
            await glutton.hello(token)
            await glutton.send(masked(BINARY, frames.encode(*opening)))
            largest = 0.0
            for _ in range(50):  # the neighbour's answers come as fast as ever
                await socket.call("account.me", {})
                metrics = (await asyncio.to_thread(httpx.get, f"{server.url}/metrics")).text
                largest = max(largest, value_of(metrics, "memo_outbox_bytes"))
    assert 1 << 20 < largest < 32 << 20


# Requests


async def test_a_request_that_waits_for_its_turn_can_be_cancelled(
    server: LocalServer, token: str
) -> None:
    async with RawSocket(server.socket_url, token) as socket:
        waiting = [request(number, "memories.create", title="x") for number in range(100)]
        await socket.send(*waiting, frames.Cancel(99))
        error = await socket.take(frames.Error)
        assert (error.id, error.body.code) == (99, ErrorCode.CANCELLED.value)


async def test_requests_that_wait_when_the_session_ends_are_not_carried_out(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_websocket, "CLOSE_SECONDS", 2.0)
    email = f"{uuid4().hex}@example.com"
    login = {"email": email, "password": "Correct-Horse-1!"}
    creates = [request(number, "memories.create", title="x") for number in range(300)]
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as http:
        async with RawSocket(server.socket_url, await register(server.url, email)) as socket:
            await new_memory(socket)  # so that a worker runs, and a create takes milliseconds
        session = (await http.post("/api/auth/login", json=login)).json()
        async with upgraded(server) as attacker:
            await attacker.hello(session["accessToken"])
            await attacker.send(masked(BINARY, frames.encode(*creates)))
            await http.post("/api/auth/logout", json={"refreshToken": session["refreshToken"]})
            await attacker.rest()  # it never answers the close, and is cut off
        session = (await http.post("/api/auth/login", json=login)).json()
    async with RawSocket(server.socket_url, session["accessToken"]) as socket:
        found = await socket.call("memories.list", {})
        assert isinstance(found, frames.Reply)
        assert found.body["pagination"]["total"] < len(creates) // 2


async def test_a_request_that_fails_when_it_is_cancelled_leaves_no_traceback(
    server: LocalServer, token: str
) -> None:
    loop = asyncio.get_running_loop()
    reports: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, report: reports.append(report))
    try:
        async with RawSocket(server.socket_url, token) as socket:
            for number in range(100):
                await socket.send(
                    request(number, "memories.create", metadata={"a": 1 << 63}),
                    request(1000 + number, "account.me"),
                )
                await socket.take(frames.Reply)  # by now the other one runs
                await socket.send(frames.Cancel(number))
                await socket.take(frames.Error)
            await new_memory(socket)
            await new_memory(socket)
        gc.collect()
    finally:
        loop.set_exception_handler(None)
    assert reports == []


# Bytes


@pytest.mark.parametrize("behind", [masked(CLOSE, (1000).to_bytes(2, "big")), b"\xff" * 20])
async def test_what_comes_behind_a_refused_message_does_not_break_the_refusal(
    behind: bytes, server: LocalServer
) -> None:
    async with upgraded(server) as attacker:
        await attacker.send(masked(BINARY, b"\xc1") + behind)
        assert (await attacker.rest())[:1] == bytes((CLOSE,))


@pytest.mark.parametrize("path", ["//[ws", "http://[::1/ws"])
async def test_a_path_that_is_no_url_is_answered(path: str, server: LocalServer) -> None:
    async with wire(server) as attacker:
        await attacker.send(upgrade(path))
        assert b" 404 " in await attacker.head()


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: memo\r\nA: "])
async def test_half_a_head_is_not_waited_for_for_ever(
    sent: bytes, server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_http, "HEAD_SECONDS", 0.1)
    async with wire(server) as attacker:
        await attacker.send(sent)
        assert await attacker.rest() == b""


@pytest.mark.parametrize("part", [b"A: " + b"a" * 1000 + b"\r\n", b"a" * 1000])
async def test_a_head_without_end_is_cut_off(part: bytes, server: LocalServer) -> None:
    async with wire(server) as attacker:
        await attacker.send(b"GET / HTTP/1.1\r\nHost: memo\r\nA: ")
        endless = asyncio.gather(*(attacker.send(part * 1000) for _ in range(100)))
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(endless, PATIENCE)
