"""Which memories a page of `memories.list` shows, and how many there are in all.

Both are read from `listings`: a narrow row for each member's memory, whose indexes have what is
filtered and sorted by (migration 0008). The memories themselves are fetched for the page alone.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from protocol.errors import ErrorCode, MemoError
from protocol.memories import ListMemories
from storage.terms import read, tagged

MAX_ORDERED = 5000  # memories, the newest, in which words are looked for in their order

_SORTS = {
    "created_at": "l.created_at",
    "updated_at": "l.updated_at",
    "title": "l.title_key",
    "deleted_at": "l.deleted_at",
}

# The total is counted only where the page does not tell it.
_PAGE = """
WITH {hits} page AS MATERIALIZED (
    SELECT ARRAY(
        SELECT l.memory_id FROM listings l WHERE {where}
        ORDER BY {sort} {direction} NULLS LAST, l.memory_id {direction} LIMIT {limit} OFFSET {skip}
    ) AS ids
)
SELECT ids, CASE
    WHEN cardinality(ids) < {limit} AND (cardinality(ids) > 0 OR {skip} = 0)
        THEN {skip} + cardinality(ids)
    ELSE (SELECT count(*) FROM listings l WHERE {where}) END AS total
FROM page
"""

_HITS = """
hits AS MATERIALIZED (
    SELECT s.memory_id FROM search_texts s
    WHERE s.vector @@ {found}::tsquery AND s.user_id = {account} AND s.hidden = {trashed}
),
"""
# Where words stand is not in the index: what is looked at for it has to be bounded.
_ORDERED_HITS = f"""
newest AS MATERIALIZED (
    SELECT s.memory_id, s.vector FROM search_texts s
    WHERE s.vector @@ {{found}}::tsquery AND s.user_id = {{account}} AND s.hidden = {{trashed}}
    ORDER BY s.written_at DESC LIMIT {MAX_ORDERED}
), hits AS MATERIALIZED (
    SELECT memory_id FROM newest WHERE vector @@ {{ordered}}::tsquery
),
"""


class Listed(NamedTuple):
    """The ids of a page, in its order, and the number of memories on all pages."""

    ids: Sequence[UUID]
    total: int


async def list_page(pool: asyncpg.Pool, account_id: UUID, query: ListMemories) -> Listed:
    """The page that `query` asks for. Equal sort keys are ordered by id, so that pages do not
    overlap.

    Raises:
        MemoError: `invalid_request`, naming a field that cannot be used.
    """
    if query.sort_by == "deleted_at" and not query.trashed:
        raise _refused("sortBy", "`deleted_at` sorts the trash only: set `trashed`")
    if query.uncategorized and query.category_id is not None:
        raise _refused("uncategorized", "cannot go together with `categoryId`")
    values: list[Any] = []

    def value(given: Any) -> str:
        values.append(given)
        return f"${len(values)}"

    account = value(account_id)
    hits = _hits(account_id, query, account, value)
    where = _where(query, account, value)
    if hits:
        where += " AND l.memory_id IN (SELECT memory_id FROM hits)"
    limit = value(query.limit)
    row = await pool.fetchrow(
        _PAGE.format(
            hits=hits,
            where=where,
            sort=_SORTS[query.sort_by],
            direction=query.sort_order.upper(),
            limit=f"{limit}::int",
            skip=f"{value((query.page - 1) * query.limit)}::int",
        ),
        *values,
    )
    assert row is not None
    return Listed(row["ids"], row["total"])


def _hits(account_id: UUID, query: ListMemories, account: str, value: Any) -> str:
    """The part of the statement that finds words and tags; empty without any."""
    text = (query.search or "").strip()
    read_query = read(text, account_id, field="search") if text else None
    found = read_query.found(query.tags) if read_query else tagged(account_id, query.tags)
    if found is None:
        return ""
    places = {
        "found": f"{value(found)}::text",
        "account": account,
        "trashed": "true" if query.trashed else "false",
    }
    ordered = read_query.ordered() if read_query else None
    if ordered is None:
        return _HITS.format(**places)
    return _ORDERED_HITS.format(**places, ordered=f"{value(ordered)}::text")


def _where(query: ListMemories, account: str, value: Any) -> str:
    clauses = [f"l.user_id = {account}"]
    if query.trashed:
        # What another owner has deleted is not this account's to restore.
        clauses.append("l.deleted_at IS NOT NULL")
        clauses.append(
            f"EXISTS (SELECT FROM documents d WHERE d.id = l.memory_id AND d.owner_id = {account})"
        )
    else:
        clauses.append("l.deleted_at IS NULL")
    if query.category_id is not None:
        clauses.append(f"l.category_id = {value(query.category_id)}")
    if query.uncategorized:
        clauses.append("l.category_id IS NULL")
    for name in ("is_favorite", "is_archived"):
        marked = getattr(query, name)
        if marked is not None:
            clauses.append(f"l.{name} = {value(marked)}")
    for field, moment, clause in (
        ("createdAfter", query.created_after, "l.created_at > {}"),
        ("createdBefore", query.created_before, "l.created_at < {}"),
        ("updatedAfter", query.updated_after, "l.updated_at > {}"),
        ("updatedBefore", query.updated_before, "l.updated_at < {}"),
    ):
        if moment is not None:
            clauses.append(clause.format(value(_moment(field, moment))))
    return " AND ".join(clauses)


def _moment(field: str, text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise _refused(field, "is not a time: write it as 2026-01-31T08:30:00Z")
    return moment


def _refused(field: str, reason: str) -> MemoError:
    return MemoError(ErrorCode.INVALID_REQUEST, f"`{field}` {reason}", details={field: reason})
