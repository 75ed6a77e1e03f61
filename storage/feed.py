"""The feed: what changed for an account since a cursor, without a counter or a lock.

A row carries the transaction that changed it last. A cursor is a floor: the oldest transaction
that was still running when the feed was read. Whatever commits later, however late, has an id
at or above the floor, so nothing is skipped; at worst something comes twice.

Pages are ordered by (transaction, id). All pages of one reading keep the first one's floor, so
that a commit landing between two pages, behind the place reached, is found by the next reading.
This counts on no two records of an account having one id, of whatever kinds they are.

What changed is found first, in all sources at once, by index and without what it holds. Then what
is on the page is read, kind by kind, so that a reading without news costs the first step alone.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

import asyncpg

from protocol.errors import ErrorCode, MemoError
from protocol.feed import Change, Changes
from protocol.records import timestamp
from storage.accounts import read_account
from storage.categories import read_categories
from storage.files import read_files
from storage.memories import MEMORY_COLUMNS, MEMORY_TABLES, read_memory
from storage.messages import UNREAD
from storage.postgres import Connection

MAX_BYTES = 4 << 20  # of the memories on one page, as JSON
TOMBSTONE_SECONDS = 180 * 86400.0
_START = UUID(int=0)


class Source(NamedTuple):
    """Rows that devices follow. The fields are SQL: of which `kind` an item is, where the `rows`
    are, and the columns that say which account follows a row, which `id` it has, and which
    transaction changed it last. Account and transaction need an index together."""

    kind: str
    rows: str
    account: str
    id: str
    changed: str
    deleted: str = "false"


_OTHERS_FILES = """
memberships s JOIN files f ON s.is_shared AND f.memory_id = s.memory_id AND f.user_id <> s.user_id
"""

# A further kind of item takes a source here and a reader in `_READERS`, and a field of `Change`.
# Rows of one kind that have one id are one item, whichever source has them.
_SOURCES = (
    Source("'memory'", "documents d", "d.owner_id", "d.id", "d.changed_xid"),
    Source(
        "'memory'",
        "memberships s JOIN documents d ON d.id = s.memory_id AND s.role <> 'owner'",
        "s.user_id",
        "d.id",
        "d.changed_xid",
    ),
    Source("'memory'", "memberships s", "s.user_id", "s.memory_id", "s.changed_xid"),
    Source("'category'", "memory_categories c", "c.user_id", "c.id", "c.changed_xid"),
    Source("'file'", "files f", "f.user_id", "f.id", "f.changed_xid"),
    # Those that others put into a memory, and those that were there when the account joined it.
    Source("'file'", _OTHERS_FILES, "s.user_id", "f.id", "f.changed_xid"),
    Source("'file'", _OTHERS_FILES, "s.user_id", "f.id", "s.joined_xid"),
    Source("'account'", "users u", "u.id", "u.id", "u.changed_xid"),
    Source("t.kind", "tombstones t", "t.user_id", "t.record_id", "t.changed_xid", "true"),
)

# Kinds are sorted as bytes, which is cheaper than by the rules of a language.
_TOUCHED = " UNION ALL ".join(
    f'SELECT {source.kind}::text COLLATE "C" AS kind, {source.id} AS id,'
    f" {source.changed} AS changed_xid, {source.deleted} AS deleted FROM {source.rows}"
    f" WHERE {source.account} = $1 AND {source.changed} >= $2::text::xid8"
    for source in _SOURCES
)
_PAGE = f"""
WITH touched AS ({_TOUCHED}), latest AS (
    SELECT DISTINCT ON (id, kind) * FROM touched ORDER BY id, kind, changed_xid DESC, deleted
)
SELECT kind, id, changed_xid::text AS xid, deleted FROM latest
WHERE (changed_xid, id) > ($2::text::xid8, $3) ORDER BY changed_xid, id LIMIT $4
"""
_CHANGED = " UNION ".join(
    f"SELECT {source.account} FROM {source.rows}"
    f" WHERE {source.account} = ANY ($1) AND {source.changed} >= $2::text::xid8"
    for source in _SOURCES
)

_MEMORIES = f"""
WITH weighed AS (
    -- The running total is taken before the item itself, so the first one always comes.
    SELECT m.id, sum(m.weight) OVER (ORDER BY page.place) - m.weight AS before
    FROM unnest($2::uuid[]) WITH ORDINALITY AS page (id, place) JOIN memories m USING (id)
)
SELECT {MEMORY_COLUMNS}
FROM weighed w JOIN {MEMORY_TABLES} ON d.id = w.id AND ms.user_id = $1 WHERE w.before < $3
"""
_BRIEF_MEMORIES = f"""
SELECT d.id, d.epoch, d.head AS log_offset, d.deleted_at, ms.role, ms.category_id, ms.is_favorite,
    ms.is_archived, ms.last_read_at, {UNREAD} AS unread_count
