"""Search over what an account may read: PostgreSQL finds and ranks, highlights are cut here.

The index tells how many memories have the words (`search_texts`, migration 0008), up to `MANY`.
Which of them fit best is worked out for some: the `NEWEST` that changed last, and the `STRONG` last
ones of those that have all the words in title and tags. Where more than `MANY` have the words, the
former are looked for among the account's `WINDOW` newest memories first, and are taken from there
if `ENOUGH` of these have them. So a word that is everywhere costs little more than one that is not.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from uuid import UUID

import asyncpg

from protocol.lexemes import body_of
from protocol.memories import Memory
from protocol.search import Field, Highlight, Kind, SearchPage, SearchQuery, SearchResult
from storage.highlights import FAR, Highlighter
from storage.memories import MemoryRows
from storage.postgres import reading
from storage.terms import KINDS, Query, read

NEWEST, STRONG = 300, 100
MANY, WINDOW, ENOUGH = 10_000, 600, 100
_THREAD = 2000  # messages of a memory, the newest, among which one to show is looked for
_SHOWN = 20  # of these, which are read word by word,
_PAGE_SHOWN = 200  # and of all memories on a page
_MESSAGE = 1000  # characters of a message that are read

# Weights of D (body), C (description), B (tags), A (title). What is only in messages or files'
# names has the least that there is.
_WEIGHTS = "ARRAY[0.1, 0.2, 0.5, 1.0]::real[]"
_LEAST = 0.01

_HAS = "s.vector @@ $2::text::tsquery AND s.user_id = $1 AND s.deleted_at IS NULL {within}"
_SEARCH = f"""
WITH counted AS MATERIALIZED (
    SELECT count(*) AS found FROM (
        SELECT FROM search_texts s WHERE {_HAS} LIMIT $10::int + 1) AS found
), recent AS MATERIALIZED (
    -- One by one: the index would find all the others as well.
    SELECT s.* FROM (
        SELECT memory_id FROM listings WHERE user_id = $1 AND deleted_at IS NULL
            AND (SELECT found FROM counted) > $10::int
        ORDER BY updated_at DESC LIMIT {WINDOW}
    ) AS l, LATERAL (
        SELECT s.* FROM search_texts s
        WHERE s.memory_id = l.memory_id AND s.user_id = $1 OFFSET 0
    ) AS s WHERE {_HAS}
), newest AS MATERIALIZED (
    SELECT * FROM (
        SELECT memory_id, updated_at, vector FROM recent
        WHERE (SELECT count(*) FROM recent) >= {ENOUGH}
        UNION ALL
        SELECT s.memory_id, s.updated_at, s.vector FROM search_texts s
        WHERE {_HAS} AND (SELECT count(*) FROM recent) < {ENOUGH}
    ) AS either ORDER BY updated_at DESC LIMIT {NEWEST}
), strong AS MATERIALIZED (
    SELECT s.memory_id, s.updated_at, s.vector FROM search_texts s
    WHERE {_HAS.replace("$2", "$3")} AND (SELECT found FROM counted) > least({NEWEST}, $10::int)
    ORDER BY s.updated_at DESC LIMIT {STRONG}
), candidates AS (
    SELECT * FROM newest UNION ALL
    SELECT * FROM strong WHERE memory_id NOT IN (SELECT memory_id FROM newest)
), ranked AS MATERIALIZED (
    SELECT c.*, round(({_LEAST} + coalesce(
            ts_rank({_WEIGHTS}, vector, $4::text::tsquery), 0))::numeric, 3)::float8 AS score
    FROM candidates c WHERE $7::text IS NULL OR vector @@ $7::text::tsquery
), page AS MATERIALIZED (
    SELECT * FROM ranked ORDER BY score DESC, updated_at DESC, memory_id LIMIT $8 OFFSET $9
)
SELECT n.*, p.memory_id, p.score, p.vector @@ $5::text::tsquery AS in_messages,
    p.vector @@ $6::text::tsquery AS in_files
FROM (SELECT (SELECT found FROM counted) AS found, (SELECT count(*) FROM ranked) AS ranked) AS n
    LEFT JOIN page p ON true
