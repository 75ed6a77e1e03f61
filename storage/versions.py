"""Versions of documents in PostgreSQL: bases, and versions on top of them."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from protocol.errors import ErrorCode, MemoError, id_taken
from protocol.versions import Base, Draft, Folded, Newest, Stamp
from storage import outage
from storage.postgres import Connection

MAX_NAMED = 500  # versions of one memory that carry a name, and so are kept
MAX_DEVICES = 20  # of one author that are named

# One maker of versions at a time for a document; the row of the document is the edits' to lock.
LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('document_versions ' || $1::uuid::text, 0))"

_NEWEST = """
SELECT d.head, d.deleted_at IS NOT NULL AS deleted, coalesce(v.log_offset, 0) AS log_offset,
    coalesce(v.size, 0) AS size,
    extract(epoch FROM now() - (SELECT max(created_at) FROM document_versions
        WHERE document_id = $1 AND kind = 'auto'))::float8 AS age,
    b.id AS base_id, b.vector, length(b.payload) AS base_size,
    (SELECT coalesce(sum(length(payload)), 0)::bigint FROM document_versions
        WHERE base_id = b.id) AS on_top
FROM documents d
    LEFT JOIN LATERAL (
        SELECT log_offset, size, base_id FROM document_versions
        WHERE document_id = $1 ORDER BY log_offset DESC, created_at DESC LIMIT 1
    ) AS v ON true
    LEFT JOIN document_bases b ON b.id = v.base_id
WHERE d.id = $1
"""

# Who wrote behind the newest version before an offset. Of rows that are trimmed already, who wrote
# them is kept by clocks, each run of which counts as one change.
WRITTEN = f"""
WITH before AS (
    SELECT coalesce(max(log_offset), 0) AS log_offset,
        coalesce(max(changed_at), '-infinity') AS changed_at
    FROM document_versions WHERE document_id = $1 AND log_offset < $2
), written AS (
    SELECT u.account_id, u.device_id FROM document_updates u, before
    WHERE u.document_id = $1 AND u.log_offset > before.log_offset AND u.log_offset <= $2
    UNION ALL
    SELECT a.account_id, a.device_id FROM document_authors a, before
    WHERE a.document_id = $1 AND a.written_at > before.changed_at AND NOT EXISTS (
        SELECT FROM document_updates
        WHERE document_id = $1 AND log_offset = before.log_offset + 1)
)
SELECT account_id, count(*) AS changes,
    (array_agg(DISTINCT device_id) FILTER (WHERE device_id IS NOT NULL))[1:{MAX_DEVICES}] AS devices
FROM written WHERE account_id IS NOT NULL GROUP BY account_id ORDER BY count(*) DESC, account_id
"""

WRITTEN_AT = """
SELECT coalesce(
    (SELECT written_at FROM document_updates WHERE document_id = $1 AND log_offset = $2),
    (SELECT max(written_at) FROM document_authors WHERE document_id = $1),
    now())
"""

_ADD = """
INSERT INTO document_versions (id, document_id, log_offset, kind, name, title, excerpt, base_id,
    payload, size, authors, changed_at, created_by, review_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, now() + $14::interval)
"""

# Those past their retention that are not the newest of their document, and those to be thinned.
_AGING = """
SELECT DISTINCT document_id FROM (
    SELECT v.document_id FROM document_versions v
    WHERE v.name IS NULL AND v.created_at < now() - $1::interval AND EXISTS (
        SELECT FROM document_versions n
        WHERE n.document_id = v.document_id AND n.log_offset > v.log_offset)
    UNION ALL
    SELECT document_id FROM document_versions WHERE name IS NULL AND review_at <= now()
) AS aging WHERE document_id > $2 ORDER BY document_id LIMIT $3
"""

# To be looked at again when the next of the ages is reached at which they get fewer.
_REVIEWED = """
UPDATE document_versions v SET review_at = (
    SELECT min(v.created_at + age) FROM unnest($2::interval[]) AS age
    WHERE v.created_at + age > now())
