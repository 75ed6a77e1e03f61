"""The statement that commits updates, and the connection that is kept for it."""

from collections.abc import Collection, Sequence
from typing import Any, Self
from uuid import UUID

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement

from protocol.log import Committed, Entry, Outcome

STATEMENT = """
SELECT document_id, head, ordinal, outcome
FROM append_updates($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
"""

ACQUIRE_SECONDS = 10.0
_OUTCOMES = {outcome.value: outcome for outcome in Outcome}


class Batch:
    """Entries as the statement takes them, and its answer as their outcomes. `writers` are the
    documents and accounts whose right to write is to be checked: by default all."""

    __slots__ = ("_entries", "_places", "arguments")

    def __init__(
        self, entries: Sequence[Entry], writers: Collection[tuple[UUID, UUID]] | None = None
    ) -> None:
        counts: dict[UUID, int] = {}
        places = []
        for entry in entries:
            document_id = entry.document_id
            place = counts[document_id] = counts.get(document_id, 0) + 1
            places.append(place)
        if writers is None:
            writers = {(entry.document_id, entry.author.account_id): None for entry in entries}
        claims = [
            (number, client, owner)
            for number, entry in enumerate(entries, 1)
            for client, owner in entry.claims
        ]
        self._entries = entries
        self._places = places
        self.arguments: tuple[Sequence[Any], ...] = (
            list(counts),
            list(counts.values()),
            [document_id for document_id, _ in writers],
            [account_id for _, account_id in writers],
            [entry.document_id for entry in entries],
            places,
            [entry.author.account_id for entry in entries],
            [entry.author.device_id for entry in entries],
            [entry.payload for entry in entries],
            [number for number, _, _ in claims],
            [client for _, client, _ in claims],
            [owner for _, _, owner in claims],
        )

    def outcomes(self, rows: Sequence[asyncpg.Record]) -> list[Committed]:
        """What became of each entry, as the statement's rows tell."""
        heads: dict[UUID, int] = {}
        refused: dict[int, Outcome] = {}
        for document_id, head, ordinal, outcome in rows:
            if ordinal is None:
                heads[document_id] = head
            else:
                refused[ordinal] = _OUTCOMES[outcome]
        return [
            Committed(Outcome.COMMITTED, heads[entry.document_id] + place)
            if entry.document_id in heads
            else Committed(refused[number])
            for number, (entry, place) in enumerate(
                zip(self._entries, self._places, strict=True), 1
            )
        ]


class CommitConnection:
    """One of the pool's connections, kept as long as this is used (`async with`), on which the
    statement is prepared once: to borrow one and look the statement up each time costs as much
    as the commit itself. A connection that was lost is replaced at the next commit."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._connection: asyncpg.pool.PoolConnectionProxy | None = None
        self._statement: PreparedStatement[asyncpg.Record] | None = None
        self.busy = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._let_go()

    async def commit(self, batch: Batch) -> list[asyncpg.Record]:
        """The statement's rows. One commit at a time: others see that it is `busy`.

        Raises:
            Exception: as the driver has it; the next commit begins on a sound connection.
        """
        self.busy = True
        try:
            if self._statement is None or self._connection is None or self._connection.is_closed():
                await self._let_go()
                self._connection = await self._pool.acquire(timeout=ACQUIRE_SECONDS)
                self._statement = await self._connection.prepare(STATEMENT)
            return await self._statement.fetch(*batch.arguments)
        except BaseException:
            self._statement = None  # whatever it was, the next commit begins afresh
            raise
        finally:
            self.busy = False

    async def _let_go(self) -> None:
        connection, self._connection, self._statement = self._connection, None, None
        if connection is not None:
            await self._pool.release(connection)
