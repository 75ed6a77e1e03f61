"""A node's claim on its database: one that hears of no others has to be the only one.

Held as an advisory lock, exclusive or shared, on a connection of its own: it goes with the node,
however that ends. What the database has to tell its nodes comes over the same connection.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import asyncpg
import structlog

from storage.postgres import KEEPALIVES, DatabaseUnavailable

log = structlog.get_logger(__name__)

WAIT_SECONDS = 5.0  # for the claim of a node that was killed to go
CONNECT_SECONDS = 10.0
RETRY_SECONDS = 1.0  # between tries to claim again, after the connection was lost

# Numbers that no other advisory lock of this database uses.
_LOCK = 0x6D656D6F6E6F6465
_CHANNEL = "memo_accounts"  # of the triggers in migration 0009


class Claimed(DatabaseUnavailable):
    """Another node has the database, and the two would not hear of each other."""


class Claim:
    """Use as `async with Claim.held(url, shared=...)`."""

    def __init__(self, url: str, *, shared: bool) -> None:
        self._url = url
        self._shared = shared
        self._lost = asyncio.Event()
        self._connection: asyncpg.Connection | None = None
        self._hear: Callable[[str | None], None] | None = None

    @classmethod
    @asynccontextmanager
    async def held(cls, url: str, *, shared: bool) -> AsyncIterator["Claim"]:
        """Claim the database until the end; `shared` with other nodes that share it too.

        A claim that is lost with its connection is made again as soon as the database is back.

        Raises:
            Claimed: another node is there, and one of the two does not share.
            DatabaseUnavailable: the database cannot be reached.
        """
        claim = cls(url, shared=shared)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + WAIT_SECONDS
        try:
            while not await claim._make():
                if loop.time() > deadline:
                    raise Claimed(_MESSAGES[shared])
                await asyncio.sleep(0.1)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise DatabaseUnavailable(f"the database could not be claimed: {error}") from error
        keeping = asyncio.create_task(claim._keep())
        try:
            yield claim
        finally:
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await keeping
            await claim._drop()

    async def follow(self, hear: Callable[[str | None], None]) -> None:
        """Have `hear` called with each notice about accounts, `session ID` or `account ID`, and
        with None where some may have been missed."""
        self._hear = hear
        if self._connection is not None:
            # Should it be lost just now, the next one listens.
            with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await self._listen(self._connection)

    async def _listen(self, connection: asyncpg.Connection) -> None:
        if self._hear is not None:
            await connection.add_listener(_CHANNEL, self._notified)
            self._hear(None)

    def _notified(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        if self._hear is not None:
            self._hear(str(payload))

    async def _make(self) -> bool:
        """Whether the database is this node's now."""
        await self._drop()
        self._lost.clear()
        self._connection = connection = await asyncpg.connect(
            self._url,
            timeout=CONNECT_SECONDS,
            command_timeout=CONNECT_SECONDS,
            server_settings={"application_name": "memo node", **KEEPALIVES},
        )
        name = "pg_try_advisory_lock_shared" if self._shared else "pg_try_advisory_lock"
        made: bool = await connection.fetchval(f"SELECT {name}($1)", _LOCK)
        if made:
            connection.add_termination_listener(lambda _: self._lost.set())
            await self._listen(connection)
        else:
            await self._drop()
        return made

    async def _keep(self) -> None:
        warned = False
        while True:
            await self._lost.wait()
            try:
                if await self._make():
                    warned = False
                    continue
                if not warned:
                    log.error("node.claimed", detail=_MESSAGES[self._shared])
                    warned = True
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.debug("node.unclaimed", error=str(error))
            self._lost.set()
            await asyncio.sleep(RETRY_SECONDS)

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and not connection.is_closed():
            with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await connection.close(timeout=CONNECT_SECONDS)


_MESSAGES = {
    False: (
        "another server runs on this database: set REDIS_URL for both, so that they hear of "
        "each other, or stop one"
    ),
    True: (
        "a server without REDIS_URL runs on this database: set the same REDIS_URL there, so that "
        "the nodes hear of each other, or stop it"
    ),
}
