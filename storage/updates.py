"""The log of updates in PostgreSQL: commit, read, snapshot, trim."""

from collections.abc import Mapping, Sequence
from uuid import UUID

import asyncpg
import msgspec

from protocol.log import (
    BASE,
    COMMENTERS,
    Authorship,
    Committed,
    Entry,
    Outcome,
    Row,
    Snapshot,
    Standing,
)
from protocol.memories import Role
from storage import outage
from storage.commit import STATEMENT, Batch, CommitConnection
from storage.memories import MemoryRows
from storage.postgres import Connection

LEAST_PAYLOAD = 8  # bytes of an update that brings something

_STANDING = """
SELECT d.epoch, d.head, d.projected_offset, d.deleted_at IS NOT NULL AS deleted,
    coalesce(s.log_offset, 0) AS snapshot_offset, coalesce(length(s.payload), 0) AS snapshot_bytes,
    s.state,
    ARRAY(SELECT payload FROM document_updates u
        WHERE u.document_id = d.id AND u.log_offset > coalesce(s.log_offset, 0)
        ORDER BY u.log_offset) AS tail,
    ARRAY(SELECT client FROM document_clients c WHERE c.document_id = d.id ORDER BY client)
        AS clients,
    ARRAY(SELECT account_id FROM document_clients c WHERE c.document_id = d.id ORDER BY client)
        AS owners,
    ARRAY(SELECT client FROM document_reservations r WHERE r.document_id = d.id) AS reserved
FROM documents d LEFT JOIN document_snapshots s ON s.document_id = d.id WHERE d.id = $1
"""

RESERVED_SECONDS = 30 * 86400.0  # that a device may stay away with edits under an unused id

# One client id a statement: what claims several at once may hold them in another order.
_RESERVE = """
WITH used AS (
    DELETE FROM document_reservations WHERE document_id = $1 AND client = ANY ($4)
), old AS (
    DELETE FROM document_reservations
    WHERE document_id = $1 AND client <> ALL ($4)
        AND reserved_at < now() - make_interval(secs => $5)
    RETURNING client
), freed AS (
    DELETE FROM document_clients c USING old WHERE c.document_id = $1 AND c.client = old.client
), shared AS (
    SELECT FROM memberships m JOIN documents d ON d.id = m.memory_id
    WHERE m.memory_id = $1 AND m.user_id <> $3 AND m.role IN ('owner', 'editor')
        AND d.deleted_at IS NULL
    LIMIT 1
), claimed AS (
    INSERT INTO document_clients (document_id, client, account_id)
    SELECT $1, $2, $3 FROM shared ON CONFLICT DO NOTHING RETURNING client
), kept AS (
    INSERT INTO document_reservations (document_id, client)
    SELECT $1, client FROM claimed ON CONFLICT DO NOTHING
)
SELECT EXISTS (SELECT FROM shared)
"""

# The memory itself is looked at only for who is no member.
_ROLE = """
SELECT coalesce(
    (SELECT role FROM memberships WHERE memory_id = $1 AND user_id = $2),
    (SELECT 'viewer' FROM memories WHERE id = $1 AND privacy_level = 'public'))
"""
_ROLES = """
SELECT coalesce(
    (SELECT role FROM memberships WHERE memory_id = p.document_id AND user_id = p.account_id),
    (SELECT 'viewer' FROM memories WHERE id = p.document_id AND privacy_level = 'public'))
FROM unnest($1::uuid[], $2::uuid[]) WITH ORDINALITY AS p (document_id, account_id, place)
ORDER BY p.place
"""

# The running total is taken before the row itself, so the first row always comes.
_READ = """
SELECT log_offset, payload FROM (
    SELECT log_offset, payload,
        sum(length(payload)) OVER (ORDER BY log_offset) - length(payload) AS before
    FROM (
        SELECT log_offset, payload FROM document_updates
        WHERE document_id = $1 AND log_offset > $2 AND ($3::bigint IS NULL OR log_offset <= $3)
        ORDER BY log_offset LIMIT 10000
    ) AS next
) AS weighed WHERE before < $4 ORDER BY log_offset
"""

