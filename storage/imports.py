"""Imports as rows, and what an archive brings that no operation makes: when things were written,
and past versions."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple
from uuid import UUID, uuid4

import asyncpg

from protocol.errors import ErrorCode, MemoError, id_taken
from protocol.imports import ImportStatus
from protocol.versions import Folded, MadeKind
from storage.files import queue_up

MAX_KEPT = 10  # of one account
MAX_ATTEMPTS = 3
LEASE_SECONDS = 60.0

_COLUMNS = "id, file_id, status, tally, error, created_at, finished_at"

Holder = Literal["own", "other", "deleted"]

_HOLDER = """
SELECT coalesce(
    (SELECT CASE WHEN m.user_id <> $2 THEN 'other' WHEN d.deleted_at IS NULL THEN 'own'
        ELSE 'deleted' END
     FROM memories m JOIN documents d ON d.id = m.id WHERE m.id = $1),
    (SELECT 'deleted' FROM tombstones
     WHERE user_id = $2 AND kind = 'memory' AND record_id = $1))
"""
_DATE = """
WITH dated AS (
    UPDATE memories SET created_at = least($2, now()), updated_at = least($3, now())
    WHERE id = $1 RETURNING id, created_at
), listed AS (
    UPDATE listings l SET created_at = d.created_at FROM dated d WHERE l.memory_id = d.id
)
UPDATE search_texts t SET created_at = d.created_at FROM dated d WHERE t.memory_id = d.id
"""
# Files whose id is some account's, now or on its way, or was the account's.
_TAKEN = """
SELECT id FROM files WHERE id = ANY ($2)
UNION SELECT id FROM uploads WHERE id = ANY ($2) AND user_id <> $1
UNION SELECT record_id FROM tombstones WHERE user_id = $1 AND kind = 'file' AND record_id = ANY ($2)
"""
_SIGN = """
UPDATE messages SET user_id = $2
WHERE memory_id = $1 AND id = ANY ($3) AND user_id IS NULL
"""


class ImportRow(NamedTuple):
    """An archive that is brought back."""

    id: UUID
    file_id: UUID
    status: ImportStatus
    tally: dict[str, Any]
    error: str | None
    created_at: datetime
    finished_at: datetime | None


class ClaimedImport(NamedTuple):
    """An archive to be brought back now. `attempt` names the caller's hold on it; past
    `MAX_ATTEMPTS` nobody who held it came to an end, not even to say so: it is given up."""

    id: UUID
    account_id: UUID
    file_id: UUID
    attempt: int
    created_at: datetime


class PastVersion(NamedTuple):
    """A version of an imported memory. They stand before the log, the oldest furthest: `offset` is
    below 1."""

    id: UUID
    offset: int
    kind: MadeKind
    name: str | None
    changed_at: datetime
    created_at: datetime


class ImportRows:
    """The table imports, and rows of memories that came with an archive."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def begin(self, account_id: UUID, import_id: UUID, file_id: UUID) -> ImportRow:
        """An archive to be brought back; the import of this id, or of this file that runs, if
        there is one.

        Raises:
            MemoError: `not_found`, when the file is none of the account's; `conflict`, when the id
                is another's, or another import of the account runs.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            await queue_up(connection, account_id)
            row = await connection.fetchrow(
                f"""
                SELECT {_COLUMNS}, user_id FROM imports
                WHERE id = $1 OR (user_id = $2 AND status = 'running')
                ORDER BY id = $1 DESC LIMIT 1
                """,
                import_id,
                account_id,
            )
            if row is not None:
                if row["user_id"] != account_id or row["file_id"] != file_id:
                    raise _taken(row["user_id"] == account_id and row["id"] != import_id)
                return ImportRow(*row[:7])
            if not await connection.fetchval(
                "SELECT true FROM files WHERE id = $1 AND user_id = $2", file_id, account_id
            ):
                raise MemoError(
                    ErrorCode.NOT_FOUND,
                    "there is no such file of yours; upload the archive first",
                    details={"fileId": "is none of your files"},
                )
            await connection.execute(
                """
                DELETE FROM imports WHERE id IN (
                    SELECT id FROM imports WHERE user_id = $1 ORDER BY created_at DESC OFFSET $2)
                """,
                account_id,
                MAX_KEPT - 1,
            )
            made = await connection.fetchrow(
                f"""
                INSERT INTO imports (id, user_id, file_id) VALUES ($1, $2, $3)
                ON CONFLICT (id) DO NOTHING RETURNING {_COLUMNS}
                """,
                import_id,
                account_id,
                file_id,
            )
            if made is None:  # another account's, made at this moment
                raise _taken(False)
            return ImportRow(*made)

    async def of(self, account_id: UUID) -> Sequence[ImportRow]:
        """The account's imports, the newest first."""
        rows = await self._pool.fetch(
            f"SELECT {_COLUMNS} FROM imports WHERE user_id = $1 ORDER BY created_at DESC, id",
            account_id,
        )
        return [ImportRow(*row) for row in rows]

    async def claim(self) -> ClaimedImport | None:
        """The import that has waited longest, for the caller to carry out."""
        row = await self._pool.fetchrow(
            """
            UPDATE imports SET attempts = attempts + 1,
                claimed_until = now() + make_interval(secs => $1)
            WHERE id = (
                SELECT id FROM imports
                WHERE status = 'running' AND (claimed_until IS NULL OR claimed_until < now())
                ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED)
            RETURNING id, user_id, file_id, attempts, created_at
            """,
            LEASE_SECONDS,
        )
        return None if row is None else ClaimedImport(*row)

    async def progress(self, claimed: ClaimedImport, tally: dict[str, Any]) -> bool:
        """Say how far it has come. False when it is another's to carry out now, or nobody's."""
        held = await self._pool.fetchval(
            """
            UPDATE imports SET claimed_until = now() + make_interval(secs => $3), tally = $4
            WHERE id = $1 AND attempts = $2 AND status = 'running' RETURNING true
            """,
            claimed.id,
            claimed.attempt,
            LEASE_SECONDS,
            tally,
        )
        return bool(held)

    async def finish(
        self, claimed: ClaimedImport, tally: dict[str, Any], error: str | None = None
    ) -> None:
        """It is over: done, or failed with an `error`."""
        await self._pool.execute(
            """
            UPDATE imports SET status = CASE WHEN $4::text IS NULL THEN 'done' ELSE 'failed' END,
                tally = $3, error = $4, finished_at = now(), claimed_until = NULL
            WHERE id = $1 AND attempts = $2 AND status = 'running'
            """,
            claimed.id,
            claimed.attempt,
            tally,
            error,
        )

    async def give_up(self, claimed: ClaimedImport, error: str) -> None:
        """It failed, with what was told of it last."""
        await self._pool.execute(
            """
            UPDATE imports SET status = 'failed', error = $3, finished_at = now(),
                claimed_until = NULL
            WHERE id = $1 AND attempts = $2 AND status = 'running'
            """,
            claimed.id,
            claimed.attempt,
            error,
        )

    async def held(self, claimed: ClaimedImport) -> bool:
        """Whether it is still the caller's to carry out: not once its account is gone."""
        return bool(
            await self._pool.fetchval(
                """
                SELECT true FROM imports WHERE id = $1 AND attempts = $2 AND status = 'running'
                """,
                claimed.id,
                claimed.attempt,
            )
        )

    async def postpone(self, claimed: ClaimedImport) -> None:
        """It could not be carried out now: it waits for the next try."""
        await self._pool.execute(
            """
            UPDATE imports SET claimed_until = now() + make_interval(secs => 20)
            WHERE id = $1 AND attempts = $2 AND status = 'running'
            """,
            claimed.id,
            claimed.attempt,
        )

    # What an archive brings

    async def holder(self, memory_id: UUID, account_id: UUID) -> Holder | None:
        """Whether a memory has this id: the account's own, another's, or one of its own that it
        has deleted."""
        holder: Holder | None = await self._pool.fetchval(_HOLDER, memory_id, account_id)
        return holder

    async def begun(self, memory_id: UUID, since: datetime) -> bytes | None:
        """The document of a memory that was made since then, and has not been edited."""
        payload: bytes | None = await self._pool.fetchval(
            """
            SELECT u.payload FROM documents d
                JOIN document_updates u ON u.document_id = d.id AND u.log_offset = 1
            WHERE d.id = $1 AND d.head = 1 AND u.written_at >= $2
            """,
            memory_id,
            since,
        )
        return payload

    async def rewind(self, memory_id: UUID) -> None:
        """Have the memory's rows be made of its document once more, its messages as well."""
        await self._pool.execute(
            "UPDATE documents SET projected_offset = 0 WHERE id = $1", memory_id
        )

    async def date(self, memory_id: UUID, created_at: datetime, updated_at: datetime) -> None:
        """Give a new memory its own times, none of them in the future."""
        await self._pool.execute(_DATE, memory_id, created_at, updated_at)

    async def sign(self, memory_id: UUID, account_id: UUID, messages: Sequence[UUID]) -> None:
        """Give the account those of a new memory's messages that it wrote."""
        await self._pool.execute(_SIGN, memory_id, account_id, list(messages))

    async def taken(self, account_id: UUID, file_ids: Sequence[UUID]) -> set[UUID]:
        """Those of the ids that the account can give no new file."""
        rows = await self._pool.fetch(_TAKEN, account_id, list(file_ids))
        return {row[0] for row in rows}

    async def files(self, account_id: UUID, file_ids: Sequence[UUID]) -> Mapping[UUID, UUID | None]:
        """The account's own files with these ids, each with the memory that it is in."""
        rows = await self._pool.fetch(
            "SELECT id, memory_id FROM files WHERE user_id = $1 AND id = ANY ($2)",
            account_id,
            list(file_ids),
        )
        return {row[0]: row[1] for row in rows}

    async def add_version(self, memory_id: UUID, version: PastVersion, folded: Folded) -> bool:
        """Store a version; False when its id is in use."""
        base_id = uuid4()
        async with self._pool.acquire() as connection, connection.transaction():
            added = await connection.fetchval(
                """
                INSERT INTO document_versions (id, document_id, log_offset, kind, name, title,
                    excerpt, base_id, payload, size, changed_at, created_at)
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8, '', $9, least($10, now()),
                    least($11, now()))
                ON CONFLICT DO NOTHING RETURNING true
                """,
                version.id,
                memory_id,
                version.offset,
                version.kind,
                version.name,
                folded.title,
                folded.excerpt,
                base_id,
                folded.size,
                version.changed_at,
                version.created_at,
            )
            if added:
                await connection.execute(
                    """
                    INSERT INTO document_bases (id, document_id, payload, vector)
                    VALUES ($1, $2, $3, $4)
                    """,
                    base_id,
                    memory_id,
                    folded.payload,
                    folded.vector,
                )
        return bool(added)

    async def has_version(self, memory_id: UUID, ids: Sequence[UUID]) -> bool:
        """Whether the memory has a version of one of these ids."""
        found = await self._pool.fetchval(
            "SELECT true FROM document_versions WHERE document_id = $1 AND id = ANY ($2) LIMIT 1",
            memory_id,
            list(ids),
        )
        return bool(found)


def _taken(is_running: bool) -> MemoError:
    if is_running:
        return MemoError(
            ErrorCode.CONFLICT,
            "another import of yours is under way; wait for its end",
            details={"fileId": "another one is being imported"},
        )
    return id_taken()