FROM memberships ms JOIN documents d ON d.id = ms.memory_id
WHERE ms.user_id = $1 AND ms.memory_id = ANY ($2)
"""

_FORGET = """
WITH old AS (
    SELECT user_id, kind, record_id FROM tombstones
    WHERE created_at < now() - make_interval(secs => $1)
    ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED
), removed AS (
    DELETE FROM tombstones t USING old
    WHERE (t.user_id, t.kind, t.record_id) = (old.user_id, old.kind, old.record_id)
    RETURNING t.changed_xid
), moved AS (
    UPDATE installation SET tombstone_horizon = greatest(tombstone_horizon, newest.changed_xid)
    FROM (SELECT changed_xid FROM removed ORDER BY changed_xid DESC LIMIT 1) AS newest
)
SELECT count(*) FROM removed
"""


class _Cursor(NamedTuple):
    """`place` is where the next page begins, and `start` the floor that this reading began at: it
    is known where a reading did not begin with nothing."""

    epoch: str
    floor: int
    place: tuple[int, UUID] | None = None
    start: int | None = None

    def __str__(self) -> str:
        parts = [self.epoch, self.floor, *(self.place or ())]
        if self.start is not None:
            parts.append(self.start)
        return ".".join(map(str, parts))

    @classmethod
    def parse(cls, text: str) -> "_Cursor":
        """The cursor that was written so; raises ValueError."""
        match text.split("."):
            case [epoch, floor]:
                return cls(epoch, _transaction(floor))
            case [epoch, floor, xid, id]:
                return cls(epoch, _transaction(floor), (_transaction(xid), UUID(id)))
            case [epoch, floor, xid, id, start]:
                began, place = _transaction(start), (_transaction(xid), UUID(id))
                if began <= _transaction(floor):
                    return cls(epoch, _transaction(floor), place, began)
        raise ValueError(text)

    def before(self, horizon: int) -> bool:
        """Whether this reading needs something of the transaction `horizon` or an earlier one."""
        return min(self.floor, self.floor if self.start is None else self.start) <= horizon


class _Now(NamedTuple):
    epoch: str
    floor: int
    horizon: int  # the newest transaction of which a tombstone was removed


class Feed:
    """Reads the feed. `installation.feed_epoch` changes when a backup is restored."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def cursor(self) -> str:
        """The cursor of this moment."""
        now = await self._now(self._pool)
        return str(_Cursor(now.epoch, now.floor))

    async def changes(
        self, account_id: UUID, after: str | None, limit: int, *, brief: bool = False
    ) -> Changes:
        """Up to `limit` changes behind the cursor, oldest first; `brief` without what memories
        hold.

        A cursor of another epoch, or one so old that tombstones behind it were removed, answers
        `reset` and starts over.

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
            reset = cursor is not None and (
                cursor.epoch != now.epoch or cursor.floor > now.floor or cursor.before(now.horizon)
            )
            if cursor is None or reset:
                cursor = _Cursor(now.epoch, 0)
            whole = cursor.floor == 0
            if cursor.place is None:
                floor, since, seen = now.floor, cursor.floor, _START
                start = None if whole else since
            else:
                floor, (since, seen), start = cursor.floor, cursor.place, cursor.start
            rows = await connection.fetch(_PAGE, account_id, str(since), seen, limit + 1)
            items = await _read(connection, account_id, rows[:limit], brief=brief)
        more = len(rows) > len(items)
        last = rows[len(items) - 1] if more else None
        next_cursor = (
            _Cursor(now.epoch, floor, (int(last["xid"]), last["id"]), start)
            if last is not None
            else _Cursor(now.epoch, floor)
        )
        shown = [item for item in items if not (whole and item.deleted)]
        return Changes(items=shown, cursor=str(next_cursor), more=more, reset=reset)

    async def floor(self) -> int:
        """The oldest transaction that still runs."""
        return (await self._now(self._pool)).floor

    async def changed(self, account_ids: Sequence[UUID], since: int) -> Sequence[UUID]:
        """The accounts for which something changed in a transaction from `since` on."""
        rows = await self._pool.fetch(_CHANGED, list(account_ids), str(since))
        return [row[0] for row in rows]

    async def forget(self, older_than_seconds: float, limit: int) -> int:
        """Remove at most `limit` tombstones that are older, and remember up to where: a cursor
        from before starts over. Returns how many were removed."""
        removed: int = await self._pool.fetchval(_FORGET, older_than_seconds, limit)
        return removed

    async def _now(self, connection: Connection | asyncpg.Pool) -> _Now:
        row = await connection.fetchrow(
            """
            SELECT feed_epoch, pg_snapshot_xmin(pg_current_snapshot())::text AS floor,
                tombstone_horizon::text AS horizon
            FROM installation
            """
        )
        assert row is not None
        return _Now(str(row["feed_epoch"]), int(row["floor"]), int(row["horizon"]))


async def _read(
    connection: Connection, account_id: UUID, page: Sequence[asyncpg.Record], *, brief: bool
) -> list[Change]:
    """The items of a page, in order: all of them, or as many as it may hold bytes of."""
    ids: dict[str, list[UUID]] = {}
    for row in page:
        if not row["deleted"]:
            ids.setdefault(row["kind"], []).append(row["id"])
    found: dict[tuple[str, UUID], Change] = {}
    for kind, wanted in ids.items():
        changes = await _READERS[kind](connection, account_id, wanted, brief)
        found |= {(kind, change.id): change for change in changes}
    items = [
        found.get((row["kind"], row["id"])) or Change(kind=row["kind"], id=row["id"], deleted=True)
        for row in page
    ]
    return items[: _fitting(page, found)]


def _fitting(page: Sequence[asyncpg.Record], found: Mapping[tuple[str, UUID], Change]) -> int:
    """How many rows come before the first memory that the page has no room for. Only behind one
    that was read can there be such: others that were not are not the account's to see."""
    memories = [
        place for place, row in enumerate(page) if row["kind"] == "memory" and not row["deleted"]
    ]
    read = [place for place in memories if ("memory", page[place]["id"]) in found]
    return next((place for place in memories if read and place > read[-1]), len(page))


