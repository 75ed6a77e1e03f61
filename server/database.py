"""The database that the settings name, opened for as long as it is needed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import asyncpg
import structlog

from server.config import Settings
from storage.embedded import DataDirectoryInUse, EmbeddedPostgres, running_url
from storage.postgres import DatabaseUnavailable, connect

NODE_CONNECTIONS = 16  # a node's pools, and one that holds its lock
SPARE_CONNECTIONS = 18  # for commands run beside the server, and room to look

LOOK_SECONDS = 0.2  # between two looks whether the embedded PostgreSQL still runs
FIRST_PAUSE, LAST_PAUSE = 0.1, 10.0  # seconds before it is started again
STEADY_SECONDS = 60.0  # after which its end is not taken for one more of a row

log = structlog.get_logger(__name__)


@asynccontextmanager
async def opened(
    settings: Settings, *, beside_server: bool = False, wait: float = 10.0
) -> AsyncIterator[asyncpg.Pool]:
    """A pool on DATABASE_URL, or on the embedded PostgreSQL, which is started and stopped here.

    With `beside_server`, a server that runs on the same DATA_DIR shares its database. A database
    that is still starting is waited for, `wait` seconds. The schema is as it is found.

    Raises:
        DataDirectoryInUse: another server runs on the same DATA_DIR.
        DatabaseUnavailable: the database cannot be started or reached.
    """
    async with (
        address(settings, beside_server=beside_server) as url,
        pooled(url, wait=wait) as pool,
    ):
        yield pool


@asynccontextmanager
async def pooled(
    url: str, *, size: int = 10, kept: int = 2, wait: float = 10.0
) -> AsyncIterator[asyncpg.Pool]:
    """A pool of at most `size` connections, `kept` of which are open from now on. A database that
    is still starting is waited for, `wait` seconds.

    Raises:
        DatabaseUnavailable: the database cannot be reached.
    """
    pool = await connect(url, min_size=min(size, kept), max_size=size, wait=wait)
    try:
        yield pool
    finally:
        try:
            await asyncio.wait_for(pool.close(), 10)
        except TimeoutError:
            pool.terminate()


@asynccontextmanager
async def address(settings: Settings, *, beside_server: bool = False) -> AsyncIterator[str]:
    """DATABASE_URL, or the address of the embedded PostgreSQL, which runs until the end: should
    it end by itself, it is started again.

    Raises:
        DataDirectoryInUse: another server runs on the same DATA_DIR, and not `beside_server`.
        DatabaseUnavailable: the embedded database cannot be started.
    """
    if settings.database_url is not None:
        yield settings.database_url
        return
    connections = NODE_CONNECTIONS * (settings.workers + 1) + SPARE_CONNECTIONS
    embedded = EmbeddedPostgres(
        settings.data_directory, settings={"max_connections": str(connections)}
    )
    try:
        try:
            await _to_the_end(embedded.start)
            url = embedded.url
        except DataDirectoryInUse:
            if not beside_server:
                raise
            url = running_url(settings.data_directory)
        keeping = asyncio.create_task(_keep(embedded))
        try:
            yield url
        finally:
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await keeping
    finally:
        await _to_the_end(embedded.stop)


async def _keep(embedded: EmbeddedPostgres) -> None:
    """Start the embedded PostgreSQL whenever it has ended by itself, for ever.

    What ended it (memory ran out, most likely, or the disk is full) may last: each start that is
    of no use is followed by a longer pause.
    """
    loop = asyncio.get_running_loop()
    started_at, pause = loop.time(), FIRST_PAUSE
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        if not embedded.ended:
            continue
        if loop.time() - started_at > STEADY_SECONDS:
            pause = FIRST_PAUSE
        log.error("the embedded database ended, and is started again", pause=pause)
        await asyncio.sleep(pause)
        pause = min(2 * pause, LAST_PAUSE)
        started_at = loop.time()
        try:
            await _to_the_end(embedded.restart)
        except DatabaseUnavailable as error:
            log.error("the embedded database could not be started", reason=str(error))  # noqa: TRY400 (one line)
        except Exception:
            # Whatever it is: without the next try there would be no database any more.
            log.exception("the embedded database could not be started")
        else:
            log.info("the embedded database runs again")


async def _to_the_end(call: Callable[[], None]) -> None:
    """Run `call` in a thread. Who is cancelled meanwhile still waits: a thread cannot be."""
    running = asyncio.create_task(asyncio.to_thread(call))
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise
