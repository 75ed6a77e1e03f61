"""Messages as rows: what documents hold, projected for lists, and how far each member has read.

A message is named by its memory and its id: ids are chosen by whoever writes, and one that somebody
else uses in another memory is another message.

A message that its document has no more leaves its row behind, emptied: its id stays taken, and
should it come back (somebody undid the deletion), it is its author's as before.
"""

from collections.abc import Sequence
from datetime import datetime
from math import ceil
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from protocol.errors import ErrorCode, MemoError
from protocol.log import Known, Message, Projection, ThreadRow
from protocol.messages import Message as ListedMessage
from protocol.messages import MessagePage, ReadMark
from protocol.records import Pagination, timestamp
from storage import outage
from storage.files import hold, queue_up
from storage.postgres import Connection

MAX_UNREAD = 100  # that are counted: more than so many are as many
_AT_ONCE = 1000  # rows of one statement

# Unread messages of the memory `m` for its member `ms`.
UNREAD = f"""
(SELECT count(*) FROM (
    SELECT FROM messages g
    WHERE g.memory_id = ms.memory_id AND g.deleted_at IS NULL
        AND g.received_at > coalesce(ms.last_read_at, '-infinity')
        AND g.user_id IS DISTINCT FROM ms.user_id
    LIMIT {MAX_UNREAD}
) AS unread)
"""

_COLUMNS = """
    id, memory_id, user_id, content, message_type, metadata, attachments, is_ai_generated,
    parent_message_id, status, created_at, updated_at, received_at, deleted_at, digest
"""

_KNOWN = """
SELECT d.projected_offset, coalesce((
    SELECT string_agg(uuid_send(g.id) || g.digest, ''::bytea) FROM messages g
    WHERE g.memory_id = d.id AND g.deleted_at IS NULL
), '') FROM documents d WHERE d.id = $1
"""

# Who wrote a message is told by the account that owns the Yjs client which began its text: that
# cannot be forged. Of what the server wrote under an id of its own it says itself who did, whatever
# name the document has. A row keeps the author and the times it began with. The document's row is
# locked, so that messages of one memory are received in the order of commits.
_WRITE = """
INSERT INTO messages AS old (id, memory_id, user_id, content, message_type, metadata, attachments,
    is_ai_generated, parent_message_id, status, digest, created_at, updated_at, received_at)
SELECT i.id, $1, (
        SELECT u.id FROM users u WHERE u.id = CASE
            WHEN c.account_id IS NOT NULL THEN c.account_id
            WHEN c.client IS NOT NULL THEN i.restored END
    ), i.content, i.message_type, i.metadata::jsonb, i.attachments::jsonb, i.is_ai_generated,
    i.parent_message_id, i.status, i.digest, t.created_at, t.created_at, t.received_at
FROM unnest($3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::boolean[],
        $9::uuid[], $10::text[], $11::bytea[], $12::timestamptz[], $13::bigint[], $14::uuid[])
    AS i (id, content, message_type, metadata, attachments, is_ai_generated,
        parent_message_id, status, digest, created_at, client, restored)
    LEFT JOIN document_clients c ON c.document_id = $1 AND c.client = i.client
    CROSS JOIN LATERAL (
        SELECT n.received_at, least(date_trunc('milliseconds', i.created_at), n.received_at)
            AS created_at
        FROM (SELECT date_trunc('milliseconds', clock_timestamp()) AS received_at) AS n
    ) AS t
ON CONFLICT (memory_id, id) DO UPDATE SET content = excluded.content,
    message_type = excluded.message_type, metadata = excluded.metadata,
    attachments = excluded.attachments, is_ai_generated = excluded.is_ai_generated,
    status = excluded.status,
    parent_message_id = excluded.parent_message_id, digest = excluded.digest,
    user_id = coalesce(old.user_id, excluded.user_id), deleted_at = NULL,
    updated_at = greatest(old.created_at, date_trunc('milliseconds', coalesce((
        SELECT written_at FROM document_updates WHERE document_id = $1 AND log_offset = $2
    ), now())))
"""

_EMPTY = """
UPDATE messages SET deleted_at = date_trunc('milliseconds', clock_timestamp()), content = '',
    metadata = NULL, attachments = NULL, digest = DEFAULT
WHERE memory_id = $1 AND deleted_at IS NULL
"""

