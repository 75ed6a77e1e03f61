"""The database that the settings name, opened for as long as it is needed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import asyncpg

from server.config import Settings
from storage.embedded import DataDirectoryInUse, EmbeddedPostgres, running_url
from storage.postgres import connect


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
async def pooled(url: str, *, size: int = 10, wait: float = 10.0) -> AsyncIterator[asyncpg.Pool]:
    """A pool of at most `size` connections. A database that is still starting is waited for,
    `wait` seconds.

    Raises:
        DatabaseUnavailable: the database cannot be reached.
    """
    pool = await connect(url, min_size=min(size, 2), max_size=size, wait=wait)
    try:
        yield pool
    finally:
        try:
            await asyncio.wait_for(pool.close(), 10)
        except TimeoutError:
            pool.terminate()


@asynccontextmanager
async def address(settings: Settings, *, beside_server: bool = False) -> AsyncIterator[str]:
    """DATABASE_URL, or the address of the embedded PostgreSQL, which runs until the end.

    Raises:
        DataDirectoryInUse: another server runs on the same DATA_DIR, and not `beside_server`.
        DatabaseUnavailable: the embedded database cannot be started.
    """
    if settings.database_url is not None:
        yield settings.database_url
        return
    embedded = EmbeddedPostgres(settings.data_directory)
    try:
        try:
            await _to_the_end(embedded.start)
            url = embedded.url
        except DataDirectoryInUse:
            if not beside_server:
                raise
            url = running_url(settings.data_directory)
        yield url
    finally:
        await _to_the_end(embedded.stop)


async def _to_the_end(call: Callable[[], None]) -> None:
    """Run `call` in a thread. Who is cancelled meanwhile still waits: a thread cannot be."""
    running = asyncio.create_task(asyncio.to_thread(call))
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise
