"""The pool of connections, and the schema that the code expects."""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from importlib import resources
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import asyncpg
import msgspec
import structlog

log = structlog.get_logger(__name__)

Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy
T = TypeVar("T")

DEADLOCK_TRIES = 5
# One number that every process of this program agrees on: who holds it migrates.
_MIGRATION_LOCK = 0x6D656D6F
# The server asks a peer that is silent, and lets go of one that has vanished, with its locks, after
# 45 seconds instead of hours. A Unix socket knows none of this and needs it not.
KEEPALIVES = {
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
# How a statement that reads many small rows of one account is planned best, wherever the database
# runs: they are in memory or on a disk without a head to move, what is found of them is kept in
# memory too, and neither a second process nor a compiler pays within milliseconds.
_READING = """
SET LOCAL random_page_cost = 1.1; SET LOCAL work_mem = '16MB';
SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL jit = off
"""
_LONG_NUMBER = re.compile(rb"\d{19}")  # which may be past 64 bits
_MIGRATION_FILE = re.compile(r"\d{4}_\w+\.sql")


async def past_deadlocks(transaction: Callable[[], Awaitable[T]]) -> T:
    """What a transaction answers that can be made again. Who ends an account holds it first, and
    then what it is in: whoever holds something of that already and needs the account may be ended
    by PostgreSQL.

    Raises:
        asyncpg.DeadlockDetectedError: it was ended again and again.
    """
    for _ in range(DEADLOCK_TRIES - 1):
        try:
            return await transaction()
        except asyncpg.DeadlockDetectedError:
            continue
    return await transaction()


class DatabaseUnavailable(Exception):
    """The database cannot be reached or started; the message is one line for its operator."""


class SchemaError(Exception):
    """The database's schema and this code do not fit; the message is one line that says why."""


class Migration(NamedTuple):
    """One file of `storage/migrations`; `checksum` is the SHA-256 of its bytes."""

    name: str
    sql: str
    checksum: str


async def connect(
    url: str,
    *,
    min_size: int = 2,
    max_size: int = 10,
    command_timeout: float = 30.0,
    wait: float = 10.0,
) -> asyncpg.Pool:
    """A pool of connections that speak UTC and take and give `jsonb` as plain values.

    A connection goes back as it is: what a borrower sets in its session stays set.

    Args:
        url: as libpq has it, `postgresql://user:password@host:port/database`.
        min_size: connections that are kept open.
        max_size: connections at most.
        command_timeout: seconds a statement may take; the server ends it too.
        wait: seconds to wait for a database that is still starting.

    Raises:
        DatabaseUnavailable: the database refuses us, or did not answer in time.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait
    while True:
        try:
            return await asyncpg.create_pool(
                url,
                min_size=min_size,
                max_size=max_size,
                init=_prepare,
                reset=_leave_as_it_is,
                timeout=max(wait, 1.0),
                command_timeout=command_timeout,
                server_settings={
                    "application_name": "memo",
                    "timezone": "UTC",
                    # What we have given up on must not go on and hold its locks.
                    "statement_timeout": str(int(command_timeout * 1000)),
                    "idle_in_transaction_session_timeout": "60000",
                    **KEEPALIVES,
                },
            )
        except (OSError, TimeoutError, asyncpg.CannotConnectNowError) as error:
            if loop.time() >= deadline:
                raise DatabaseUnavailable(_unreachable(url, error)) from error
            await asyncio.sleep(0.1)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
            # A wrong password or database name does not get better by waiting.
            raise DatabaseUnavailable(_unreachable(url, error)) from error


@asynccontextmanager
async def reading(pool: asyncpg.Pool) -> AsyncIterator[Connection]:
    """A connection whose statements are planned for lists and search, and write nothing."""
    async with pool.acquire() as connection, connection.transaction(readonly=True):
        await connection.execute(_READING)
        yield connection


async def migrate(pool: asyncpg.Pool) -> list[str]:
    """Bring the schema up to date; returns the names of the migrations applied now.

    Each runs in a transaction of its own. Of several processes that start at once, one migrates
    and the others wait for it.

    Raises:
        SchemaError: the database is newer than this code, a migration has changed since it was
            applied, or one fails.
    """
    done = []
    async with pool.acquire() as connection:
        await connection.execute("SET statement_timeout = 0")
        await connection.execute("SELECT pg_advisory_lock($1)", _MIGRATION_LOCK, timeout=600)
        try:
            for migration in await _pending(connection):
                await _apply(connection, migration)
                log.info("schema.migrated", migration=migration.name)
                done.append(migration.name)
        finally:
            await connection.execute("SELECT pg_advisory_unlock($1)", _MIGRATION_LOCK)
            await connection.execute("RESET statement_timeout")
    return done


async def pending_migrations(pool: asyncpg.Pool) -> list[str]:
    """The names of what `migrate` would apply. Changes nothing.

    Raises:
        SchemaError: the database is newer than this code, or a migration has changed.
    """
    async with pool.acquire() as connection:
        return [migration.name for migration in await _pending(connection)]


def known_migrations() -> list[Migration]:
    """The files of `storage/migrations`, by number."""
    migrations = []
    for file in resources.files("storage").joinpath("migrations").iterdir():
        if _MIGRATION_FILE.fullmatch(file.name):
            content = file.read_bytes()
            name = file.name.removesuffix(".sql")
            digest = hashlib.sha256(content).hexdigest()
            migrations.append(Migration(name, content.decode(), digest))
    return sorted(migrations)


def fitting(known: list[Migration], applied: Mapping[str, str]) -> list[Migration]:
    """Those of `known` that are not `applied` (names to checksums) yet.

    Raises:
        SchemaError: what is applied is not what this code knows.
    """
    names = {migration.name for migration in known}
    for name in sorted(applied.keys() - names):
        raise SchemaError(
            f"the database has the migration {name}, which this version does not know: "
            "run the version that made it, or a newer one"
        )
    for migration in known:
        if applied.get(migration.name, migration.checksum) != migration.checksum:
            raise SchemaError(
                f"the migration {migration.name} has changed since it was applied: "
                "restore the file, and put the change into a new migration"
            )
    return [migration for migration in known if migration.name not in applied]


async def _pending(connection: Connection) -> list[Migration]:
    applied: dict[str, str] = {}
    if await connection.fetchval("SELECT to_regclass('schema_migrations')") is not None:
        rows = await connection.fetch("SELECT name, checksum FROM schema_migrations")
        applied = {row["name"]: row["checksum"] for row in rows}
    return fitting(known_migrations(), applied)


async def _apply(connection: Connection, migration: Migration) -> None:
    try:
        async with connection.transaction():
            await connection.execute(
                "CREATE TABLE IF NOT EXISTS schema_migrations ("
                "name text PRIMARY KEY, checksum text NOT NULL, "
                "applied_at timestamptz NOT NULL DEFAULT now())"
            )
            await connection.execute(migration.sql, timeout=3600)
            await connection.execute(
                "INSERT INTO schema_migrations (name, checksum) VALUES ($1, $2)",
                migration.name,
                migration.checksum,
            )
    except asyncpg.PostgresError as error:
        raise SchemaError(f"the migration {migration.name} failed: {error}") from error


async def _prepare(connection: Connection) -> None:
    # msgspec rather than json: it knows UUIDs and times, and is several times as fast.
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        encoder=lambda value: b"\x01" + msgspec.json.encode(value),
        decoder=_read_json,
        format="binary",
    )


def _read_json(data: bytes) -> Any:
    """The value of a `jsonb`.

    PostgreSQL writes 1e30 out in digits. What fits no 64-bit integer becomes a float again: an
    integer of that size could not be sent to anyone.
    """
    value = msgspec.json.decode(data[1:])
    return _without_huge_integers(value) if _LONG_NUMBER.search(data) else value


def _without_huge_integers(value: Any) -> Any:
    match value:
        case int():
            return value if -(1 << 63) <= value < 1 << 64 else float(value)
        case dict():
            return {key: _without_huge_integers(item) for key, item in value.items()}
        case list():
            return [_without_huge_integers(item) for item in value]
        case _:
            return value


async def _leave_as_it_is(_: Connection) -> None:
    """Save the round trip of `RESET ALL`: nobody here leaves anything in a session.

    asyncpg ends an open transaction all the same.
    """


def _unreachable(url: str, error: Exception) -> str:
    # The address may hold a password: name only where it leads.
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
        place = f"{parts.hostname or 'the local socket'}{port}{parts.path}"
    except ValueError:
        place = "the given address"
    if isinstance(error, ConnectionRefusedError):
        reason = "nothing listens there; start it, or correct DATABASE_URL"
    else:
        reason = str(error) or ("no answer" if isinstance(error, TimeoutError) else repr(error))
    return f"the database at {place} cannot be reached: {reason.splitlines()[0]}"
