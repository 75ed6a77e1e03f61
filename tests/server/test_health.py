"""`/health` and `/ready`, with a database that is there, gone, and silent."""

from collections.abc import AsyncIterator

import asyncpg
import httpx
import msgspec
import pytest
from starlette.applications import Starlette

from protocol import rest
from server.health import Health
from storage.postgres import connect


@pytest.fixture
async def narrow_pool(database: str) -> AsyncIterator[asyncpg.Pool]:
    """A pool of one connection, which a test can take away."""
    pool = await connect(database, min_size=1, max_size=1)
    yield pool
    pool.terminate()


@pytest.fixture
async def client(narrow_pool: asyncpg.Pool) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(Starlette(routes=Health(narrow_pool).routes()))
    async with httpx.AsyncClient(transport=transport, base_url="http://memo") as client:
        yield client


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