# The cheaper way to bring a reader to the head: the rows it misses, if they all are still there
# and weigh no more than the snapshot. They are not weighed where their number tells.
_CONTENT = f"""
WITH s AS (
    SELECT log_offset, payload, state FROM document_snapshots
    WHERE document_id = $1 AND log_offset > $2
), choice AS (
    SELECT EXISTS (SELECT FROM s) AND CASE
        WHEN (SELECT (log_offset - $2) * {LEAST_PAYLOAD} > length(payload) FROM s) THEN true
        WHEN NOT EXISTS (
            SELECT FROM document_updates WHERE document_id = $1 AND log_offset = $2 + 1
        ) THEN true
        ELSE (SELECT length(payload) FROM s) < (
            SELECT sum(length(payload)) FROM document_updates
            WHERE document_id = $1 AND log_offset > $2
                AND log_offset <= (SELECT log_offset FROM s))
        END AS whole
), start AS (
    SELECT CASE WHEN whole THEN (SELECT log_offset FROM s) ELSE $2 END AS log_offset FROM choice
)
SELECT NULL::bigint AS log_offset, NULL::bytea AS payload, s.log_offset AS snapshot_offset,
    s.payload AS snapshot, s.state
FROM s, choice WHERE choice.whole
UNION ALL (
    SELECT u.log_offset, u.payload, NULL, NULL, NULL
    FROM document_updates u, start
    WHERE u.document_id = $1 AND u.log_offset > start.log_offset ORDER BY u.log_offset)
"""


_COMMENTING_ROLES = sorted(COMMENTERS)
_COMMENTERS = """
SELECT m.memory_id, m.user_id
FROM unnest($1::uuid[], $2::uuid[]) AS c (memory_id, user_id) JOIN memberships m
    ON m.memory_id = c.memory_id AND m.user_id = c.user_id
WHERE m.role = ANY ($3)
"""

# Times need not ascend with the offsets: nothing behind a row that stays may go.
_TRIMMABLE = """
SELECT log_offset, payload, account_id, device_id, written_at FROM (
    SELECT *, sum(length(payload)) OVER (ORDER BY log_offset) - length(payload) AS before
    FROM (
        SELECT u.log_offset, u.payload, u.account_id, u.device_id, u.written_at
        FROM document_updates u JOIN document_snapshots s USING (document_id)
        WHERE u.document_id = $1 AND u.log_offset <= s.log_offset
            AND u.log_offset < coalesce((
                SELECT min(log_offset) FROM document_updates
                WHERE document_id = $1 AND written_at >= now() - make_interval(secs => $2)
            ), s.log_offset + 1)
        ORDER BY u.log_offset LIMIT 2000
    ) AS next
) AS weighed WHERE before < $3 ORDER BY log_offset
"""

TRIM_BYTES = 8 << 20  # of payloads read at once to be trimmed; a single row may be larger
ROW_BYTES = 80  # that a row takes beside its payload, its index included


