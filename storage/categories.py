"""Categories as rows. What changes several of an account's goes one after the other."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from protocol.categories import MAX_CATEGORIES, Category
from protocol.errors import ErrorCode, MemoError, id_taken
from protocol.records import timestamp
from storage.postgres import Connection

_COLUMNS = """
id, name, description, icon, color, is_default, sort_order, created_at, updated_at
"""
_ORDER = "sort_order, created_at, id"

# The account's own row stands for all its categories. Rows that refer to it are not held up.
_HOLD = "SELECT true FROM users WHERE id = $1 FOR NO KEY UPDATE"

_CREATE = f"""
INSERT INTO memory_categories (user_id, id, name, description, icon, color, sort_order)
SELECT $1, $2, $3, $4, $5, $6,
    coalesce($7, (SELECT coalesce(max(sort_order), 0) + 1 FROM memory_categories
        WHERE user_id = $1))
WHERE (SELECT count(*) FROM memory_categories WHERE user_id = $1) < $8
    AND NOT EXISTS (
        SELECT FROM tombstones WHERE user_id = $1 AND kind = 'category' AND record_id = $2)
ON CONFLICT (id) DO NOTHING RETURNING {_COLUMNS}
"""
_REORDER = f"""
WITH wanted AS (
    SELECT id, min(place) AS place FROM unnest($2::uuid[]) WITH ORDINALITY AS w (id, place)
    GROUP BY id
), placed AS (
    SELECT c.id, row_number() OVER (ORDER BY w.place NULLS LAST, {_ORDER}) AS place
    FROM memory_categories c LEFT JOIN wanted w USING (id) WHERE c.user_id = $1
)
UPDATE memory_categories c
SET sort_order = p.place, updated_at = now(), changed_xid = pg_current_xact_id()
FROM placed p WHERE c.id = p.id AND c.sort_order <> p.place
"""
# In one order, so that two who mark the same memories never wait for each other.
_UNCATEGORIZE = """
WITH sorted AS (
    SELECT memory_id FROM memberships WHERE user_id = $1 AND category_id = $2
    ORDER BY memory_id FOR NO KEY UPDATE
)
UPDATE memberships m SET category_id = NULL, changed_xid = pg_current_xact_id()
FROM sorted WHERE m.memory_id = sorted.memory_id AND m.user_id = $1
"""
_BURY = """
INSERT INTO tombstones (user_id, kind, record_id) VALUES ($1, 'category', $2) RETURNING created_at
"""
_BURIED = """
SELECT created_at FROM tombstones WHERE user_id = $1 AND kind = 'category' AND record_id = $2
"""


async def read_categories(
    connection: Connection, account_id: UUID, ids: Sequence[UUID]
) -> dict[UUID, Category]:
    """Those of the account's categories that have one of the `ids`."""
    rows = await connection.fetch(
        f"SELECT {_COLUMNS} FROM memory_categories WHERE user_id = $1 AND id = ANY ($2)",
        account_id,
        ids,
    )
    return {row["id"]: _read(row) for row in rows}


class CategoryRows:
    """The table memory_categories, and what is left of those that were deleted."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def list(self, account_id: UUID) -> Sequence[Category]:
        """All categories of the account, in order."""
        return await self._list(self._pool, account_id)

    async def create(
        self,
        account_id: UUID,
        category_id: UUID,
        *,
        name: str,
        description: str | None,
        icon: str | None,
        color: str | None,
        sort_order: int | None,
    ) -> Category:
        """A new category; without `sort_order` the last one. The account's own of that id is
        answered as it is.

        Raises:
            MemoError: `conflict` when the id is another account's, `gone` when the account's own
                of that id was deleted, `too_large` when there are as many as there may be.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            await self._hold(connection, account_id)
            row = await connection.fetchrow(
                _CREATE,
                account_id,
                category_id,
                name,
                description,
                icon,
                color,
                sort_order,
                MAX_CATEGORIES,
            )
            if row is not None:
                return _read(row)
            holder = await connection.fetchval(
                "SELECT user_id FROM memory_categories WHERE id = $1", category_id
            )
            if holder == account_id:
                return (await read_categories(connection, account_id, [category_id]))[category_id]
            if holder is not None:
                raise id_taken()
            if await self._buried(connection, account_id, category_id) is not None:
                raise _gone()
        raise MemoError(
            ErrorCode.TOO_LARGE,
            f"an account may have {MAX_CATEGORIES} categories; delete one first",
            details={"categories": f"are {MAX_CATEGORIES} already"},
        )

    async def update(self, account_id: UUID, category_id: UUID, fields: dict[str, Any]) -> Category:
        """Set these columns. Without any, the category is answered as it is.

        Raises:
            MemoError: `not_found`, `gone`.
        """
        settings = [f"{name} = ${n}" for n, name in enumerate(fields, 3)]
        if settings:
            settings += ["updated_at = now()", "changed_xid = pg_current_xact_id()"]
            query = f"""
                UPDATE memory_categories SET {", ".join(settings)}
                WHERE user_id = $1 AND id = $2 RETURNING {_COLUMNS}
                """
        else:
            query = f"SELECT {_COLUMNS} FROM memory_categories WHERE user_id = $1 AND id = $2"
        row = await self._pool.fetchrow(query, account_id, category_id, *fields.values())
        if row is not None:
            return _read(row)
        if await self._buried(self._pool, account_id, category_id) is not None:
            raise _gone()
        raise _not_found()

    async def reorder(self, account_id: UUID, ids: Sequence[UUID]) -> Sequence[Category]:
        """Put these first, in this order. Returns all of the account's."""
        async with self._pool.acquire() as connection, connection.transaction():
            await self._hold(connection, account_id)
            await connection.execute(_REORDER, account_id, ids)
            return await self._list(connection, account_id)

    async def delete(self, account_id: UUID, category_id: UUID) -> str:
        """Delete a category; the memories that had it have none. Returns when that was, also
        when it was before.

        Raises:
            MemoError: `not_found`.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            await self._hold(connection, account_id)
            # Before the memberships: who gives a memory this category holds it as well.
            held = await connection.fetchval(
                "SELECT true FROM memory_categories WHERE user_id = $1 AND id = $2 FOR UPDATE",
                account_id,
                category_id,
            )
            if not held:
                deleted_at = await self._buried(connection, account_id, category_id)
                if deleted_at is None:
                    raise _not_found()
                return timestamp(deleted_at)
            await connection.execute(_UNCATEGORIZE, account_id, category_id)
            await connection.execute("DELETE FROM memory_categories WHERE id = $1", category_id)
            return timestamp(await connection.fetchval(_BURY, account_id, category_id))

    async def _hold(self, connection: Connection, account_id: UUID) -> None:
        if not await connection.fetchval(_HOLD, account_id):
            raise MemoError(ErrorCode.NOT_FOUND, "the account no longer exists")

    async def _list(
        self, connection: Connection | asyncpg.Pool, account_id: UUID
    ) -> Sequence[Category]:
        rows = await connection.fetch(
            f"SELECT {_COLUMNS} FROM memory_categories WHERE user_id = $1 ORDER BY {_ORDER}",
            account_id,
        )
        return [_read(row) for row in rows]

    async def _buried(
        self, connection: Connection | asyncpg.Pool, account_id: UUID, category_id: UUID
    ) -> datetime | None:
        moment: datetime | None = await connection.fetchval(_BURIED, account_id, category_id)
        return moment


def _read(row: asyncpg.Record) -> Category:
    return Category(
        id=row["id"],
        name=row["name"],
        description=row["description"],
        icon=row["icon"],
        color=row["color"],
        is_default=row["is_default"],
        sort_order=row["sort_order"],
        created_at=timestamp(row["created_at"]),
        updated_at=timestamp(row["updated_at"]),
    )


def _gone() -> MemoError:
    return MemoError(ErrorCode.GONE, "this category has been deleted")


def _not_found() -> MemoError:
    return MemoError(
        ErrorCode.NOT_FOUND,
        "there is no such category",
        details={"id": "is not one of your categories"},
    )
