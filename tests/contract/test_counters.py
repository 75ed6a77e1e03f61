"""What counters promise, in one process and in a real Redis."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from server.limits import Counters
from storage import counters as module
from storage.counters import LocalCounters, SharedCounters
from tests.redisserver import RedisServer


@pytest.fixture(params=["local", "shared"])
async def counters(request: pytest.FixtureRequest) -> AsyncIterator[Counters]:
    if request.param == "local":
        yield LocalCounters()
        return
    redis: RedisServer = request.getfixturevalue("redis")
    async with SharedCounters.connected(redis.url) as counters:
        yield counters


@pytest.fixture
def key() -> str:
    return uuid4().hex


async def test_a_key_is_counted_from_its_first_call_on(counters: Counters, key: str) -> None:
    for number in (1, 2, 3):
        count = await counters.add(key, 60)
        assert count.number == number
        assert 58 <= count.seconds_left <= 60


async def test_keys_are_counted_apart(counters: Counters, key: str) -> None:
    assert (await counters.add(key, 60)).number == 1
    assert (await counters.add(key + "2", 60)).number == 1


async def test_what_is_taken_back_was_never_counted(counters: Counters, key: str) -> None:
    for _ in range(3):
        await counters.add(key, 60)
    assert (await counters.add(key, 60, -1)).number == 2
    assert (await counters.add(key, 60)).number == 3


async def test_taking_back_what_has_run_out_gives_nothing_away(
    counters: Counters, key: str
) -> None:
    assert (await counters.add(key, 60, -1)).number == 0


async def test_many_at_once_are_each_counted(counters: Counters, key: str) -> None:
    counts = await asyncio.gather(*(counters.add(key, 60) for _ in range(100)))
    assert sorted(count.number for count in counts) == list(range(1, 101))


async def test_a_window_ends(counters: Counters, key: str) -> None:
    """In Redis it is whole seconds, so this is the one test that waits for one."""
    await counters.add(key, 1)
    async with asyncio.timeout(10):
        while (await counters.add(key, 1)).number > 1:  # noqa: ASYNC110 (nobody tells)
            await asyncio.sleep(0.05)


async def test_two_nodes_share_a_count(redis: RedisServer, key: str) -> None:
    async with (
        SharedCounters.connected(redis.url) as one,
        SharedCounters.connected(redis.url) as other,
    ):
        assert (await one.add(key, 60)).number == 1
        assert (await other.add(key, 60)).number == 2


async def test_a_process_forgets_those_that_end_first_when_there_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_KEYS", 100)
    counters = LocalCounters()
    for number in range(1000):
        counters.count(f"made up {number}", 60)
    assert len(counters) <= 100
    counters.count("kept", 3600)
    for number in range(1000):
        counters.count(f"made up again {number}", 60)
    assert counters.count("kept", 3600).number == 2


@pytest.mark.parametrize("how", ["stop", "pause"])
async def test_a_redis_that_is_away_refuses_nobody_and_is_missed_once_in_the_log(
    how: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.1)
    redis = RedisServer()
    redis.start()
    try:
        async with SharedCounters.connected(redis.url) as counters:
            assert (await counters.add(key, 60)).number == 1
            with capture_logs() as logged:
                getattr(redis, how)()
                # From here on the process counts by itself.
                for number in (1, 2, 3):
                    assert (await counters.add(key, 60)).number == number
                if how == "stop":
                    redis.start()
                else:
                    redis.resume()
                async with asyncio.timeout(20):
                    while not any(entry["event"] == "limits.shared" for entry in logged):
                        await counters.add(key + "probe", 60)
                        await asyncio.sleep(0.01)
            lost = [entry for entry in logged if entry["event"] == "limits.local"]
            assert [entry["place"] for entry in lost] == [f"127.0.0.1:{redis.port}"]
            # One that was paused knows what was counted there before, and carries out what it
            # was asked meanwhile; a new one is empty.
            number = (await counters.add(key, 60)).number
            assert number == 1 if how == "stop" else number >= 2
    finally:
        redis.stop()
