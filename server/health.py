"""`GET /health` for people and monitors, `GET /ready` for whatever sends traffic here."""

import asyncio
import time
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Literal

import asyncpg
import msgspec
import psutil
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from protocol import rest
from protocol.records import Body, timestamp
from server.rest import route
from sync.interfaces import Broker

CHECK_SECONDS = 2.0
MEMORY_BYTES = 500 * 1024 * 1024


class Health:
    """How this server is, as far as it can tell itself."""

    def __init__(self, pool: asyncpg.Pool, broker: Broker) -> None:
        self._pool = pool
        self._broker = broker
        self._started = time.monotonic()
        self._process = psutil.Process()
        self._version = version("memory-app")

    def routes(self) -> list[BaseRoute]:
        """`GET /health` and `GET /ready`."""
        return [route(rest.HEALTH, self._health), route(rest.READY, self._ready)]

    async def _health(self, _: Request) -> Response:
        healthy = await self._database_error() is None
        memory = self._process.memory_info().rss
        report = rest.Health(
            status="healthy" if healthy else "unhealthy",
            timestamp=timestamp(datetime.now(UTC)),
            uptime=round(time.monotonic() - self._started, 3),
            version=self._version,
            checks=rest.Checks(
                database="healthy" if healthy else "unhealthy",
                redis=self._redis(),
                memory="healthy" if memory <= MEMORY_BYTES else "warning",
            ),
        )
        return _answer(report, 200 if healthy else 503)

    async def _ready(self, _: Request) -> Response:
        error = await self._database_error()
        if error is not None:
            return _answer(rest.Readiness(status="not ready", error=error), 503)
        # Without Redis the nodes find each other's edits in the database, only later.
        degraded = ["redis"] if self._redis() == "unhealthy" else []
        return _answer(rest.Readiness(status="ready", degraded=degraded), 200)

    def _redis(self) -> Literal["healthy", "unhealthy", "disabled"]:
        if not self._broker.shared:
            return "disabled"
        return "healthy" if self._broker.up else "unhealthy"

    async def _database_error(self) -> str | None:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await self._pool.fetchval("SELECT 1")
        except TimeoutError:
            return f"the database did not answer within {CHECK_SECONDS:g} s"
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            # The reason may name hosts and users, and anyone may ask.
            return "the database cannot be reached"
        return None


def _answer(body: Body, status: int) -> Response:
    return Response(
        msgspec.json.encode(body),
        status,
        headers={"Cache-Control": "no-store"},
        media_type="application/json",
    )
