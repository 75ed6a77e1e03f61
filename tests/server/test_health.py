"""`/health` and `/ready`, with a database that is there, gone, and silent."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import httpx
import msgspec
import pytest
from starlette.applications import Starlette

from protocol import rest
from server.health import Health
from storage.postgres import connect
from storage.redis import RedisBroker
from sync.broker import LocalBroker
from tests.redisserver import RedisServer


@pytest.fixture
async def narrow_pool(database: str) -> AsyncIterator[asyncpg.Pool]:
    """A pool of one connection, which a test can take away."""
    pool = await connect(database, min_size=1, max_size=1)
    yield pool
    pool.terminate()


@pytest.fixture
async def client(narrow_pool: asyncpg.Pool) -> AsyncIterator[httpx.AsyncClient]:
    async with asking(Health(narrow_pool, LocalBroker())) as client:
        yield client


def asking(health: Health) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(Starlette(routes=health.routes()))
    return httpx.AsyncClient(transport=transport, base_url="http://memo")


async def test_all_is_well(client: httpx.AsyncClient) -> None:
    response = await client.get("/health")
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    health = msgspec.json.decode(response.content, type=rest.Health)
    assert health.status == "healthy"
    assert (health.checks.database, health.checks.redis) == ("healthy", "disabled")
    assert health.uptime >= 0
    ready = await client.get("/ready")
    assert (ready.status_code, ready.json()) == (200, {"status": "ready"})


async def test_without_its_database_the_server_is_neither_healthy_nor_ready(
    client: httpx.AsyncClient, narrow_pool: asyncpg.Pool, postgres: str
) -> None:
    name = await narrow_pool.fetchval("SELECT current_database()")
    elsewhere = await asyncpg.connect(postgres)
    await elsewhere.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await elsewhere.execute(f"CREATE DATABASE {name}")  # for the fixture to drop
    await elsewhere.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    await elsewhere.close()
    response = await client.get("/health")
    assert response.status_code == 503
    assert response.json()["status"] == "unhealthy"
    assert response.json()["checks"]["database"] == "unhealthy"
    ready = await client.get("/ready")
    assert ready.status_code == 503
    assert ready.json() == {"status": "not ready", "error": "the database cannot be reached"}


async def test_a_database_that_does_not_answer_is_not_waited_for(
    client: httpx.AsyncClient, narrow_pool: asyncpg.Pool
) -> None:
    async with narrow_pool.acquire():
        ready = await client.get("/ready")
    assert ready.status_code == 503
    assert ready.json()["error"] == "the database did not answer within 2 s"


async def test_a_redis_that_is_down_is_named_and_keeps_nobody_away(pool: asyncpg.Pool) -> None:
    redis = RedisServer()
    redis.start()
    try:
        async with (
            RedisBroker.connected(redis.url) as broker,
            asking(Health(pool, broker)) as client,
        ):
            missed = asyncio.Event()
            broker.on_missed(missed.set)
            assert (await client.get("/health")).json()["checks"]["redis"] == "healthy"
            assert (await client.get("/ready")).json() == {"status": "ready"}

            redis.kill()
            async with asyncio.timeout(20):
                while broker.up:  # noqa: ASYNC110 (it tells nobody when it goes down)
                    await asyncio.sleep(0.01)
            health, ready = await client.get("/health"), await client.get("/ready")
            assert (health.status_code, ready.status_code) == (200, 200)
            assert health.json()["checks"]["redis"] == "unhealthy"
            assert ready.json() == {"status": "ready", "degraded": ["redis"]}

            missed.clear()
            redis.start()
            await asyncio.wait_for(missed.wait(), 20)
            assert (await client.get("/ready")).json() == {"status": "ready"}
    finally:
        redis.stop()
