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
    async with _address(settings, beside_server) as url:
        pool = await connect(url, wait=wait)
        try:
            yield pool
        finally:
            try:
                await asyncio.wait_for(pool.close(), 10)
            except TimeoutError:
                pool.terminate()


@asynccontextmanager
async def _address(settings: Settings, beside_server: bool) -> AsyncIterator[str]:
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
