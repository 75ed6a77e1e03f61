"""The feed: what changed for an account since a cursor, without a counter or a lock.

A row carries the transaction that changed it last. A cursor is a floor: the oldest transaction
that was still running when the feed was read. Whatever commits later, however late, has an id
at or above the floor, so nothing is skipped; at worst something comes twice.

Pages are ordered by (transaction, id). All pages of one reading keep the first one's floor, so
that a commit landing between two pages, behind the place reached, is found by the next reading.
"""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

import asyncpg

from protocol.errors import ErrorCode, MemoError
from protocol.feed import Change, Changes
from protocol.records import timestamp
from storage.memories import MEMORY_COLUMNS, MEMORY_TABLES, read_memory
from storage.messages import UNREAD

MAX_BYTES = 4 << 20  # of one page's contents, as they are stored
_START = UUID(int=0)

_PAGE = """
WITH touched AS (
    SELECT d.id, d.changed_xid FROM documents d
    WHERE d.owner_id = $1 AND d.changed_xid >= $2::text::xid8
    UNION ALL
    SELECT d.id, d.changed_xid FROM memberships s JOIN documents d ON d.id = s.memory_id
    WHERE s.user_id = $1 AND s.role <> 'owner' AND d.changed_xid >= $2::text::xid8
    UNION ALL
    SELECT s.memory_id, s.changed_xid FROM memberships s
    WHERE s.user_id = $1 AND s.changed_xid >= $2::text::xid8
), latest AS (
    SELECT DISTINCT ON (id) id, changed_xid FROM touched ORDER BY id, changed_xid DESC
), page AS (
    SELECT id, changed_xid FROM latest
    WHERE (changed_xid, id) > ($2::text::xid8, $3)
    ORDER BY changed_xid, id LIMIT $4
)
"""

_CHANGES = f"""
{_PAGE}, weighed AS (
    -- The running total is taken before the item itself, so the first one always comes.
    SELECT page.*, count(*) OVER () AS found, sum(pg_column_size(m.content))
            OVER (ORDER BY page.changed_xid, page.id) - pg_column_size(m.content) AS before
    FROM page JOIN memories m USING (id)
)
SELECT w.changed_xid::text AS changed_xid, w.found, d.deleted_at IS NOT NULL AS deleted,
    {MEMORY_COLUMNS}
FROM weighed w JOIN {MEMORY_TABLES} ON d.id = w.id AND ms.user_id = $1
WHERE w.before < $5 ORDER BY w.changed_xid, w.id
"""

_BRIEF = f"""
{_PAGE}
SELECT p.changed_xid::text AS changed_xid, count(*) OVER () AS found,
    d.deleted_at IS NOT NULL AS deleted, p.id, d.epoch, d.head AS log_offset, ms.role,
    ms.category_id, ms.is_favorite, ms.is_archived, ms.last_read_at, {UNREAD} AS unread_count
FROM page p JOIN documents d USING (id)
    JOIN memberships ms ON ms.memory_id = p.id AND ms.user_id = $1
ORDER BY p.changed_xid, p.id
"""

_CHANGED = """
SELECT owner_id FROM documents
WHERE owner_id = ANY ($1) AND changed_xid >= $2::text::xid8
UNION
SELECT s.user_id FROM memberships s JOIN documents d ON d.id = s.memory_id
WHERE s.user_id = ANY ($1) AND s.role <> 'owner' AND d.changed_xid >= $2::text::xid8
UNION
SELECT user_id FROM memberships WHERE user_id = ANY ($1) AND changed_xid >= $2::text::xid8
"""


class _Cursor(NamedTuple):
    epoch: str
    floor: int
    place: tuple[int, UUID] | None = None

    def __str__(self) -> str:
        if self.place is None:
            return f"{self.epoch}.{self.floor}"
        return f"{self.epoch}.{self.floor}.{self.place[0]}.{self.place[1]}"

    @classmethod
    def parse(cls, text: str) -> "_Cursor":
        """The cursor that was written so; raises ValueError."""
        match text.split("."):
            case [epoch, floor]:
                return cls(epoch, _transaction(floor))
            case [epoch, floor, xid, id]:
                return cls(epoch, _transaction(floor), (_transaction(xid), UUID(id)))
        raise ValueError(text)