async def _read_memories(
    connection: Connection, account_id: UUID, ids: Sequence[UUID], brief: bool
) -> list[Change]:
    """The first of these memories: as many as a page may hold."""
    if brief:
        rows = await connection.fetch(_BRIEF_MEMORIES, account_id, ids)
        return [_brief(row) for row in rows]
    rows = await connection.fetch(_MEMORIES, account_id, ids, MAX_BYTES)
    return [_whole(row) for row in rows]


async def _read_files(
    connection: Connection, account_id: UUID, ids: Sequence[UUID], _: bool
) -> list[Change]:
    files = await read_files(connection, account_id, ids)
    return [Change(kind="file", id=file.id, file=file) for file in files.values()]


async def _read_categories(
    connection: Connection, account_id: UUID, ids: Sequence[UUID], _: bool
) -> list[Change]:
    categories = await read_categories(connection, account_id, ids)
    return [Change(kind="category", id=each.id, category=each) for each in categories.values()]


async def _read_account(connection: Connection, account_id: UUID, *_: object) -> list[Change]:
    user = await read_account(connection, account_id)
    return [Change(kind="account", id=account_id, user=user)] if user else []


Reader = Callable[[Connection, UUID, Sequence[UUID], bool], Awaitable[list[Change]]]

# What the items of a kind hold: those of the ids that the account may see; the bool asks to be
# brief. One that is left out comes as deleted.
_READERS: Mapping[str, Reader] = {
    "memory": _read_memories,
    "category": _read_categories,
    "file": _read_files,
    "account": _read_account,
}


def _whole(row: asyncpg.Record) -> Change:
    if row["deleted_at"] is not None:
        return Change(kind="memory", id=row["id"], deleted=True)
    return Change(kind="memory", id=row["id"], memory=read_memory(row))


def _brief(row: asyncpg.Record) -> Change:
    if row["deleted_at"] is not None:
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