WHERE document_id = $1 AND review_at <= now()
"""


class VersionRows:
    """The tables document_bases and document_versions, for who makes and removes versions."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    # Making them

    async def newest(self, document_id: UUID) -> Newest | None:
        """Where a document stands with its versions; None if there is no document."""
        with outage.reported():
            row = await self._pool.fetchrow(_NEWEST, document_id)
        if row is None:
            return None
        base = None
        if row["base_id"] is not None:
            base = Base(row["base_id"], row["vector"], row["base_size"], row["on_top"])
        return Newest(
            head=row["head"],
            deleted=row["deleted"],
            offset=row["log_offset"],
            age=row["age"],
            size=row["size"],
            base=base,
        )

    async def add(self, document_id: UUID, draft: Draft, folded: Folded) -> bool:
        """Store a version. Returns False if its base is gone, or, for an automatic one, if there
        is one already that is as new, or one that is too young for another.

        Raises:
            MemoError: `too_large`, when too many of the memory's versions have names; `conflict`,
                when the id is that of another memory's; `gone`, when the memory is.
        """
        with outage.reported():
            try:
                async with self._pool.acquire() as connection, connection.transaction():
                    await connection.execute(LOCK, document_id)
                    return await self._add(connection, document_id, draft, folded)
            except asyncpg.UniqueViolationError:
                raise id_taken() from None
            except asyncpg.ForeignKeyViolationError:  # the memory or the account went meanwhile
                if draft.kind == "auto":
                    return False
                raise MemoError(ErrorCode.GONE, "this memory has been deleted") from None

    async def _add(
        self, connection: Connection, document_id: UUID, draft: Draft, folded: Folded
    ) -> bool:
        if await self._has(connection, document_id, draft.id):
            return True  # by a call that was repeated before it had ended
        if draft.kind == "auto" and await self._is_there(connection, document_id, draft):
            return False
        if draft.name is not None:
            await check_names(connection, document_id)
        base_id, top = await self._place(connection, document_id, folded)
        if base_id is None:
            return False
        written = await connection.fetch(WRITTEN, document_id, draft.offset)
        await connection.execute(
            _ADD,
            draft.id,
            document_id,
            draft.offset,
            draft.kind,
            draft.name,
            folded.title,
            folded.excerpt,
            base_id,
            top,
            folded.size,
            [author(row) for row in written],
            await connection.fetchval(WRITTEN_AT, document_id, draft.offset),
            draft.created_by,
            timedelta(seconds=draft.review),
        )
        return True

    async def _is_there(self, connection: Connection, document_id: UUID, draft: Draft) -> bool:
        there: bool = await connection.fetchval(
            """
            SELECT EXISTS (
                SELECT FROM document_versions
                WHERE document_id = $1 AND (log_offset >= $2
                    OR (kind = 'auto' AND created_at > now() - make_interval(secs => $3))))
            """,
            document_id,
            draft.offset,
            draft.apart,
        )
        return there

    async def _has(self, connection: Connection, document_id: UUID, version_id: UUID) -> bool:
        there: bool = await connection.fetchval(
            "SELECT EXISTS (SELECT FROM document_versions WHERE id = $1 AND document_id = $2)",
            version_id,
            document_id,
        )
        return there

    async def _place(
        self, connection: Connection, document_id: UUID, folded: Folded
    ) -> tuple[UUID | None, bytes]:
        """The base of a version, and what goes on top of it."""
        if folded.base is not None:
            # Held, so that it is not removed before the version refers to it.
            base_id = await connection.fetchval(
                "SELECT id FROM document_bases WHERE id = $1 FOR KEY SHARE", folded.base
            )
            return base_id, folded.payload
        base_id = uuid4()
        await connection.execute(
            "INSERT INTO document_bases (id, document_id, payload, vector) VALUES ($1, $2, $3, $4)",
            base_id,
            document_id,
            folded.payload,
            folded.vector,
        )
        return base_id, b""

    async def last_rest(self, document_id: UUID, after: int, pause: float) -> int | None:
        """The last offset behind `after` on which no other followed for `pause` seconds."""
        with outage.reported():
            offset: int | None = await self._pool.fetchval(
                """
                SELECT max(log_offset) FROM (
                    SELECT log_offset,
                        lead(written_at) OVER (ORDER BY log_offset) - written_at AS pause
                    FROM document_updates WHERE document_id = $1 AND log_offset > $2
                ) AS paused WHERE pause >= make_interval(secs => $3)
                """,
                document_id,
                after,
                pause,
            )
        return offset

    async def unversioned(self, rested: float, after: UUID, limit: int) -> Sequence[UUID]:
        """Documents behind `after`, in the order of their ids, that have edits that no version
        holds, the last of them more than `rested` seconds ago."""
        with outage.reported():
            rows = await self._pool.fetch(
                """
                SELECT d.id FROM documents d
                WHERE d.id > $2 AND d.deleted_at IS NULL AND d.head > coalesce((
                        SELECT max(log_offset) FROM document_versions v WHERE v.document_id = d.id
                    ), 0)
                    AND NOT EXISTS (
                        SELECT FROM document_updates u
                        WHERE u.document_id = d.id AND u.log_offset = d.head
                            AND u.written_at > now() - make_interval(secs => $1))
                ORDER BY d.id LIMIT $3
                """,
                rested,
                after,
                limit,
            )
        return [row[0] for row in rows]

    # Removing them

    async def aging(self, retention: float, after: UUID, limit: int) -> Sequence[UUID]:
        """Documents behind `after`, in the order of their ids, of which versions may be due to
        go."""
        with outage.reported():
            rows = await self._pool.fetch(_AGING, timedelta(seconds=retention), after, limit)
        return [row[0] for row in rows]

    async def stamps(self, document_id: UUID) -> list[Stamp]:
        """The document's versions, oldest first."""
        with outage.reported():
            rows = await self._pool.fetch(
                """
                SELECT id, kind, name IS NOT NULL, created_at, changed_at FROM document_versions
                WHERE document_id = $1 ORDER BY log_offset, created_at, id
                """,
                document_id,
            )
        return [Stamp(*row) for row in rows]

    async def remove(self, document_id: UUID, versions: Sequence[UUID], *, named: bool) -> None:
        """Remove versions, those with a name only if `named`. Who wrote for one that goes is
        counted with the next that stays."""
        with outage.reported():
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute(LOCK, document_id)
                rows = await connection.fetch(
                    """
                    SELECT id, log_offset, authors, id = ANY ($2) AND ($3 OR name IS NULL) AS goes
                    FROM document_versions WHERE document_id = $1
                    ORDER BY log_offset, created_at, id
                    """,
                    document_id,
                    list(versions),
                    named,
                )
                await connection.execute(
                    "DELETE FROM document_versions WHERE id = ANY ($1)",
                    [row["id"] for row in rows if row["goes"]],
                )
                await connection.executemany(
                    "UPDATE document_versions SET authors = $2 WHERE id = $1", _inherited(rows)
                )
                await connection.execute(
                    """
                    DELETE FROM document_bases b WHERE document_id = $1 AND NOT EXISTS (
                        SELECT FROM document_versions v WHERE v.base_id = b.id)
                    """,
                    document_id,
                )

    async def reviewed(self, document_id: UUID, ages: Sequence[float]) -> None:
        """Thinning has looked at the document, and has to again when one of its versions reaches
        the next of these ages, in seconds."""
        with outage.reported():
            await self._pool.execute(
                _REVIEWED, document_id, [timedelta(seconds=age) for age in ages]
            )