class Feed:
    """Reads the feed. `installation.feed_epoch` changes when a backup is restored."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def cursor(self) -> str:
        """The cursor of this moment."""
        return str(await self._now(self._pool))

    async def changes(
        self, account_id: UUID, after: str | None, limit: int, *, brief: bool = False
    ) -> Changes:
        """Up to `limit` changes behind the cursor, oldest first; `brief` without the memories.

        A cursor of another epoch answers `reset` and starts over.

        Raises:
            MemoError: `invalid_request`, when the cursor is none of ours.
        """
        try:
            cursor = None if after is None else _Cursor.parse(after)
        except ValueError:
            raise MemoError(
                ErrorCode.INVALID_REQUEST,
                "the cursor is not one of this server's; leave it out to start over",
                details={"after": "is not a cursor of this server"},
            ) from None
        async with (
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            now = await self._now(connection)
            # A floor ahead of this database is another database's, restored from a backup.
            reset = cursor is not None and (cursor.epoch != now.epoch or cursor.floor > now.floor)
            if cursor is None or reset:
                cursor = _Cursor(now.epoch, 0)
            whole = cursor.floor == 0
            if cursor.place is None:
                floor, since, seen = now.floor, cursor.floor, _START
            else:
                floor, (since, seen) = cursor.floor, cursor.place
            place = (account_id, str(since), seen, limit + 1)
            rows = (
                await connection.fetch(_BRIEF, *place)
                if brief
                else await connection.fetch(_CHANGES, *place, MAX_BYTES)
            )
        rows, found = rows[:limit], rows[0]["found"] if rows else 0
        more = found > len(rows)
        read = _read_brief if brief else _read
        items = [read(row) for row in rows if not (whole and row["deleted"])]
        next_cursor = _Cursor(
            now.epoch, floor, (int(rows[-1]["changed_xid"]), rows[-1]["id"]) if more else None
        )
        return Changes(items=items, cursor=str(next_cursor), more=more, reset=reset)

    async def floor(self) -> int:
        """The oldest transaction that still runs."""
        return (await self._now(self._pool)).floor

    async def changed(self, account_ids: Sequence[UUID], since: int) -> Sequence[UUID]:
        """The accounts for which something changed in a transaction from `since` on."""
        rows = await self._pool.fetch(_CHANGED, list(account_ids), str(since))
        return [row[0] for row in rows]

    async def _now(self, connection: asyncpg.Pool | asyncpg.pool.PoolConnectionProxy) -> _Cursor:
        row = await connection.fetchrow(
            """
            SELECT feed_epoch, pg_snapshot_xmin(pg_current_snapshot())::text AS floor
            FROM installation
            """
        )
        assert row is not None
        return _Cursor(str(row["feed_epoch"]), int(row["floor"]))


def _read(row: asyncpg.Record) -> Change:
    memory = None if row["deleted"] else read_memory(row)
    return Change(kind="memory", id=row["id"], deleted=row["deleted"], memory=memory)


def _read_brief(row: asyncpg.Record) -> Change:
    if row["deleted"]:
        return Change(kind="memory", id=row["id"], deleted=True)
    return Change(
        kind="memory",
        id=row["id"],
        epoch=str(row["epoch"]),
        offset=row["log_offset"],
        role=row["role"],
        category_id=row["category_id"],
        is_favorite=row["is_favorite"],
        is_archived=row["is_archived"],
        last_read_at=row["last_read_at"] and timestamp(row["last_read_at"]),
        unread_count=row["unread_count"],
    )


def _transaction(text: str) -> int:
    number = int(text)
    if not 0 <= number < 1 << 63:
        raise ValueError(text)
    return number
