"""Memories as rows: what documents hold, projected for lists, and each member's own marks."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from math import ceil
from typing import Any
from uuid import UUID

import asyncpg

from protocol.errors import ErrorCode, MemoError, id_taken
from protocol.log import Entry, Known, Projection, Saved
from protocol.memories import ListMemories, Memory, MemoryPage
from protocol.records import Pagination, timestamp
from storage import outage
from storage.listing import list_page
from storage.messages import UNREAD, MessageRows, write_messages
from storage.postgres import Connection
from storage.texts import CREATE_WORDS, HOLD, WRITE_WORDS
from storage.trash import TRASH_SECONDS, TrashRows

LISTED_BYTES = 64 << 10  # as JSON; of what is larger, lists and search have a piece,
LISTED_CHARACTERS = 1000  # of so many characters

_COLUMNS = f"""
    m.id, m.user_id, ms.category_id, m.title, m.description, {{content}} AS content, m.tags,
    {{metadata}} AS metadata, {{is_cut}} AS is_cut,
    ms.is_favorite, ms.is_archived, m.privacy_level, ms.role, d.epoch, d.head AS log_offset,
    m.created_at, m.updated_at, d.deleted_at, ms.last_read_at, {UNREAD} AS unread_count
"""
MEMORY_COLUMNS = _COLUMNS.format(content="m.content", metadata="m.metadata", is_cut="false")
_IS_CUT = f"m.weight > {LISTED_BYTES}"
_PIECE = f"jsonb_build_object('text', left(m.content ->> 'text', {LISTED_CHARACTERS}))"
_LISTED_COLUMNS = _COLUMNS.format(
    content=f"CASE WHEN {_IS_CUT} THEN jsonb_strip_nulls({_PIECE}) ELSE m.content END",
    metadata=f"CASE WHEN {_IS_CUT} THEN '{{}}'::jsonb ELSE m.metadata END",
    is_cut=_IS_CUT,
)
MEMORY_TABLES = """
    memberships ms JOIN memories m ON m.id = ms.memory_id JOIN documents d ON d.id = ms.memory_id