async def check_names(connection: Connection, document_id: UUID) -> None:
    """Refuse one more version with a name when the memory has too many.

    Raises:
        MemoError: `too_large`.
    """
    named = await connection.fetchval(
        "SELECT count(*) FROM document_versions WHERE document_id = $1 AND name IS NOT NULL",
        document_id,
    )
    if named >= MAX_NAMED:
        raise MemoError(
            ErrorCode.TOO_LARGE,
            f"a memory may have {MAX_NAMED} versions with names; remove one, or its name",
            details={"name": f"{MAX_NAMED} versions have one"},
        )


def author(row: asyncpg.Record) -> dict[str, Any]:
    """Who wrote, as the column `authors` has it."""
    return {
        "userId": str(row["account_id"]),
        "devices": row["devices"] or [],
        "changes": row["changes"],
    }


def _inherited(rows: Sequence[asyncpg.Record]) -> list[tuple[UUID, list[dict[str, Any]]]]:
    """Of versions from the oldest to the newest, some of which go: those that stay and get authors
    of them, with all that they have then."""
    changed = []
    waiting: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        if row["goes"]:
            # Versions of one offset have counted the same updates.
            waiting[row["log_offset"]] = row["authors"]
            continue
        waiting.pop(row["log_offset"], None)
        if waiting:
            changed.append((row["id"], _together([*waiting.values(), row["authors"]])))
        waiting.clear()
    return changed


def _together(lists: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    authors: dict[str, dict[str, Any]] = {}
    for author in (author for one in lists for author in one):
        same = authors.setdefault(
            author["userId"], {"userId": author["userId"], "devices": [], "changes": 0}
        )
        same["devices"] = sorted({*same["devices"], *author["devices"]})[:MAX_DEVICES]
        same["changes"] += author["changes"]
    return sorted(authors.values(), key=lambda author: -author["changes"])
