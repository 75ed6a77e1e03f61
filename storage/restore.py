"""Reading a backup into a database: all of it or nothing, as a system of its own from then on.

Devices may be ahead of what comes back. Every document gets a new epoch, and the feed too, so that
they start over instead of trusting positions of another log, and bring what the backup lacks.
"""

from collections.abc import AsyncIterator, Mapping, Sequence

import asyncpg

from storage import catalog
from storage.archive import Archive, BackupError, Progress, Table
from storage.backup import LEFT_OUT, LIMIT_SECONDS, PATIENT, answering, copied
from storage.postgres import Connection, Migration, SchemaError, fitting, known_migrations, migrate

_LEDGER = "schema_migrations"
_NOTE = f"INSERT INTO {_LEDGER} (name, checksum) VALUES ($1, $2)"
_OTHERS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""
_SET_SEQUENCE = """
SELECT setval(to_regclass(quote_ident($1)), $2) WHERE to_regclass(quote_ident($1)) IS NOT NULL
"""
# The process that wrote under these ids is gone. Unclaimed, what it wrote after the backup comes
# back with a device that has it.
_UNCLAIM = "DELETE FROM document_clients WHERE account_id IS NULL"
# A session that was ended since must not come back to life, nor a refresh token be unspent.
_END_SESSIONS = """
UPDATE sessions SET ended_at = now(), ended_reason = 'backup restored' WHERE ended_at IS NULL
"""
# One that was retired since, as it had leaked, must not verify again. The next start makes one.
_FORGET_KEYS = "DELETE FROM signing_keys"
# What was sent since must not be sent again, nor a link that was used since work again.
_FORGET_MAIL = """
DELETE FROM outgoing_mail WHERE failed_at IS NULL;
DELETE FROM email_tokens;
DELETE FROM oauth_attempts;
"""


async def restore(
    pool: asyncpg.Pool,
    archive: Archive,
    progress: Progress,
    *,
    replace: bool = False,
    keep_sessions: bool = False,
    migrations: Sequence[Migration] | None = None,
) -> list[str]:
    """Make the database what `archive` holds, brought to the schema of this version. Returns
    the names of tables that it holds beside this server's, which are not restored.

    With `replace` it may hold accounts, which go. `migrations` are this version's own. Check
    the archive before: what is found wrong with it here has cost the time of loading, though
    nothing else.

    Raises:
        BackupError: the backup is damaged or of a newer schema; or the database is in use, not
            empty, or not this server's alone. Its content is as it was.
        SchemaError: the database is newer than this version, or a migration fails.
        DatabaseUnavailable: the database failed. Its content is as it was.
    """
    known = list(known_migrations() if migrations is None else migrations)
    later = missing_migrations(archive, known)
    earlier = [migration for migration in known if migration not in later]
    with answering():
        async with pool.acquire() as connection:
            names = {table.name for table in await catalog.tables(connection)}
        if names and _LEDGER not in names:
            raise BackupError(
                f"the database holds other things (the table {min(names)}); "
                "restore into one of the server's own"
            )
        await migrate(pool)
        async with pool.acquire() as connection:
            async with connection.transaction():
                await _take_hold(connection, replace=replace)
                before = await catalog.things(connection)
                await _clear(connection, before)
                for migration in earlier:
                    await _run(connection, migration)
                strange = await _load(connection, archive, progress)
                for migration in later:
                    await _run(connection, migration)
                    await connection.execute(_NOTE, migration.name, migration.checksum)
                await _refuse_loss(connection, before)
                await connection.execute(_UNCLAIM)
                if not keep_sessions:
                    await connection.execute(_END_SESSIONS)
                    await connection.execute(_FORGET_KEYS)
                    await connection.execute(_FORGET_MAIL)
            await connection.execute("ANALYZE", timeout=LIMIT_SECONDS)
    return strange


def missing_migrations(
    archive: Archive, known: Sequence[Migration] | None = None
) -> list[Migration]:
    """What this version's schema has beyond the backup's.

    Raises:
        BackupError: the backup's schema is newer, or another one.
    """
    try:
        return fitting(
            list(known_migrations() if known is None else known), archive.manifest.migrations
        )
    except SchemaError as error:
        raise BackupError(f"{archive.path} does not fit this version: {error}") from None


