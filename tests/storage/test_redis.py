"""The broker over Redis when Redis goes away, stands still, lies or refuses. What every broker
promises is in tests/contract."""

import asyncio
import gc
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from storage import redis as module
from storage.redis import RedisBroker, RedisUnusable, place
from tests.redisserver import RedisServer

SECONDS = 20.0


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A Redis that the test may stop."""
    server = RedisServer()
    server.start()
    yield server
    server.stop()


class Missed:
    """Counts how often a node was told that it may have missed something."""

    def __init__(self, broker: RedisBroker) -> None:
        self.count = 0
        self._told = asyncio.Event()
        broker.on_missed(self._tell)

    def _tell(self) -> None:
        self.count += 1
        self._told.set()

    async def again(self) -> None:
        self._told.clear()
        async with asyncio.timeout(SECONDS):
            await self._told.wait()


async def test_a_redis_that_comes_back_is_joined_again_and_a_look_is_asked_for(
    own_redis: RedisServer,
) -> None:
    async with (
        RedisBroker.connected(own_redis.url) as here,
        RedisBroker.connected(own_redis.url) as there,
    ):
        came: list[bytes] = []
        there.subscribe("a", came.append)
        await there.joined("a")
        missed_here, missed_there = Missed(here), Missed(there)
        own_redis.kill()
        await _until(lambda: not here.up and not there.up)
        here.publish("a", b"lost")
        assert here.dropped == 1
        own_redis.start()
        await missed_here.again()
        await missed_there.again()
        await _until(lambda: here.up and there.up)
        await there.joined("a")
        here.publish("a", b"back")
        await _until(lambda: came == [b"back"])


async def test_without_redis_a_node_still_hears_itself(own_redis: RedisServer) -> None:
    async with RedisBroker.connected(own_redis.url) as broker:
        own_redis.kill()
        await _until(lambda: not broker.up)
        came: list[bytes] = []
        broker.subscribe("a", came.append)
        await broker.joined("a")  # which cannot be, and is not waited for
        broker.publish("a", b"1")
        assert came == [b"1"]


async def test_a_node_starts_without_redis_and_joins_it_later() -> None:
    server = RedisServer()
    async with RedisBroker.connected(server.url) as broker:
        assert not broker.up
        missed = Missed(broker)
        server.start()
        try:
            await missed.again()
            assert broker.up
        finally:
            server.stop()


async def test_a_redis_that_stands_still_is_noticed(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PING_SECONDS", 0.05)
    monkeypatch.setattr(module, "SILENCE_SECONDS", 0.2)
    async with RedisBroker.connected(own_redis.url) as broker:
        missed = Missed(broker)
        own_redis.pause()
        await _until(lambda: not broker.up)
        own_redis.resume()
        await missed.again()
        assert broker.up


async def test_what_does_not_fit_is_dropped_and_the_others_are_told_to_look(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_OUTBOX_BYTES", 1000)
    async with (
        RedisBroker.connected(own_redis.url) as here,
        RedisBroker.connected(own_redis.url) as there,
    ):
        missed = Missed(there)
        for _ in range(10):
            here.publish("a", bytes(500))
        assert here.dropped == 7
        await missed.again()


async def test_topics_that_come_and_go_while_redis_is_away_leave_nothing_behind(
    own_redis: RedisServer,
) -> None:
    async with (
        RedisBroker.connected(own_redis.url) as here,
        RedisBroker.connected(own_redis.url) as there,
    ):
        here.subscribe("before", lambda _: None)()
        own_redis.kill()
        await _until(lambda: not here.up and not there.up)
        came: list[bytes] = []
        gc.collect()
        tracemalloc.start()
        try:
            held = tracemalloc.get_traced_memory()[0]
            for number in range(20_000):
                here.subscribe(f"topic {number}", came.append)()
            assert tracemalloc.get_traced_memory()[0] - held < 500_000
        finally:
            tracemalloc.stop()
        here.subscribe("a", came.append)
        own_redis.start()
        await _until(lambda: here.up and there.up)
        await here.joined("a")
        there.publish("a", b"back")
        await _until(lambda: came == [b"back"])


async def test_a_subscriber_that_raises_costs_nobody_else_their_messages(
    redis: RedisServer,
) -> None:
    async with (
        RedisBroker.connected(redis.url) as here,
        RedisBroker.connected(redis.url) as there,
    ):

        def fail(_: bytes) -> None:
            raise RuntimeError("a defect")

        came: list[bytes] = []
        here.subscribe("a", fail)
        here.subscribe("a", came.append)
        await here.joined("a")
        missed = Missed(here)
        for message in (b"1", b"2"):
            there.publish("a", message)
        await _until(lambda: came == [b"1", b"2"])
        assert here.up
        assert missed.count == 0


class Parrot(asyncio.Protocol):
    """Answers whatever it hears with the same."""

    def __init__(self, answer: bytes, transports: list[asyncio.Transport]) -> None:
        self._answer = answer
        self._transports = transports

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transports.append(transport)

    def data_received(self, data: bytes) -> None:
        self._transports[-1].write(self._answer)


@asynccontextmanager
async def _speaking(answer: bytes) -> AsyncIterator[str]:
    """The address of something that answers whatever it is asked with `answer`."""
    transports: list[asyncio.Transport] = []
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Parrot(answer, transports), "127.0.0.1", 0)
    try:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for transport in transports:
            transport.abort()
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xff\xfe\x00garbage\r\n", b"SSH-2.0-OpenSSH_9.2\r\n"],
)
async def test_what_is_no_redis_is_refused_in_one_line(answer: bytes) -> None:
    async with _speaking(answer) as url:
        with pytest.raises(RedisUnusable, match="does not speak the protocol of Redis") as refusal:
            async with RedisBroker.connected(url):
                pass
    assert "\n" not in str(refusal.value)


async def test_a_wrong_password_is_refused_in_one_line_that_does_not_hold_it() -> None:
    async with _speaking(b"-WRONGPASS invalid username-password pair\r\n") as url:
        with pytest.raises(RedisUnusable, match=r"refuses us .* in REDIS_URL") as refusal:
            async with RedisBroker.connected(url.replace("//", "//me:secret@")):
                pass
    assert "secret" not in str(refusal.value)


async def test_a_redis_that_asks_for_a_password_is_refused_in_one_line() -> None:
    async with _speaking(b"-NOAUTH Authentication required.\r\n") as url:
        with pytest.raises(RedisUnusable, match="in REDIS_URL"):
            async with RedisBroker.connected(url):
                pass


async def test_a_redis_that_still_loads_is_waited_for() -> None:
    async with (
        _speaking(b"-LOADING Redis is loading the dataset in memory\r\n") as url,
        RedisBroker.connected(url) as broker,
    ):
        assert not broker.up


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://me:secret@cache:6380/1", "cache:6380"),
        ("redis://cache", "cache:6379"),
        ("rediss://[::1]:7000", "[::1]:7000"),
        ("unix://me@/run/redis.sock?db=1", "/run/redis.sock"),
    ],
)
def test_where_an_address_leads_is_told_without_its_password(url: str, expected: str) -> None:
    assert place(url) == expected


async def _until(true: object) -> None:
    assert callable(true)
    async with asyncio.timeout(SECONDS):
        while not true():  # noqa: ASYNC110 (the broker tells nobody that it went down)
            await asyncio.sleep(0.005)