"""

# One round trip: the guard, the rows, and who is to be told. They stand for the offset if those of
# the thread do as well, which are written behind this: that takes $8, the offset that they were
# known to stand for, to be still true, and $9, that these are all.
_WRITE = f"""
WITH {HOLD}, advanced AS (
    UPDATE documents d SET changed_xid = pg_current_xact_id(), projected_offset = CASE
        WHEN $9 AND coalesce(projected_offset = $8::bigint, true) THEN $2
        ELSE projected_offset END
    FROM held WHERE d.id = held.id AND projected_offset < $2
    RETURNING d.id, coalesce(projected_offset IN ($2, $8), true) AS fits
), written AS (
    UPDATE memories m SET title = $3, description = $4, content = $5, tags = $6, metadata = $7,
        updated_at = coalesce((
            SELECT written_at FROM document_updates
            WHERE document_id = $1 AND log_offset = $2), now())
    FROM advanced WHERE m.id = advanced.id
), {WRITE_WORDS.format(words="$10")}
SELECT user_id, (SELECT fits FROM advanced) AS fits FROM memberships WHERE memory_id = $1
"""

# One round trip as well: the memory, its member, its document, and the first update of its log.
_CREATE = f"""
WITH m AS (
    INSERT INTO memories (id, user_id, title, description, content, tags, metadata)
    SELECT $1, $2, $6, $7, $8, $9, $10
    WHERE NOT EXISTS (
            SELECT FROM tombstones WHERE user_id = $2 AND kind = 'memory' AND record_id = $1)
        AND ($3::uuid IS NULL OR EXISTS (
            SELECT FROM memory_categories WHERE id = $3 AND user_id = $2 FOR KEY SHARE))
    ON CONFLICT (id) DO NOTHING RETURNING *
), ms AS (
    INSERT INTO memberships (memory_id, user_id, role, category_id, is_favorite, is_archived)
    SELECT id, user_id, 'owner', $3, $4, $5 FROM m RETURNING *
), d AS (
    INSERT INTO documents (id, owner_id, head, projected_offset)
    SELECT id, user_id, first, first
    FROM m, (SELECT (octet_length($11::bytea) > 0)::int AS first) AS has RETURNING *
), log AS (
    INSERT INTO document_updates (document_id, log_offset, account_id, device_id, payload)
    SELECT id, 1, owner_id, $12, $11 FROM d WHERE head = 1
), clients AS (
    INSERT INTO document_clients (document_id, client, account_id)
    SELECT d.id, c.client, c.account_id
    FROM d, unnest($13::bigint[], $14::uuid[]) AS c (client, account_id)
), {CREATE_WORDS.format(words="$15")}
SELECT {MEMORY_COLUMNS} FROM m, ms, d
"""

# In the order of ids, so that two who mark the same memories never wait for each other. Whoever has
# a trigger write a member's rows of lists holds the membership, or the document and all of them.
_MARK_EACH = """
WITH mine AS (
    SELECT s.memory_id, d.deleted_at FROM memberships s JOIN documents d ON d.id = s.memory_id
    WHERE s.user_id = $1 AND s.memory_id = ANY ($2) ORDER BY s.memory_id
    FOR NO KEY UPDATE OF s
), marked AS (
    UPDATE memberships s SET {column} = $3, changed_xid = pg_current_xact_id()
    FROM mine WHERE s.memory_id = mine.memory_id AND s.user_id = $1
        AND mine.deleted_at IS NULL AND s.{column} IS DISTINCT FROM $3
)
SELECT memory_id, deleted_at FROM mine
"""


def read_memory(row: asyncpg.Record) -> Memory:
    """A row of `MEMORY_COLUMNS` as the memory it describes. Who reads a public memory and is no
    member has no marks of their own."""
    return Memory(
        id=row["id"],
        user_id=row["user_id"],
        category_id=row["category_id"],
        title=row["title"],
        description=row["description"],
        content=row["content"],
        tags=row["tags"],
        metadata=row["metadata"],
        is_favorite=row["is_favorite"] or False,
        is_archived=row["is_archived"] or False,
        privacy_level=row["privacy_level"],
        role=row["role"] or "viewer",
        epoch=str(row["epoch"]),
        offset=row["log_offset"],
        created_at=timestamp(row["created_at"]),
        updated_at=timestamp(row["updated_at"]),
        last_read_at=row["last_read_at"] and timestamp(row["last_read_at"]),
        unread_count=row["unread_count"],
        deleted_at=row["deleted_at"] and timestamp(row["deleted_at"]),
        is_cut=row["is_cut"],
    )


class MemoryRows:
    """The tables memories and memberships, and what else a projection writes. The documents are
    the truth of the first. `trash_seconds` is how long a deleted memory can be restored."""

    def __init__(self, pool: asyncpg.Pool, trash_seconds: float = TRASH_SECONDS) -> None:
        self._pool = pool
        self._messages = MessageRows(pool)
        self._trash = TrashRows(pool)
        self._trash_time = timedelta(seconds=trash_seconds)

    async def create(
        self, entry: Entry, *, category_id: UUID | None, is_favorite: bool, is_archived: bool
    ) -> Memory:
        """A memory whose document begins with `entry` (no payload: empty), owned by its author.

        Raises:
            MemoError: `conflict` when the id is another account's, `gone` when the author's own
                memory of that id was deleted or purged, `not_found` when the category is not
                the author's. The author's own living memory of that id is answered as it is.
        """
        owner = entry.author.account_id
        projection = entry.projection
        assert projection is not None
        row = await self._pool.fetchrow(
            _CREATE,
            entry.document_id,
            owner,
            category_id,
            is_favorite,
            is_archived,
            projection.title,
            projection.description,
            projection.content,
            projection.tags,
            projection.metadata,
            entry.payload,
            entry.author.device_id,
            [client for client, _ in entry.claims],
            [claimant for _, claimant in entry.claims],
            projection.words,
        )
        if row is not None:
            return read_memory(row)
        # It is there already, or its category is not.
        holder = await self._pool.fetchval(
            "SELECT user_id FROM memories WHERE id = $1", entry.document_id
        )
        if holder is None:
            async with self._pool.acquire() as connection:
                await self._check_category(connection, owner, category_id)
            raise MemoError(ErrorCode.GONE, "this memory has been deleted for good")
        if holder != owner:
            raise id_taken()
        return await self.get(entry.document_id, owner)

    async def get(self, memory_id: UUID, account_id: UUID) -> Memory:
        """One memory as the account sees it.

        Raises:
            MemoError: `not_found`, also when the account is no member and the memory not public;
                `gone` when deleted.
        """
        row = await self._pool.fetchrow(
            f"""
            SELECT {MEMORY_COLUMNS} FROM memories m JOIN documents d ON d.id = m.id
                LEFT JOIN memberships ms ON ms.memory_id = m.id AND ms.user_id = $2
            WHERE m.id = $1 AND (ms.role IS NOT NULL OR m.privacy_level = 'public')
            """,
            memory_id,
            account_id,
        )
        if row is None:
            raise MemoError(ErrorCode.NOT_FOUND, "there is no such memory, or none you may see")
        deleted_at = row["deleted_at"]
        if deleted_at is not None:
            purge_at = deleted_at + self._trash_time
            raise MemoError(
                ErrorCode.GONE,
                "this memory has been deleted; its owner may restore it for a time",
                details={"deletedAt": timestamp(deleted_at), "purgeAt": timestamp(purge_at)},
            )
        return read_memory(row)

    async def list(self, account_id: UUID, query: ListMemories) -> MemoryPage:
        """A page of the account's memories.

        Raises:
            MemoError: `invalid_request`, naming a field that cannot be used.
        """
        ids, total = await list_page(self._pool, account_id, query)
        memories = await self.several(ids, account_id)
        return MemoryPage(
            memories=[memories[each] for each in ids if each in memories],
            pagination=Pagination(
                page=query.page,
                limit=query.limit,
                total=total,
                total_pages=ceil(total / query.limit),
            ),
        )

    async def several(self, ids: Sequence[UUID], account_id: UUID) -> dict[UUID, Memory]:
        """Those of the memories that the account is a member of, by id, deleted or not. Large ones
        are cut."""
        if not ids:
            return {}
        rows = await self._pool.fetch(
            f"""
            SELECT {_LISTED_COLUMNS} FROM {MEMORY_TABLES}
            WHERE ms.user_id = $1 AND ms.memory_id = ANY ($2)
            """,
            account_id,
            ids,
        )
        return {row["id"]: read_memory(row) for row in rows}

    async def beginnings(self, ids: Sequence[UUID], characters: int) -> dict[UUID, str]:
        """So many characters of the bodies of these memories."""
        if not ids:
            return {}
        query = "SELECT id, left(content ->> 'text', $2) FROM memories WHERE id = ANY ($1)"
        rows = await self._pool.fetch(query, ids, characters)
        return {row[0]: row[1] or "" for row in rows}

    async def mark(self, memory_id: UUID, account_id: UUID, marks: dict[str, Any]) -> None:
        """Set the member's own `category_id`, `is_favorite` or `is_archived`.

        Raises:
            MemoError: `not_found` when the category is not the account's, `forbidden` when it is
                no member.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            await self._check_category(connection, account_id, marks.get("category_id"))
            columns = ", ".join(f"{name} = ${n}" for n, name in enumerate(marks, 3))
            status = await connection.execute(
                f"""
                UPDATE memberships SET {columns}, changed_xid = pg_current_xact_id()
                WHERE memory_id = $1 AND user_id = $2
                """,
                memory_id,
                account_id,
                *marks.values(),
            )
        if not status.endswith(" 1"):
            raise MemoError(
                ErrorCode.FORBIDDEN,
                "categories and marks are for members: you may read this memory, no more",
            )

    async def mark_each(
        self, memory_ids: Sequence[UUID], account_id: UUID, marks: Mapping[str, Any]
    ) -> dict[UUID, MemoError | None]:
        """`mark` of many memories by one column. Says of each why it was not marked, if it was
        not: `not_found`, `gone`.

        Raises:
            MemoError: `not_found` when the category is not the account's.
        """
        [(column, value)] = marks.items()

        async with self._pool.acquire() as connection, connection.transaction():
            await self._check_category(connection, account_id, marks.get("category_id"))
            rows = await connection.fetch(
                _MARK_EACH.format(column=column), account_id, memory_ids, value
            )
        deleted = {row["memory_id"]: row["deleted_at"] is not None for row in rows}

        def refusal(memory_id: UUID) -> MemoError | None:
            if memory_id not in deleted:
                return MemoError(
                    ErrorCode.NOT_FOUND, "there is no such memory, or none you may see"
                )
            if deleted[memory_id]:
                return MemoError(ErrorCode.GONE, "this memory has been deleted")
            return None

        return {memory_id: refusal(memory_id) for memory_id in memory_ids}

    async def delete(self, memory_id: UUID, account_id: UUID) -> tuple[str, Sequence[UUID]]:
        """Mark a memory deleted. Returns when it was, and the accounts that are to be told.

        Deleting again answers as the first time, so that a retry is harmless.

        Raises:
            MemoError: `not_found` when the account is no member, `forbidden` when it is one
                but not the owner.
        """
        [fate] = await self._trash.delete(account_id, [memory_id])
        if fate.error is not None:
            raise fate.error
        assert fate.moment is not None  # it is deleted
        return timestamp(fate.moment), fate.followers

    async def unprojected(self, limit: int) -> Sequence[UUID]:
        """Documents whose rows are behind their log."""
        with outage.reported():
            rows = await self._pool.fetch(
                """
                SELECT id FROM documents
                WHERE projected_offset < head AND deleted_at IS NULL LIMIT $1
                """,
                limit,
            )
        return [row[0] for row in rows]

    async def known(self, document_id: UUID) -> Known:
        """What the rows of the document's thread have."""
        return await self._messages.known(document_id)

    async def save(self, document_id: UUID, projection: Projection, offset: int) -> Saved:
        """Write the rows of the document at `offset` unless they are newer already.

        Raises:
            MemoError: `unavailable`.
        """
        with outage.reported():
            if not _writes_messages(projection):
                return await self.write(self._pool, document_id, projection, offset)
            async with self._pool.acquire() as connection, connection.transaction():
                return await self.write(connection, document_id, projection, offset)

    async def followers(self, document_id: UUID) -> Sequence[UUID]:
        """The accounts that follow the memory."""
        with outage.reported():
            rows = await self._pool.fetch(
                "SELECT user_id FROM memberships WHERE memory_id = $1", document_id
            )
        return [row[0] for row in rows]

    async def write(
        self,
        connection: Connection | asyncpg.Pool,
        document_id: UUID,
        projection: Projection,
        offset: int,
    ) -> Saved:
        """`save`, on a connection that is within a transaction if there are messages to write."""
        rows = await connection.fetch(
            _WRITE,
            document_id,
            offset,
            projection.title,
            projection.description,
            projection.content,
            projection.tags,
            projection.metadata,
            projection.known,
            not projection.more,
            projection.words,
        )
        fits = rows[0]["fits"] if rows else None  # None: the rows are newer already
        if fits and _writes_messages(projection):
            await write_messages(connection, document_id, projection, offset)
        whole = fits is None or (fits and not projection.more)
        return Saved([row["user_id"] for row in rows], whole)

    async def _check_category(
        self, connection: Connection, account_id: UUID, category_id: UUID | None
    ) -> None:
        if category_id is None:
            return
        known = await connection.fetchval(
            "SELECT true FROM memory_categories WHERE id = $1 AND user_id = $2 FOR KEY SHARE",
            category_id,
            account_id,
        )
        if not known:
            raise MemoError(
                ErrorCode.NOT_FOUND,
                "there is no such category",
                details={"categoryId": "is not one of your categories"},
            )


def _writes_messages(projection: Projection) -> bool:
    return projection.known is None or bool(projection.messages or projection.gone)
