"""The words of memories as they are stored for search, in step with their rows."""

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from protocol.lexemes import PLACE, lexemes_of_files
from protocol.log import Projection, Queued
from storage import outage

# The lexemes of one memory for one member.
_VECTOR = f"replace({{words}}, '''{PLACE}', '''' || right(ms.user_id::text, 8))::tsvector"

# First of all in such a statement: who writes rows of all members holds the document, so that two
# never have each a part of them.
HOLD = "held AS (SELECT id FROM documents WHERE id = $1 FOR NO KEY UPDATE)"

# Within a statement that has a memory's id as $1, its offset as $2 and its lexemes as {words}:
# write them for each member, with filters and sort keys as `listings` has them, unless they are the
# same or those of a later offset are there.
WRITE_WORDS = f"""
worded AS (
    SELECT words, md5(words)::uuid AS digest FROM (
        SELECT {{words}}::text || coalesce(
            (SELECT ' ' || words FROM file_words WHERE memory_id = $1), '') AS words
        FROM held
    ) AS all_words
), same AS (
    UPDATE search_texts t SET log_offset = $2 FROM worded w
    WHERE t.memory_id = $1 AND t.log_offset < $2 AND t.digest = w.digest
), indexed AS (
    INSERT INTO search_texts AS old (memory_id, user_id, created_at, updated_at, title_key,
        category_id, is_favorite, is_archived, deleted_at, log_offset, digest, vector)
    SELECT ms.memory_id, ms.user_id, ms.created_at, ms.updated_at, ms.title_key,
        ms.category_id, ms.is_favorite, ms.is_archived, ms.deleted_at, $2, w.digest,
        {_VECTOR.format(words="w.words")}
    FROM worded w, listings ms
    WHERE ms.memory_id = $1 AND w.words IS NOT NULL AND NOT EXISTS (
        SELECT FROM search_texts t
        WHERE t.memory_id = $1 AND t.user_id = ms.user_id AND t.digest = w.digest)
    ON CONFLICT (memory_id, user_id) DO UPDATE
    SET log_offset = excluded.log_offset, digest = excluded.digest, vector = excluded.vector
    WHERE old.log_offset <= excluded.log_offset
), queued AS (
    INSERT INTO search_queue (memory_id) SELECT m.id FROM memories m
    WHERE m.id = $1 AND {{words}}::text IS NULL
    ON CONFLICT (memory_id) DO UPDATE SET queued_at = clock_timestamp()
)
"""

# The same within the statement that makes the memory, whose only member is in `ms`.
CREATE_WORDS = f"""
indexed AS (
    INSERT INTO search_texts (memory_id, user_id, created_at, updated_at, title_key,
        category_id, is_favorite, is_archived, log_offset, digest, vector)
    SELECT m.id, ms.user_id, m.created_at, m.updated_at, lower(left(m.title, 100)),
        ms.category_id, ms.is_favorite, ms.is_archived, d.head, md5({{words}}::text)::uuid,
        {_VECTOR.format(words="{words}::text")}
    FROM m, ms, d
)
"""

_INDEX = f"""
WITH {HOLD}, {WRITE_WORDS.format(words="$3")}
DELETE FROM search_queue WHERE memory_id = $1 AND queued_at = $4 AND NOT EXISTS (
    SELECT FROM search_texts WHERE memory_id = $1 AND log_offset > $2)
"""


class TextRows:
    """The tables search_texts, file_words and search_queue, apart from what `MemoryRows` writes
    with its own rows."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def queued(self, after: UUID, limit: int) -> Sequence[Queued]:
        """Memories whose words are to be read again, from behind an id on.

        Raises:
            MemoError: `unavailable`.
        """
        with outage.reported():
            rows = await self._pool.fetch(
                """
                SELECT memory_id, queued_at FROM search_queue WHERE memory_id > $1
                ORDER BY memory_id LIMIT $2
                """,
                after,
                limit,
            )
        return [Queued(*row) for row in rows]

    async def waiting(self) -> int:
        """How many memories are queued.

        Raises:
            MemoError: `unavailable`.
        """
        with outage.reported():
            count: int = await self._pool.fetchval("SELECT count(*) FROM search_queue")
        return count

    async def index(self, queued: Queued, projection: Projection | None, offset: int) -> None:
        """Write the words of the document at `offset`, with those of its files' names, unless
        later ones are there: then it stays queued, for those may lack the files' names. Without a
        projection it is only taken from the queue.

        Raises:
            MemoError: `unavailable`.
        """
        with outage.reported():
            if projection is None:
                await self._pool.execute(
                    "DELETE FROM search_queue WHERE memory_id = $1 AND queued_at = $2",
                    queued.memory_id,
                    queued.queued_at,
                )
                return
            files = await self._pool.fetch(
                """
                SELECT filename FROM files WHERE memory_id = $1
                ORDER BY created_at DESC LIMIT 1000
                """,
                queued.memory_id,
            )
            words = lexemes_of_files(row[0] for row in files)
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute(
                    "SELECT FROM documents WHERE id = $1 FOR NO KEY UPDATE", queued.memory_id
                )
                await connection.execute(
                    """
                    INSERT INTO file_words (memory_id, words)
                    SELECT id, $2 FROM memories WHERE id = $1
                    ON CONFLICT (memory_id) DO UPDATE SET words = excluded.words
                    WHERE file_words.words <> excluded.words
                    """
                    if words
                    else "DELETE FROM file_words WHERE memory_id = $1 AND $2 = ''",
                    queued.memory_id,
                    words,
                )
                await connection.execute(
                    _INDEX, queued.memory_id, offset, projection.words, queued.queued_at
                )
