"""Writing a backup: every table as it stands at one moment, beside a server that goes on."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import cast

import asyncpg

from storage import archive, catalog
from storage.archive import ArchiveWriter, BackupError, Manifest, Progress
from storage.postgres import Connection, DatabaseUnavailable

LIMIT_SECONDS = 24 * 3600.0  # for the copy of one table

# A long work waits for locks only.
PATIENT = """
SET LOCAL statement_timeout = 0;
SET LOCAL idle_in_transaction_session_timeout = 0;
SET LOCAL lock_timeout = '60s'
"""

# What is only true of the database as it runs now, and has a default that makes it anew: a
# restored log is another one than the one that devices followed, and a transaction's number
# means nothing elsewhere. Where the bytes of files are is the new place's affair.
LEFT_OUT = frozenset(
    {"blob_store", "changed_xid", "epoch", "feed_epoch", "joined_xid", "tombstone_horizon"}
)

_MOMENT = """
SELECT now() AS made_at, pg_current_snapshot()::text AS snapshot,
    current_setting('server_version') AS postgres
"""
_SEQUENCES = """
SELECT sequencename, last_value FROM pg_sequences
WHERE schemaname = current_schema() AND last_value IS NOT NULL ORDER BY sequencename
"""


async def back_up(connection: Connection, writer: ArchiveWriter, progress: Progress) -> Manifest:
    """Write everything to `writer`, all of it as of one moment.

    It blocks nobody but migrations, which wait for its end.

    Raises:
        BackupError: the database is not this server's, its schema is being changed, or the
            archive cannot be written.
        DatabaseUnavailable: the database failed.
    """
    with answering():
        tables = await catalog.tables(connection)
        if not any(table.name == "schema_migrations" for table in tables):
            raise BackupError("the database holds nothing of this server; there is nothing to keep")
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            await connection.execute(PATIENT)
            # Before the first query, which sets the moment: a table that is locked is as the
            # catalog of that moment has it, until the end.
            names = ", ".join(catalog.quoted(table.name) for table in tables)
            await connection.execute(f"LOCK TABLE {names} IN ACCESS SHARE MODE", timeout=300)
            moment = await connection.fetchrow(_MOMENT)
            assert moment is not None
            if await catalog.tables(connection) != tables:
                raise BackupError("the database's schema is being changed; try again")
            migrations = await connection.fetch("SELECT name, checksum FROM schema_migrations")
            written = [await _copy(connection, writer, table, progress) for table in tables]
            # Sequences are of no moment: read last, they are past everything that was read.
            sequences = await connection.fetch(_SEQUENCES)
    manifest = Manifest(
        format=archive.FORMAT,
        made_at=cast(datetime, moment["made_at"]),
        snapshot=moment["snapshot"],
        postgres=moment["postgres"],
        migrations={row["name"]: row["checksum"] for row in migrations},
        tables=written,
        sequences={row["sequencename"]: row["last_value"] for row in sequences},
    )
    writer.finish(manifest)
    return manifest


async def _copy(
    connection: Connection, writer: ArchiveWriter, table: catalog.Table, progress: Progress
) -> archive.Table:
    columns = [column for column in table.columns if column not in LEFT_OUT]
    with writer.table(table.name) as file:

        async def take(data: bytes) -> None:
            file.write(data)
            progress(table.name, len(data))

        # By a query: a table that is split into partitions cannot be copied by its name.
        names = ", ".join(map(catalog.quoted, columns))
        status = await connection.copy_from_query(
            f"SELECT {names} FROM {catalog.quoted(table.name)}",
            output=take,
            format="binary",
            timeout=LIMIT_SECONDS,
        )
    return archive.Table(table.name, columns, copied(status), file.size, file.sha256)


def copied(status: str) -> int:
    """The number of rows in the status of a COPY."""
    return int(status.removeprefix("COPY "))


@contextmanager
def answering() -> Iterator[None]:
    """What the database does not do, within, is one line.

    Raises:
        DatabaseUnavailable: with the database's own words.
    """
    try:
        yield
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        reason = (str(error) or repr(error)).splitlines()[0]
        raise DatabaseUnavailable(f"the database did not go on: {reason}") from error