async def _take_hold(connection: Connection, *, replace: bool) -> None:
    """Let nobody in from here to the end of the transaction, and nobody's data be lost."""
    await connection.execute(PATIENT)
    # A server that starts now waits here. One that had started before is seen below.
    await connection.execute(f"LOCK TABLE {_LEDGER} IN ACCESS EXCLUSIVE MODE", timeout=300)
    others = await connection.fetchval(_OTHERS)
    if others:
        raise BackupError(
            f"the database is in use by {others} other sessions; stop the server and whatever "
            "else is connected"
        )
    accounts = await connection.fetchval("SELECT count(*) FROM users")
    if accounts and not replace:
        raise BackupError(
            f"the database is not empty, it has {accounts} accounts; restore into an empty one, "
            "or lose what it holds with --replace"
        )


async def _clear(connection: Connection, things: Sequence[catalog.Thing]) -> None:
    """Drop everything but the table that says which migrations were applied."""
    for kind, name in things:
        if name != _LEDGER:
            await connection.execute(f"DROP {kind} IF EXISTS {name} CASCADE", timeout=600)


async def _load(connection: Connection, archive: Archive, progress: Progress) -> list[str]:
    made = {table.name: table.columns for table in await catalog.tables(connection)}
    _expect_tables(archive, made)
    # The migrations have put rows of their own where the backup has its rows.
    await connection.execute(f"TRUNCATE {', '.join(map(catalog.quoted, made))}")
    # What triggers would make of the rows is in the backup too.
    for name in made:
        await connection.execute(f"ALTER TABLE {catalog.quoted(name)} DISABLE TRIGGER USER")
    strange = []
    for table in archive.manifest.tables:
        if table.name not in made:
            strange.append(table.name)
            continue
        try:
            status = await connection.copy_to_table(
                table.name,
                columns=table.columns,
                source=_source(archive, table, progress),
                format="binary",
                timeout=LIMIT_SECONDS,
            )
        except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
            raise _unloadable(archive, f"{table.name}: {error}") from error
        if copied(status) != table.rows:
            raise _unloadable(archive, f"{table.name} has {copied(status)} rows")
    try:
        # What is checked at the end is checked now: no table is altered that waits for that.
        await connection.execute("SET CONSTRAINTS ALL IMMEDIATE", timeout=LIMIT_SECONDS)
    except asyncpg.IntegrityConstraintViolationError as error:
        raise _unloadable(archive, str(error)) from error
    for name in made:
        await connection.execute(f"ALTER TABLE {catalog.quoted(name)} ENABLE TRIGGER USER")
    for name, value in archive.manifest.sequences.items():
        await connection.execute(_SET_SEQUENCE, name, value)
    return strange


def _expect_tables(archive: Archive, made: Mapping[str, Sequence[str]]) -> None:
    """The backup has to hold what its migrations make."""
    kept = {table.name: set(table.columns) for table in archive.manifest.tables}
    for name, columns in made.items():
        if kept.get(name) != set(columns) - LEFT_OUT:
            raise _unloadable(archive, f"it lacks the table {name} as its migrations make it")


async def _source(archive: Archive, table: Table, progress: Progress) -> AsyncIterator[bytes]:
    for chunk in archive.chunks(table):
        progress(table.name, len(chunk))
        yield chunk


async def _run(connection: Connection, migration: Migration) -> None:
    try:
        await connection.execute(migration.sql, timeout=LIMIT_SECONDS)
    except asyncpg.PostgresError as error:
        raise SchemaError(f"the migration {migration.name} failed: {error}") from error


async def _refuse_loss(connection: Connection, before: Sequence[catalog.Thing]) -> None:
    """What was dropped and not made anew was somebody else's."""
    lost = set(before) - set(await catalog.things(connection))
    if lost:
        kind, name = min(lost)
        raise BackupError(
            f"the database also holds what is not this server's (the {kind.lower()} {name}); "
            "restore into one of the server's own"
        )


def _unloadable(archive: Archive, reason: str) -> BackupError:
    return BackupError(f"{archive.path} cannot be loaded: {' '.join(reason.split())}")