class UpdateLog:
    """The log of every document. `memories` writes rows that go with an update; `commits` is the
    pool that commits are made on, if not the one that serves everything else, and `kept` the
    connection for those that come one after the other."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        memories: MemoryRows,
        commits: asyncpg.Pool | None = None,
        kept: CommitConnection | None = None,
    ) -> None:
        self._pool = pool
        self._memories = memories
        self._commits = commits or pool
        self._kept = kept

    async def standing(self, document_id: UUID) -> Standing | None:
        with outage.reported():
            row = await self._pool.fetchrow(_STANDING, document_id)
        if row is None:
            return None
        return Standing(
            epoch=str(row["epoch"]),
            head=row["head"],
            projected_offset=row["projected_offset"],
            deleted=row["deleted"],
            snapshot_offset=row["snapshot_offset"],
            snapshot_bytes=row["snapshot_bytes"],
            state=row["state"],
            tail=row["tail"],
            clients=dict(zip(row["clients"], row["owners"], strict=True)),
            reserved=row["reserved"],
        )

    async def reserve(
        self, document_id: UUID, clients: Mapping[int, UUID], used: Sequence[int]
    ) -> bool:
        with outage.reported():
            for client, account_id in clients.items():
                shared: bool = await self._pool.fetchval(
                    _RESERVE, document_id, client, account_id, used, RESERVED_SECONDS
                )
                if not shared:
                    return False
        return True

    async def head(self, document_id: UUID) -> int:
        with outage.reported():
            head: int | None = await self._pool.fetchval(
                "SELECT head FROM documents WHERE id = $1", document_id
            )
        return head or 0

    async def heads(self, document_ids: Sequence[UUID]) -> dict[UUID, int]:
        with outage.reported():
            rows = await self._pool.fetch(
                "SELECT id, head FROM documents WHERE id = ANY ($1) AND deleted_at IS NULL",
                list(document_ids),
            )
        return {row[0]: row[1] for row in rows}

    async def role(self, document_id: UUID, account_id: UUID) -> Role | None:
        with outage.reported():
            role: Role | None = await self._pool.fetchval(_ROLE, document_id, account_id)
        return role

    async def roles(self, pairs: Sequence[tuple[UUID, UUID]]) -> list[Role | None]:
        documents, accounts = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        with outage.reported():
            rows = await self._pool.fetch(_ROLES, documents, accounts)
        return [row[0] for row in rows]

    async def read(
        self, document_id: UUID, after: int, up_to: int | None = None, max_bytes: int = 1 << 20
    ) -> list[tuple[int, bytes]]:
        with outage.reported():
            rows = await self._pool.fetch(_READ, document_id, after, up_to, max_bytes)
        return [(row[0], row[1]) for row in rows]

    async def content(
        self, document_id: UUID, after: int
    ) -> tuple[Snapshot | None, list[tuple[int, bytes]]]:
        with outage.reported():
            rows = await self._pool.fetch(_CONTENT, document_id, after)
        snapshot = None
        if rows and rows[0]["log_offset"] is None:
            first = rows.pop(0)
            snapshot = Snapshot(first["snapshot_offset"], first["snapshot"], first["state"])
        return snapshot, [(row["log_offset"], row["payload"]) for row in rows]

    async def commit(self, entries: Sequence[Entry]) -> list[Committed]:
        with outage.reported():
            if any(entry.projection is not None for entry in entries):
                return await self._commit_with_rows(entries)
            batch = Batch(entries)
            if self._kept is None or self._kept.busy:
                return batch.outcomes(await self._commits.fetch(STATEMENT, *batch.arguments))
            return batch.outcomes(await self._kept.commit(batch))

    async def _commit_with_rows(self, entries: Sequence[Entry]) -> list[Committed]:
        async with self._commits.acquire() as connection, connection.transaction():
            outcomes = await self._append(connection, entries)
            for entry, outcome in zip(entries, outcomes, strict=True):
                projection = entry.projection
                if projection and outcome.offset == entry.base + 1:
                    if projection.known == BASE:
                        projection = msgspec.structs.replace(projection, known=entry.base)
                    await self._memories.write(
                        connection, entry.document_id, projection, outcome.offset
                    )
        return outcomes

    async def _append(self, connection: Connection, entries: Sequence[Entry]) -> list[Committed]:
        """Append in the transaction of rows. The statement knows the right to write alone: the
        right to comment is checked in front of it. What has it not stands in its document's way as
        any refused update does."""
        refused = {(e.document_id, e.author.account_id) for e in entries if e.author.commenting}
        if refused:
            documents, accounts = zip(*refused, strict=True)
            rows = await connection.fetch(_COMMENTERS, documents, accounts, _COMMENTING_ROLES)
            refused.difference_update((row[0], row[1]) for row in rows)
        closed = {document_id for document_id, _ in refused}
        rest = [entry for entry in entries if entry.document_id not in closed]
        writers = {(e.document_id, e.author.account_id) for e in rest if not e.author.commenting}
        batch = Batch(rest, writers)
        appended = iter(batch.outcomes(await connection.fetch(STATEMENT, *batch.arguments)))
        outcomes: list[Committed] = []
        for entry in entries:
            author = entry.author
            if entry.document_id in closed:
                own = author.commenting and (entry.document_id, author.account_id) in refused
                outcome = Committed(Outcome.FORBIDDEN if own else Outcome.AGAIN)
            else:
                outcome = next(appended)
                if author.commenting and outcome.outcome is Outcome.FORBIDDEN:
                    # It is another's right to write that has ended.
                    outcome = Committed(Outcome.AGAIN)
            outcomes.append(outcome)
        return outcomes

    async def save_snapshot(self, document_id: UUID, snapshot: Snapshot) -> bool:
        # The lock: a document that is being purged must not leave a snapshot behind.
        status = await self._pool.execute(
            """
            INSERT INTO document_snapshots (document_id, log_offset, payload, state)
            SELECT id, $2, $3, $4 FROM documents WHERE id = $1 AND head >= $2 FOR KEY SHARE
            ON CONFLICT (document_id) DO UPDATE
            SET log_offset = excluded.log_offset, payload = excluded.payload,
                state = excluded.state, created_at = now()
            WHERE document_snapshots.log_offset < excluded.log_offset
            """,
            document_id,
            snapshot.offset,
            snapshot.payload,
            snapshot.state,
        )
        return bool(status.endswith(" 1"))

    async def trimmable(self, document_id: UUID, older_than_seconds: float) -> list[Row]:
        rows = await self._pool.fetch(_TRIMMABLE, document_id, older_than_seconds, TRIM_BYTES)
        return [Row(*row) for row in rows]

    async def trim(self, document_id: UUID, up_to: int, authorship: Sequence[Authorship]) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            # Rows go only behind a snapshot that is really there, by one trimmer at a time.
            snapshot_offset = await connection.fetchval(
                "SELECT log_offset FROM document_snapshots WHERE document_id = $1 FOR UPDATE",
                document_id,
            )
            if snapshot_offset is None or snapshot_offset < up_to:
                return
            await connection.executemany(
                """
                INSERT INTO document_authors (document_id, client, clock_from, clock_to,
                    account_id, device_id, written_at)
                SELECT $1, $2, greatest($3, kept.clock), $4, $5, $6, $7 FROM (
                    SELECT coalesce(max(clock_to), 0) AS clock FROM document_authors
                    WHERE document_id = $1 AND client = $2
                ) AS kept WHERE kept.clock < $4
                """,
                [
                    (
                        document_id,
                        author.client,
                        author.clock_from,
                        author.clock_to,
                        author.account_id,
                        author.device_id,
                        author.written_at,
                    )
                    for author in authorship
                ],
            )
            await connection.execute(
                "DELETE FROM document_updates WHERE document_id = $1 AND log_offset <= $2",
                document_id,
                up_to,
            )

    async def overgrown(self, older_than_seconds: float, limit: int) -> list[UUID]:
        rows = await self._pool.fetch(
            """
            SELECT s.document_id FROM document_snapshots s
            WHERE EXISTS (
                SELECT FROM document_updates u
                WHERE u.document_id = s.document_id AND u.log_offset <= s.log_offset
                    AND u.written_at < now() - make_interval(secs => $1)
            ) LIMIT $2
            """,
            older_than_seconds,
            limit,
        )
        return [row[0] for row in rows]

    async def unfolded(
        self, older_than_seconds: float, limit: int, *, least: int, share: float
    ) -> list[UUID]:
        rows = await self._pool.fetch(
            """
            SELECT d.id FROM documents d
                LEFT JOIN document_snapshots s ON s.document_id = d.id,
                LATERAL (
                    SELECT sum(length(u.payload)) + count(*) * $4::int AS weight
                    FROM document_updates u
                    WHERE u.document_id = d.id AND u.log_offset > coalesce(s.log_offset, 0)
                        AND u.written_at < now() - make_interval(secs => $1)
                ) AS tail
            WHERE d.head > coalesce(s.log_offset, 0) AND d.deleted_at IS NULL
                AND tail.weight > greatest($3::float8, $5::float8 * coalesce(length(s.payload), 0))
            LIMIT $2
            """,
            older_than_seconds,
            limit,
            least,
            ROW_BYTES,
            share,
        )
        return [row[0] for row in rows]