# An author's files go with the message that the author, and nobody else, lists them in: whoever may
# write the document can put any file's id there. One that its owner took out of the memory is not
# put back by a list that still has it.
_ATTACH = """
UPDATE files f SET memory_id = $1, message_id = a.message_id, changed_xid = pg_current_xact_id()
FROM (
    SELECT DISTINCT ON (file_id) g.id AS message_id, g.user_id, file_id::uuid AS file_id
    FROM unnest($2::uuid[], $3::bigint[]) AS i (id, client)
        JOIN messages g ON g.memory_id = $1 AND g.id = i.id
        JOIN document_clients c
            ON c.document_id = $1 AND c.client = i.client AND c.account_id = g.user_id,
        jsonb_array_elements_text(g.attachments) AS file_id
    ORDER BY file_id, g.created_at, g.id
) AS a
WHERE f.id = a.file_id AND f.user_id = a.user_id AND f.message_id IS NULL
    AND (f.memory_id IS NULL OR f.memory_id = $1) AND a.message_id <> ALL (f.withdrawn_from)
"""
# The same at its author's own word.
_PUT_BACK = """
WITH put AS (
    UPDATE files f SET memory_id = $1, message_id = g.id, changed_xid = pg_current_xact_id()
    FROM messages g
    WHERE g.memory_id = $1 AND g.id = $2 AND g.user_id = $3 AND f.id = ANY ($4) AND f.user_id = $3
        AND g.attachments ? f.id::text AND f.message_id IS NULL
        AND (f.memory_id IS NULL OR f.memory_id = $1)
    RETURNING true
)
SELECT user_id FROM memberships WHERE memory_id = $1 AND EXISTS (SELECT FROM put)
"""
# Files leave with their place in the list: one that was uploaded for a message, and is not or not
# yet listed there, stays. A message that goes takes all of its files along.
_LISTED = """
SELECT array_agg(f.id) FROM files f JOIN messages g ON g.memory_id = $1 AND g.id = f.message_id
WHERE f.memory_id = $1 AND g.attachments ? f.id::text
"""
_DETACH = """
UPDATE files f SET memory_id = NULL, message_id = NULL, changed_xid = pg_current_xact_id()
WHERE f.memory_id = $1 AND (f.message_id = ANY ($3) OR f.id = ANY ($2) AND NOT EXISTS (
    SELECT FROM messages g
    WHERE g.memory_id = $1 AND g.id = f.message_id AND g.attachments ? f.id::text
))
"""


class MessageRows:
    """The table messages, and the read marks of memberships."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def list(
        self,
        memory_id: UUID,
        *,
        page: int,
        limit: int,
        before: datetime | None,
        after: datetime | None,
    ) -> MessagePage:
        """A page of a thread, its newest message last. Messages of one moment are ordered by id,
        so that pages do not overlap."""
        from_oldest = after is not None and before is None
        order = "created_at, id" if from_oldest else "created_at DESC, id DESC"
        where = """
            memory_id = $1 AND deleted_at IS NULL
            AND created_at < coalesce($2::timestamptz, 'infinity')
            AND created_at > coalesce($3::timestamptz, '-infinity')
        """
        bounds = memory_id, before, after
        rows = await self._pool.fetch(
            f"SELECT {_COLUMNS} FROM messages WHERE {where} ORDER BY {order} LIMIT $4 OFFSET $5",
            *bounds,
            limit,
            (page - 1) * limit,
        )
        total = await self._pool.fetchval(f"SELECT count(*) FROM messages WHERE {where}", *bounds)
        messages = [_read(row) for row in rows]
        return MessagePage(
            messages=messages if from_oldest else messages[::-1],
            pagination=Pagination(
                page=page, limit=limit, total=total, total_pages=ceil(total / limit)
            ),
        )

    async def find(self, memory_id: UUID, message_id: UUID) -> ThreadRow | None:
        """The row of a message of the memory; also of one that was deleted."""
        row = await self._pool.fetchrow(
            f"SELECT {_COLUMNS} FROM messages WHERE memory_id = $1 AND id = $2",
            memory_id,
            message_id,
        )
        if row is None:
            return None
        deleted_at = row["deleted_at"]
        return ThreadRow(_read(row), row["digest"], deleted_at and timestamp(deleted_at))

    async def deleted(self, memory_id: UUID) -> bool:
        """Whether the memory has been deleted."""
        return bool(
            await self._pool.fetchval(
                "SELECT deleted_at IS NOT NULL FROM documents WHERE id = $1", memory_id
            )
        )

    async def behind(self, memory_id: UUID) -> bool:
        """Whether the memory's log has what its rows do not say yet."""
        return bool(
            await self._pool.fetchval(
                "SELECT projected_offset < head FROM documents WHERE id = $1", memory_id
            )
        )

    async def known(self, memory_id: UUID) -> Known:
        """What the rows of a thread have, and for which offset of the log they stand."""
        with outage.reported():
            row = await self._pool.fetchrow(_KNOWN, memory_id)
        return Known(0, b"") if row is None else Known(row[0], row[1])

    async def check_files(
        self, account_id: UUID, memory_id: UUID, message_id: UUID, file_ids: Sequence[UUID]
    ) -> None:
        """Refuse files that the account may not attach to the message.

        Raises:
            MemoError: `not_found` when one is not the account's; `conflict` when it is with
                another message or memory.
        """
        rows = await self._pool.fetch(
            """
            SELECT id, coalesce(memory_id <> $3, false) OR coalesce(message_id <> $4, false)
            FROM files WHERE id = ANY ($1) AND user_id = $2
            """,
            list(file_ids),
            account_id,
            memory_id,
            message_id,
        )
        elsewhere = dict(map(tuple, rows))
        for file_id in file_ids:
            if file_id not in elsewhere:
                raise MemoError(
                    ErrorCode.NOT_FOUND,
                    "an attachment is none of your files; upload it first",
                    details={"attachments": f"{file_id} is not one of your files"},
                )
            if elsewhere[file_id]:
                raise MemoError(
                    ErrorCode.CONFLICT,
                    "an attachment is with another message or memory; upload it again",
                    details={"attachments": f"{file_id} is in use elsewhere"},
                )

    async def attach(
        self, account_id: UUID, memory_id: UUID, message_id: UUID, file_ids: Sequence[UUID]
    ) -> Sequence[UUID]:
        """Put files of the account's with its message, which lists them, also those that it has
        taken out before. Returns whom that concerns: nobody if they are with it already."""
        async with self._pool.acquire() as connection, connection.transaction():
            await queue_up(connection, account_id)
            await hold(connection, memory_id)
            rows = await connection.fetch(
                _PUT_BACK, memory_id, message_id, account_id, list(file_ids)
            )
        return [row[0] for row in rows]

    async def mark_read(
        self,
        memory_id: UUID,
        account_id: UUID,
        *,
        message_id: UUID | None = None,
        at: datetime | None = None,
    ) -> bool:
        """Move a member's read mark to a message, to a moment (none later than now), or behind
        all there is. It never goes back. Returns whether it moved."""
        moved = await self._pool.fetchval(
            """
            UPDATE memberships SET last_read_at = mark.at, changed_xid = pg_current_xact_id()
            FROM (
                SELECT CASE
                    WHEN $3::uuid IS NOT NULL THEN (
                        SELECT received_at FROM messages WHERE id = $3 AND memory_id = $1)
                    WHEN $4::timestamptz IS NOT NULL THEN least($4, clock_timestamp())
                    ELSE (SELECT max(received_at) FROM messages
                        WHERE memory_id = $1 AND deleted_at IS NULL)
                    END AS at
            ) AS mark
            WHERE memory_id = $1 AND user_id = $2
                AND mark.at > coalesce(last_read_at, '-infinity')
            RETURNING true
            """,
            memory_id,
            account_id,
            message_id,
            at,
        )
        return bool(moved)

    async def read_mark(self, memory_id: UUID, account_id: UUID) -> ReadMark | None:
        """How far a member has read; None if the account is none."""
        row = await self._pool.fetchrow(
            f"""
            SELECT ms.last_read_at, {UNREAD} FROM memberships ms
            WHERE ms.memory_id = $1 AND ms.user_id = $2
            """,
            memory_id,
            account_id,
        )
        if row is None:
            return None
        return ReadMark(
            memory_id=memory_id,
            last_read_at=row[0] and timestamp(row[0]),
            unread_count=row[1],
        )


