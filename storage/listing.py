"""Which memories a page of `memories.list` shows, and how many there are in all.

Both are read from `listings`, a narrow row for each member's memory whose indexes have what is
filtered and sorted by, or with words or tags from `search_texts`, which has the same beside them
(migration 0008). The memories themselves are fetched for the page alone.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from protocol.errors import ErrorCode, MemoError
from protocol.memories import ListMemories
from storage.postgres import reading
from storage.terms import read, tagged

NEAR = 200  # memories from the beginning of a list
NEAR_FACTOR = 20  # times as many are passed for them: a word that fewer than that have is rare
MAX_ORDERED = 5000  # memories, the newest, in which words are looked for in their order

_SORTS = {
    "created_at": "created_at {0}",
    "updated_at": "updated_at {0}",
    "title": "title_key {0} NULLS LAST",
    "deleted_at": "deleted_at {0}",
}

_TIMES = ("created_at", "updated_at")

# The total is counted only where the page does not tell it.
_PAGE = """
WITH page AS MATERIALIZED (
    SELECT ARRAY(
        SELECT memory_id FROM listings l WHERE {where}
        ORDER BY {order} LIMIT {limit}::int OFFSET {skip}::int
    ) AS ids
)
SELECT ids, CASE
    WHEN cardinality(ids) < {limit} AND (cardinality(ids) > 0 OR {skip} = 0)
        THEN {skip} + cardinality(ids)
    ELSE (SELECT count(*) FROM listings l WHERE {where}) END AS total
FROM page
"""

# What has words or tags is read once for both.
_FOUND_PAGE = """
WITH {hits}
SELECT ARRAY(
        SELECT memory_id FROM hits ORDER BY {order} LIMIT {limit}::int OFFSET {skip}::int
    ) AS ids,
    (SELECT count(*) FROM hits) AS total
"""
_HITS = """
hits AS MATERIALIZED (
    SELECT memory_id, {key} FROM search_texts l WHERE vector @@ {found}::text::tsquery AND {where}
)
"""
# For the first pages by time, of a word that very many have: their ids are gathered while they are
# counted, those alone that are near enough to the beginning. Where they are not enough for the
# page, there are few, and it takes little to read them again.
_NEAR_PAGE = """
WITH counted AS MATERIALIZED (
    SELECT count(*) AS total, array_agg(memory_id) FILTER (WHERE {key} {nearer} coalesce((
            SELECT {key} FROM listings WHERE user_id = {account} AND deleted_at IS NULL
            ORDER BY {order} LIMIT 1 OFFSET ({limit}::int + {skip}::int) * {factor}
        ), {farthest})) AS near
    FROM search_texts l WHERE vector @@ {found}::text::tsquery AND {where}
)
SELECT total, CASE WHEN cardinality(near) >= least(total, {limit}::int + {skip}::int)
    THEN ARRAY(
        SELECT memory_id FROM listings
        WHERE memory_id = ANY ((SELECT near FROM counted)::uuid[]) AND user_id = {account}
        ORDER BY {order} LIMIT {limit}::int OFFSET {skip}::int)
    ELSE ARRAY(
        SELECT memory_id FROM search_texts l WHERE vector @@ {found}::text::tsquery AND {where}
        ORDER BY {order} LIMIT {limit}::int OFFSET {skip}::int) END AS ids
FROM counted
"""
# Where words stand is not in the index: what is looked at for it has to be bounded.
_ORDERED_HITS = f"""
newest AS MATERIALIZED (
    SELECT memory_id, {{key}}, vector FROM search_texts l
    WHERE vector @@ {{found}}::text::tsquery AND {{where}}
    ORDER BY updated_at DESC LIMIT {MAX_ORDERED}
), hits AS MATERIALIZED (
    SELECT memory_id, {{key}} FROM newest WHERE vector @@ {{ordered}}::text::tsquery
)
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

    direction = query.sort_order.upper()
    account = value(account_id)
    parts = {
        "account": account,
        "where": _where(query, account, value),
        "order": f"{_SORTS[query.sort_by].format(direction)}, memory_id {direction}",
        "limit": value(query.limit),
        "skip": value((query.page - 1) * query.limit),
    }
    text = (query.search or "").strip()
    terms = read(text, account_id, field="search") if text else None
    found = terms.found(query.tags) if terms else tagged(account_id, query.tags)
    if found is None:
        statement = _PAGE
    else:
        ordered = terms.ordered() if terms else None
        parts["key"] = _SORTS[query.sort_by].split()[0]
        parts["found"] = value(found)
        statement = _FOUND_PAGE
        if ordered is not None:
            parts["hits"] = _ORDERED_HITS.format(**parts, ordered=value(ordered))
        elif query.sort_by in _TIMES and not query.trashed and query.page * query.limit <= NEAR:
            downwards = query.sort_order == "desc"
            parts["nearer"] = ">=" if downwards else "<="
            parts["farthest"] = "'-infinity'" if downwards else "'infinity'"
            parts["factor"] = str(NEAR_FACTOR)
            statement = _NEAR_PAGE
        else:
            parts["hits"] = _HITS.format(**parts)
    async with reading(pool) as connection:
        row = await connection.fetchrow(statement.format(**parts), *values)
    assert row is not None
    return Listed(row["ids"], row["total"])


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
        if moment.tzinfo is not None:
            # Before the year 1 and after 9999 there is none in UTC.
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise _refused(field, "is not a time: write it as 2026-01-31T08:30:00Z")


def _refused(field: str, reason: str) -> MemoError:
    return MemoError(ErrorCode.INVALID_REQUEST, f"`{field}` {reason}", details={field: reason})
