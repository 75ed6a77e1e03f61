"""History as rows: versions for those who may see them."""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import asyncpg

from protocol.errors import ErrorCode, MemoError, id_taken
from protocol.history import Version, VersionAuthor, VersionPerson
from protocol.log import Authorship, Row
from protocol.memories import Role
from protocol.records import timestamp
from protocol.versions import Layers
from storage.versions import LOCK, WRITTEN, WRITTEN_AT, author, check_names

MAX_LOG_BYTES = 32 << 20  # of a log that is read to tell who wrote what
_LAST = UUID(int=2**128 - 1)

_VERSIONS = """
SELECT v.id, v.log_offset, v.kind, v.name, v.title, v.excerpt, v.authors, v.size, v.changed_at,
    v.created_at, v.created_by, u.first_name, u.last_name, v.restored_id
FROM document_versions v LEFT JOIN users u ON u.id = v.created_by
"""


class HistoryRows:
    """The table document_versions, for its readers."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def role(self, memory_id: UUID, account_id: UUID) -> Role:
        """The account's role in a memory.

        Raises:
            MemoError: `not_found`, also when the account is no member; `gone` when deleted.
        """
        row = await self._pool.fetchrow(
            """
            SELECT m.role, d.deleted_at FROM memberships m JOIN documents d ON d.id = m.memory_id
            WHERE m.memory_id = $1 AND m.user_id = $2
            """,
            memory_id,
            account_id,
        )
        if row is None:
            raise MemoError(ErrorCode.NOT_FOUND, "there is no such memory, or none you may see")
        if row["deleted_at"] is not None:
            raise MemoError(ErrorCode.GONE, "this memory has been deleted")
        role: Role = row["role"]
        return role

    async def page(
        self, memory_id: UUID, before: UUID | None, limit: int
    ) -> tuple[list[Version], bool]:
        """Versions, newest first, behind the version `before`, and whether there are more.

        Raises:
            MemoError: `not_found`, when there is no version `before`.
        """
        place: tuple[Any, ...] = (2**62, None, _LAST)
        if before is not None:
            row = await self._pool.fetchrow(
                "SELECT log_offset, created_at, id FROM document_versions"
                " WHERE document_id = $1 AND id = $2",
                memory_id,
                before,
            )
            if row is None:
                raise _no_version("before")
            place = tuple(row)
        rows = await self._pool.fetch(
            f"""
            {_VERSIONS} WHERE v.document_id = $1
                AND (v.log_offset, v.created_at, v.id)
                    < ($2, coalesce($3::timestamptz, 'infinity'), $4)
            ORDER BY v.log_offset DESC, v.created_at DESC, v.id DESC LIMIT $5
            """,
            memory_id,
            *place,
            limit + 1,
        )
        return await self._read(rows[:limit]), len(rows) > limit

    async def current(self, memory_id: UUID) -> Version | None:
        """What no version holds yet; None if one holds all."""
        row = await self._pool.fetchrow(
            """
            SELECT d.head, m.title, left(coalesce(m.content->>'text', ''), 140) AS excerpt,
                coalesce((SELECT length(payload) FROM document_snapshots s
                    WHERE s.document_id = d.id), 0) + coalesce((
                        SELECT sum(length(payload)) FROM document_updates u
                        WHERE u.document_id = d.id AND u.log_offset > coalesce((
                            SELECT log_offset FROM document_snapshots s
                            WHERE s.document_id = d.id), 0)), 0)::bigint AS size
            FROM documents d JOIN memories m USING (id)
            WHERE d.id = $1 AND d.head > coalesce((
                SELECT max(log_offset) FROM document_versions v WHERE v.document_id = d.id), 0)
            """,
            memory_id,
        )
        if row is None:
            return None
        authors = [author(a) for a in await self._pool.fetch(WRITTEN, memory_id, row["head"])]
        changed_at = timestamp(await self._pool.fetchval(WRITTEN_AT, memory_id, row["head"]))
        people = await self._people(author["userId"] for author in authors)
        return Version(
            id=None,
            offset=row["head"],
            kind="current",
            name=None,
            title=row["title"],
            excerpt=row["excerpt"],
            authors=_named(authors, people),
            size=row["size"],
            changed_at=changed_at,
            created_at=changed_at,
        )

    async def get(self, memory_id: UUID, version_id: UUID) -> Version:
        """One version of the memory.

        Raises:
            MemoError: `not_found`.
        """
        rows = await self._pool.fetch(
            f"{_VERSIONS} WHERE v.document_id = $1 AND v.id = $2", memory_id, version_id
        )
        if not rows:
            raise _no_version("versionId")
        return (await self._read(rows))[0]

    async def made(self, memory_id: UUID, version_id: UUID) -> Version | None:
        """The version that a client made under this id earlier, if it did.

        Raises:
            MemoError: `conflict`, when the id is that of another memory's.
        """
        document_id = await self._pool.fetchval(
            "SELECT document_id FROM document_versions WHERE id = $1", version_id
        )
        if document_id is None:
            return None
        if document_id != memory_id:
            raise id_taken()
        return await self.get(memory_id, version_id)

    async def before(self, memory_id: UUID, offset: int) -> UUID | None:
        """The version before an offset."""
        found: UUID | None = await self._pool.fetchval(
            """
            SELECT id FROM document_versions WHERE document_id = $1 AND log_offset < $2
            ORDER BY log_offset DESC, created_at DESC, id DESC LIMIT 1
            """,
            memory_id,
            offset,
        )
        return found

    async def layers(self, memory_id: UUID, version_id: UUID) -> Layers:
        """What a version is made of.

        Raises:
            MemoError: `not_found`.
        """
        row = await self._pool.fetchrow(
            """
            SELECT b.payload, v.payload FROM document_versions v
            JOIN document_bases b ON b.id = v.base_id
            WHERE v.document_id = $1 AND v.id = $2
            """,
            memory_id,
            version_id,
        )
        if row is None:
            raise _no_version("versionId")
        return Layers(row[0], row[1])

    async def people(self, accounts: Iterable[UUID]) -> list[VersionPerson]:
        """The names of accounts that there still are."""
        rows = await self._pool.fetch(
            "SELECT id, first_name, last_name FROM users WHERE id = ANY ($1)", list(accounts)
        )
        return [VersionPerson(user_id=row[0], first_name=row[1], last_name=row[2]) for row in rows]

    async def owners(self, memory_id: UUID) -> dict[int, UUID | None]:
        """Whose each Yjs client is that wrote in the memory's document; None: the server's."""
        rows = await self._pool.fetch(
            "SELECT client, account_id FROM document_clients WHERE document_id = $1", memory_id
        )
        return {row[0]: row[1] for row in rows}

    async def authors(self, memory_id: UUID) -> dict[UUID, UUID]:
        """Who wrote each message of the memory's thread, also of those that were deleted, where
        that is known."""
        rows = await self._pool.fetch(
            "SELECT id, user_id FROM messages WHERE memory_id = $1 AND user_id IS NOT NULL",
            memory_id,
        )
        return {row[0]: row[1] for row in rows}

    async def authorship(self, memory_id: UUID) -> tuple[list[Authorship], list[Row]]:
        """Who wrote which clocks of what is trimmed, and the rows of the log that are not, as many
        of the oldest as `MAX_LOG_BYTES` allow."""
        async with (
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            kept = await connection.fetch(
                """
                SELECT client, clock_from, clock_to, account_id, device_id, written_at
                FROM document_authors WHERE document_id = $1 ORDER BY client, clock_from
                """,
                memory_id,
            )
            rows = await connection.fetch(
                """
                SELECT log_offset, payload, account_id, device_id, written_at FROM (
                    SELECT *, sum(length(payload)) OVER (ORDER BY log_offset) AS bytes
                    FROM document_updates WHERE document_id = $1
                ) AS weighed WHERE bytes <= $2 ORDER BY log_offset
                """,
                memory_id,
                MAX_LOG_BYTES,
            )
        return [Authorship(*row) for row in kept], [Row(*row) for row in rows]

    async def rename(self, memory_id: UUID, version_id: UUID, name: str | None) -> Version:
        """Give a version a name, or take it away.

        Raises:
            MemoError: `not_found`; `too_large`, when too many have names.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(LOCK, memory_id)
            had = await connection.fetchrow(
                "SELECT name FROM document_versions WHERE document_id = $1 AND id = $2",
                memory_id,
                version_id,
            )
            if had is None:
                raise _no_version("versionId")
            if name is not None and had["name"] is None:
                await check_names(connection, memory_id)
            await connection.execute(
                "UPDATE document_versions SET name = $2, review_at = now() WHERE id = $1",
                version_id,
                name,
            )
        return await self.get(memory_id, version_id)

    async def restored(self, version_id: UUID, restored_id: UUID) -> None:
        """What the version was made before is done: that one was restored."""
        await self._pool.execute(
            "UPDATE document_versions SET restored_id = $2 WHERE id = $1", version_id, restored_id
        )

    async def _read(self, rows: Sequence[asyncpg.Record]) -> list[Version]:
        people = await self._people(author["userId"] for row in rows for author in row["authors"])
        return [
            Version(
                id=row["id"],
                offset=row["log_offset"],
                kind=row["kind"],
                name=row["name"],
                title=row["title"],
                excerpt=row["excerpt"],
                authors=_named(row["authors"], people),
                size=row["size"],
                changed_at=timestamp(row["changed_at"]),
                created_at=timestamp(row["created_at"]),
                created_by=VersionPerson(
                    user_id=row["created_by"],
                    first_name=row["first_name"],
                    last_name=row["last_name"],
                )
                if row["created_by"]
                else None,
                restored_id=row["restored_id"],
            )
            for row in rows
        ]

    async def _people(self, accounts: Iterable[str]) -> dict[str, VersionPerson]:
        people = await self.people({UUID(account_id) for account_id in accounts})
        return {str(person.user_id): person for person in people}


def _no_version(field: str) -> MemoError:
    return MemoError(
        ErrorCode.NOT_FOUND,
        "this memory has no such version, or has it no more",
        details={field: "is not a version of this memory"},
    )


def _named(
    authors: Sequence[dict[str, Any]], people: dict[str, VersionPerson]
) -> list[VersionAuthor]:
    return [
        VersionAuthor(
            user_id=UUID(author["userId"]),
            first_name=person.first_name if person else None,
            last_name=person.last_name if person else None,
            devices=author["devices"],
            changes=author["changes"],
        )
        for author in authors
        for person in (people.get(author["userId"]),)
    ]