ORDER BY p.score DESC, p.updated_at DESC, p.memory_id
"""
_CATEGORY = "AND s.category_id = $11"

# Those that plainly have one of the words come first; accents may hide that from PostgreSQL.
_MESSAGES = f"""
SELECT m.id AS memory_id, g.id, g.content FROM unnest($1::uuid[]) AS m (id), LATERAL (
    SELECT id, left(content, {_MESSAGE}) AS content FROM (
        SELECT id, content, created_at FROM messages
        WHERE memory_id = m.id AND deleted_at IS NULL
        ORDER BY created_at DESC LIMIT {_THREAD}
    ) AS newest ORDER BY content ILIKE ANY ($2::text[]) DESC, created_at DESC LIMIT $3
) AS g
"""
_FILES = """
SELECT m.id AS memory_id, f.id, f.filename AS content FROM unnest($1::uuid[]) AS m (id), LATERAL (
    SELECT id, filename FROM files WHERE memory_id = m.id
    ORDER BY filename ILIKE ANY ($2::text[]) DESC, created_at DESC LIMIT $3
) AS f
"""

# Texts of a memory that were found, newest first: their ids and what they say.
_Texts = Mapping[UUID, Sequence[tuple[UUID, str]]]


class SearchRows:
    """Finds memories by their words. `memories` reads those of a page; up to `many` that are found
    are counted."""

    def __init__(self, pool: asyncpg.Pool, memories: MemoryRows, *, many: int = MANY) -> None:
        self._pool = pool
        self._memories = memories
        self._many = many

    async def query(self, account_id: UUID, request: SearchQuery) -> SearchPage:
        """The page of results that is asked for.

        Raises:
            MemoError: `invalid_request` naming `query`, when there is no word to look for.
        """
        started = time.perf_counter()
        kinds: Sequence[Kind] = tuple(request.types) or tuple(KINDS)
        query = read(request.query, account_id, kinds=kinds)
        rows = await self._rows(account_id, query, request)
        found, ranked = rows[0]["found"], rows[0]["ranked"]
        hits = [row for row in rows if row["memory_id"] is not None]
        memories = await self._memories.several([row["memory_id"] for row in hits], account_id)
        patterns = [f"%{part.word}%" for part in query.parts]
        aside: dict[Field, _Texts] = {
            "messages": await self._texts(_MESSAGES, hits, "in_messages", patterns),
            "files": await self._texts(_FILES, hits, "in_files", patterns),
        }
        highlighter = Highlighter(query.parts, len(memories))
        cut = [memory.id for memory in memories.values() if memory.is_cut]
        bodies = await self._memories.beginnings(cut, FAR // max(len(memories), 1))
        results = []
        for row in hits:
            # A memory may have gone since.
            memory = memories.get(row["memory_id"])
            if memory is not None:
                body = bodies.get(memory.id)
                results.append(_result(highlighter, kinds, (memory, body, row["score"]), aside))
                await asyncio.sleep(0)  # long texts take a while: others have their turn
        complete = query.ordered() is None
        return SearchPage(
            results=results,
            total=min(found, self._many) if complete else ranked,
            total_is_lower_bound=found > (self._many if complete else NEWEST),
            more=request.offset + len(hits) < ranked,
            took=round((time.perf_counter() - started) * 1000, 1),
        )

    async def _rows(
        self, account_id: UUID, query: Query, request: SearchQuery
    ) -> Sequence[asyncpg.Record]:
        category = [] if request.category_id is None else [request.category_id]
        async with reading(self._pool) as connection:
            return await connection.fetch(
                _SEARCH.format(within=_CATEGORY if category else ""),
                account_id,
                query.found(request.tags),
                query.strong(request.tags),
                query.any_of("memory"),
                query.any_of("message"),
                query.any_of("file"),
                query.ordered(),
                request.limit,
                request.offset,
                self._many,
                *category,
            )

    async def _texts(
        self, statement: str, hits: Sequence[asyncpg.Record], where: str, patterns: Sequence[str]
    ) -> _Texts:
        texts: dict[UUID, list[tuple[UUID, str]]] = defaultdict(list)
        if ids := [row["memory_id"] for row in hits if row[where]]:
            shown = min(_SHOWN, _PAGE_SHOWN // len(ids))
            for row in await self._pool.fetch(statement, ids, patterns, shown):
                texts[row["memory_id"]].append((row["id"], row["content"]))
        return texts


def _result(
    highlighter: Highlighter,
    kinds: Sequence[Kind],
    found: tuple[Memory, str | None, float],
    aside: Mapping[Field, _Texts],
) -> SearchResult:
    """What is shown of a memory that was `found`, with its body, where the memory is cut, and its
    score."""
    memory, body, score = found
    highlights: list[Highlight | None] = []
    if "memory" in kinds:
        highlights.append(highlighter.cut("title", memory.title or ""))
        highlights.append(highlighter.cut("description", memory.description or ""))
        highlights.append(
            highlighter.cut("content", body_of(memory.content) if body is None else body)
        )
        highlights += (highlighter.cut("tags", tag) for tag in memory.tags)
    ids: dict[Field, UUID] = {}
    for field, texts in aside.items():
        best = max(
            texts.get(memory.id, ()), key=lambda each: highlighter.weight(each[1]), default=None
        )
        if best and (highlight := highlighter.cut(field, best[1])):
            highlights.append(highlight)
            ids[field] = best[0]
    return SearchResult(
        memory=memory,
        score=score,
        highlights=[highlight for highlight in highlights if highlight],
        message_id=ids.get("messages"),
        file_id=ids.get("files"),
    )