async def write_messages(
    connection: Connection | asyncpg.Pool, memory_id: UUID, projection: Projection, offset: int
) -> None:
    """Bring the rows of a thread to what the projection has, in the transaction that has locked
    the document's row."""
    listed = await connection.fetchval(_LISTED, memory_id)
    if projection.known is None:
        kept = [message.id for message in projection.messages]
        gone = await connection.fetch(f"{_EMPTY} AND id <> ALL ($2) RETURNING id", memory_id, kept)
    else:
        gone = await connection.fetch(
            f"{_EMPTY} AND id = ANY ($2) RETURNING id", memory_id, projection.gone
        )
    for start in range(0, len(projection.messages), _AT_ONCE):
        messages = projection.messages[start : start + _AT_ONCE]
        await connection.execute(_WRITE, memory_id, offset, *_arrays(messages))
    if listed or gone:
        await connection.execute(_DETACH, memory_id, listed or [], [row[0] for row in gone])
    attached = [
        (message.id, message.attached_by)
        for message in projection.messages
        if message.attachments and message.attached_by is not None
    ]
    if attached:
        ids, clients = zip(*attached, strict=True)
        await connection.execute(_ATTACH, memory_id, ids, clients)


def _arrays(messages: Sequence[Message]) -> tuple[list[Any], ...]:
    return (
        [message.id for message in messages],
        [message.content for message in messages],
        [message.message_type for message in messages],
        [_json(message.metadata) for message in messages],
        [_json(message.attachments) for message in messages],
        [message.is_ai_generated for message in messages],
        [message.parent_message_id for message in messages],
        [message.status for message in messages],
        [message.digest for message in messages],
        [message.created_at for message in messages],
        [message.client for message in messages],
        [message.user_id for message in messages],
    )


def _json(value: Any) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


def _read(row: asyncpg.Record) -> ListedMessage:
    return ListedMessage(
        id=row["id"],
        memory_id=row["memory_id"],
        user_id=row["user_id"],
        content=row["content"],
        message_type=row["message_type"],
        metadata=row["metadata"],
        attachments=[UUID(file_id) for file_id in row["attachments"] or ()],
        is_ai_generated=row["is_ai_generated"],
        parent_message_id=row["parent_message_id"],
        status=row["status"],
        created_at=timestamp(row["created_at"]),
        updated_at=timestamp(row["updated_at"]),
        received_at=timestamp(row["received_at"]),
    )
