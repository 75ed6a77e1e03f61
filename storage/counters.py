"""Counters that run out: how often something was done since a window of time began."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple
from uuid import UUID

import structlog
from limits.aio.storage import RedisStorage
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from storage.redis import place

log = structlog.get_logger(__name__)

MAX_KEYS = 100_000  # that one process counts for; beyond, those that run out first are forgotten
ANSWER_SECONDS = 0.5  # for Redis to answer, before it is counted here
RETRY_SECONDS = 1.0  # between two tries at a Redis that does not answer
CONNECTIONS = 8
_PREFIX = "memo:limits"


class Count(NamedTuple):
    """How often, and in how many seconds the counting begins anew."""

    number: int
    seconds_left: float


class LocalCounters:
    """Counters of this process. A key's window begins when it is first counted for."""

    def __init__(self) -> None:
        self._windows: dict[str | UUID, tuple[int, float]] = {}

    def __len__(self) -> int:
        return len(self._windows)

    def count(self, key: str | UUID, seconds: int, amount: int = 1) -> Count:
        """Count `amount` more, in a window of so many seconds. It may be negative, to take back
        what was counted."""
        now = time.monotonic()
        number, ends = self._windows.get(key) or (0, 0.0)
        if ends <= now:
            number, ends = 0, now + seconds
            if len(self._windows) >= MAX_KEYS:
                self._sweep(now)
        number = max(0, number + amount)
        self._windows[key] = number, ends
        # now + seconds - now may be a hair more than seconds.
        return Count(number, min(ends - now, seconds))

    async def add(self, key: str, seconds: int, amount: int = 1) -> Count:
        """`count`, for who has to wait for it elsewhere."""
        return self.count(key, seconds, amount)

    def _sweep(self, now: float) -> None:
        self._windows = {key: each for key, each in self._windows.items() if each[1] > now}
        if len(self._windows) >= MAX_KEYS:
            # So many at once are made up. A tenth goes, so that not every call sorts them.
            by_end = sorted(self._windows, key=lambda key: self._windows[key][1])
            for key in by_end[: MAX_KEYS // 10]:
                del self._windows[key]


class SharedCounters:
    """Counters of all nodes together, in Redis. While it does not answer, each node counts for
    itself. Use as `async with SharedCounters.connected(url) as counters`."""

    def __init__(self, url: str) -> None:
        # As in storage/redis.py, retries and time limits are ours.
        self._pool = ConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            driver_info=None,
            socket_timeout=None,
            socket_connect_timeout=None,
        )
        self._redis = RedisStorage(
            "async+redis://",
            implementation="redispy",
            connection_pool=self._pool,  # type: ignore[arg-type]  # it is passed on as it is
            key_prefix=_PREFIX,
        )
        self._place = place(url)
        self._turns = asyncio.Semaphore(CONNECTIONS)
        self._local = LocalCounters()
        self._away = False
        self._retry_at = 0.0

    @classmethod
    @asynccontextmanager
    async def connected(cls, url: str) -> AsyncIterator["SharedCounters"]:
        """Counters in the Redis at `url`, which may come and go."""
        counters = cls(url)
        try:
            yield counters
        finally:
            await counters._pool.disconnect()

    async def add(self, key: str, seconds: int, amount: int = 1) -> Count:
        """Count `amount` more, in a window of so many seconds. It may be negative, to take back
        what was counted. Never refuses: at worst it is this node's own count."""
        now = time.monotonic()
        if not self._away or now >= self._retry_at:
            self._retry_at = now + RETRY_SECONDS  # while it is away, one try at a time
            try:
                async with asyncio.timeout(ANSWER_SECONDS), self._turns:
                    number = await self._redis.incr(key, seconds, amount=amount)
                    ends = await self._redis.get_expiry(key)
            except (RedisError, OSError, TimeoutError, EOFError) as error:
                self._lost(error)
            else:
                self._found()
                return Count(max(0, number), min(max(0.0, ends - time.time()), seconds))
        return self._local.count(key, seconds, amount)

    def _lost(self, error: Exception) -> None:
        if not self._away:
            self._away = True
            log.warning("limits.local", place=self._place, error=str(error) or repr(error))

    def _found(self) -> None:
        if self._away:
            self._away = False
            log.info("limits.shared", place=self._place)
