"""Limits of the socket: operations that are refused, and what only waits."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest
import pytest_asyncio
from pycrdt import Awareness, Doc
from websockets.asyncio.client import connect

from protocol import frames
from protocol.errors import ErrorCode
from tests.conftest import fresh_database, fresh_directory
from tests.e2e.rawsocket import RawSocket
from tests.serving import LocalServer, register

pytestmark = pytest.mark.asyncio(loop_scope="module")

EMPTY = msgspec.Raw(msgspec.msgpack.encode({}))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def limited(postgres: str) -> AsyncIterator[LocalServer]:
    async with fresh_database(postgres) as database:
        with fresh_directory() as directory:
            server = LocalServer(
                directory,
                database,
                RATE_LIMIT_SOCKET="6/minute",
                RATE_LIMIT_AUTH="3/hour",
                RATE_LIMIT_HELLO="4/hour",
            )
            await server.start()
            yield server
            await server.stop()


async def new_token(server: LocalServer) -> str:
    return await register(server.url, f"{uuid4().hex}@example.com")


async def new_memory(raw: RawSocket) -> UUID:
    memory_id = uuid4()
    answer = await raw.call("memories.create", {"id": str(memory_id)})
    assert isinstance(answer, frames.Reply), answer
    return memory_id


def presence(size: int) -> bytes:
    """The awareness update of one client whose state is about so long."""
    awareness = Awareness(Doc())
    awareness.set_local_state({"name": "x" * size})
    return awareness.encode_awareness_update([awareness.client_id])


async def test_operations_of_a_user_are_limited_over_all_connections(limited: LocalServer) -> None:
    token = await new_token(limited)
    async with RawSocket(limited.socket_url, token) as one:
        async with RawSocket(limited.socket_url, token) as other:
            for raw in (one, other) * 3:
                assert isinstance(await raw.call("account.me", {}), frames.Reply)
            for raw in (one, other):
                answer = await raw.call("account.me", {})
                assert isinstance(answer, frames.Error)
                assert answer.body.code == ErrorCode.RATE_LIMITED.value
                assert answer.body.retry_after is not None
                assert 1 <= answer.body.retry_after <= 60
        # Someone else is not held to it, and what is no operation goes on.
        async with RawSocket(limited.socket_url, await new_token(limited)) as raw:
            assert isinstance(await raw.call("account.me", {}), frames.Reply)
        await one.send(frames.Update(99, 1, b""))
        assert (await one.take(frames.Error)).body.code == ErrorCode.CHANNEL_CLOSED.value


async def refused_hello(server: LocalServer, token: str) -> tuple[str, float | None, int]:
    """The code, how long to wait, and the close code, of a hello that is refused."""
    async with RawSocket(server.socket_url, None) as raw:
        await raw.send(frames.Hello(frames.HelloBody(token)))
        body = (await raw.take(frames.Error)).body
        return body.code, body.retry_after, await raw.close_code()


async def test_tokens_that_are_refused_too_often_are_told_to_wait(limited: LocalServer) -> None:
    token = await new_token(limited)
    async with RawSocket(limited.socket_url, token) as raw:
        memory = await new_memory(raw)
    stock = f"{limited.socket_url.removesuffix('/ws')}/yjs/{memory}?token="

    async def refused_stock(token: str) -> tuple[int | None, str | None]:
        async with connect(stock + token) as socket:
            await asyncio.wait_for(socket.wait_closed(), 10)
            return socket.close_code, socket.close_reason

    # Both doors count together.
    for _ in range(2):
        assert await refused_hello(limited, "made up") == ("unauthorized", None, 4401)
        assert await refused_stock("made-up") == (4401, "unauthorized")
    code, wait, closed = await refused_hello(limited, "made up")
    assert (code, closed) == ("rate_limited", 4429)
    assert wait is not None
    assert 3500 < wait <= 3600
    assert await refused_stock("made-up") == (4429, "rate_limited")
    # Nobody is locked out by a neighbour, and the good ones count nothing.
    for _ in range(6):
        async with RawSocket(limited.socket_url, token), connect(stock + token) as socket:
            await asyncio.wait_for(socket.recv(), 10)
    async with httpx.AsyncClient(base_url=limited.url) as http:
        metrics = (await http.get("/metrics")).text
    assert 'memo_rate_limited_total{limit="hello"} 2.0' in metrics


async def test_a_running_server_limits_guesses_and_says_so_in_its_metrics(
    limited: LocalServer,
) -> None:
    wrong = {"email": "nobody@example.com", "password": "Wrong-Horse-1!"}
    async with httpx.AsyncClient(base_url=limited.url, timeout=30) as http:
        for left in ("2", "1", "0"):
            answer = await http.post("/api/auth/login", json=wrong)
            assert answer.status_code == 401
            assert answer.headers["ratelimit-remaining"] == left
        answer = await http.post("/api/auth/login", json=wrong)
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) > 3000
        assert 'memo_rate_limited_total{limit="auth"} 1.0' in (await http.get("/metrics")).text


async def test_every_kind_of_answer_has_the_headers_that_protect_it(limited: LocalServer) -> None:
    async with httpx.AsyncClient(base_url=limited.url, timeout=30) as http:
        for path in ("/", "/docs", "/health", "/metrics", "/nothing", "/ws", "/api/auth/login"):
            headers = (await http.get(path)).headers
            assert headers["x-content-type-options"] == "nosniff", path
            assert headers["x-frame-options"] == "DENY", path
            assert headers["referrer-policy"] == "no-referrer", path
            assert "frame-ancestors 'none'" in headers["content-security-policy"], path


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """20 frames at once, and 100 a second from then on."""
    monkeypatch.setattr("server.throttle.FRAMES_AT_ONCE", 20)
    monkeypatch.setattr("server.throttle.FRAMES_PER_SECOND", 100)


@pytest.mark.usefixtures("slow")
async def test_who_sends_too_fast_waits_and_loses_nothing(server: LocalServer) -> None:
    loop = asyncio.get_running_loop()
    async with (
        RawSocket(server.socket_url, await new_token(server)) as raw,
        RawSocket(server.socket_url, await new_token(server)) as other,
    ):
        began = loop.time()
        for number in range(70):
            await raw.send(frames.Request(1000 + number, "account.me", EMPTY))
        assert isinstance(await other.call("account.me", {}), frames.Reply)
        answered = {(await raw.take(frames.Reply)).id for _ in range(70)}
        assert answered == set(range(1000, 1070))
        # What arrives together is handled; the next waits for those that were too many.
        assert isinstance(await raw.call("account.me", {}), frames.Reply)
        assert loop.time() - began > 0.25


@pytest.mark.usefixtures("slow")
async def test_a_stock_client_that_sends_too_fast_waits_too(server: LocalServer) -> None:
    token = await new_token(server)
    loop = asyncio.get_running_loop()
    async with RawSocket(server.socket_url, token) as raw:
        memory_id = await new_memory(raw)
    url = server.socket_url.replace("/ws", f"/yjs/{memory_id}?token={token}")
    async with connect(url) as socket, asyncio.timeout(20):
        began = loop.time()
        await socket.recv()  # the server's step 1
        for _ in range(60):
            await socket.send(b"\x03")  # who is here? Nobody, which is not worth an answer
        for _ in range(2):
            await socket.send(b"\x00\x00\x01\x00")  # step 1, which is
            assert await socket.recv() == b"\x00\x01\x02\x00\x00"
        assert loop.time() - began > 0.2


async def test_a_connection_has_so_many_channels_and_may_open_one_of_them_again(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.connection.MAX_CHANNELS", 2)
    async with RawSocket(server.socket_url, await new_token(server)) as raw:
        memories = [await new_memory(raw) for _ in range(3)]
        first, second = [await raw.open(memory_id) for memory_id in memories[:2]]
        answer = await raw.call("documents.open", {"memoryId": str(memories[2])})
        assert isinstance(answer, frames.Error)
        assert answer.body.code == ErrorCode.BUSY.value
        assert (await raw.open(memories[0]))["channel"] == first["channel"]
        await raw.call("documents.close", {"channel": second["channel"]})
        await raw.open(memories[2])


async def test_a_connection_shows_so_much_presence_over_all_of_its_channels(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.connection.MAX_PRESENCE_BYTES", 10_000)
    token = await new_token(server)
    async with (
        RawSocket(server.socket_url, token) as raw,
        RawSocket(server.socket_url, token) as friend,
    ):
        memories = [await new_memory(raw) for _ in range(3)]
        channels = [(await raw.open(memory_id))["channel"] for memory_id in memories]
        for memory_id in memories:
            await friend.open(memory_id)

        async def show(channel: int, payload: bytes) -> None:
            await raw.send(frames.Awareness(channel, payload))
            await raw.call("account.me", {})  # so that it has been handled

        await show(channels[0], presence(4000))
        await show(channels[1], presence(4000))
        await show(channels[2], presence(4000))
        error: Any = await raw.take(frames.Error)
        assert error.body.code == ErrorCode.MALFORMED_AWARENESS.value
        assert error.body.channel == channels[2]
        # What replaces something is not more, however often it comes.
        awareness = Awareness(Doc())
        for number in range(20):
            awareness.set_local_state({"cursor": number})
            update = awareness.encode_awareness_update([awareness.client_id])
            await show(channels[2], update)
        # And what is taken back makes room.
        await raw.call("documents.close", {"channel": channels[0]})
        await show(channels[2], presence(4000))
        assert raw.kept(frames.Error) == []
