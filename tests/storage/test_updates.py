"""The log in PostgreSQL: what its locks, its transactions and its outages do to a commit."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import UUID

import asyncpg
import pytest

from protocol.errors import ErrorCode, MemoError
from protocol.log import Author, Entry, Outcome, Projection, Snapshot
from storage import updates as module
from storage.memories import MemoryRows
from storage.postgres import connect
from storage.updates import UpdateLog
from tests.rows import add_memory, add_person


@pytest.fixture
def log(pool: asyncpg.Pool) -> UpdateLog:
    return UpdateLog(pool, MemoryRows(pool))


@pytest.fixture
async def ada(pool: asyncpg.Pool) -> Author:
    return await add_person(pool)


@asynccontextmanager
async def held(pool: asyncpg.Pool, memory_id: UUID) -> AsyncIterator[None]:
    """Another transaction holds the document's row."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT 1 FROM documents WHERE id = $1 FOR UPDATE", memory_id)
        yield


def rows_as(title: str) -> Projection:
    return Projection(title=title, description=None, content={}, tags=[], metadata={}, messages=[])


async def test_a_held_document_delays_no_other_and_lands_after_its_release(
    pool: asyncpg.Pool, log: UpdateLog, ada: Author
) -> None:
    stuck, free = await add_memory(pool, ada), await add_memory(pool, ada)
    entries = [Entry(stuck, ada, b"1"), Entry(free, ada, b"2"), Entry(stuck, ada, b"3")]
    async with held(pool, stuck):
        outcomes = await asyncio.wait_for(log.commit(entries), 20)
        assert [(o.outcome, o.offset) for o in outcomes] == [
            (Outcome.LOCKED, None),
            (Outcome.COMMITTED, 1),
            (Outcome.LOCKED, None),
        ]
    again = await log.commit([entries[0], entries[2]])
    assert [outcome.offset for outcome in again] == [1, 2]
    assert await log.read(stuck, 0) == [(1, b"1"), (2, b"3")]


async def test_nodes_that_write_the_same_documents_leave_no_gap_and_lose_nothing(
    database: str, pool: asyncpg.Pool, ada: Author
) -> None:
    memories = [await add_memory(pool, ada) for _ in range(4)]
    acked: dict[tuple[UUID, int], bytes] = {}

    async def node(log: UpdateLog, name: int) -> None:
        # Each in an order of its own: locks taken in the order of the entries would deadlock.
        mine = memories[name:] + memories[:name]
        pending = [Entry(m, ada, b"%d.%d" % (name, n)) for n in range(15) for m in mine]
        while pending:
            batch, later = pending[:7], pending[7:]
            outcomes = await log.commit(batch)
            for entry, outcome in zip(batch, outcomes, strict=True):
                if outcome.offset is None:
                    assert outcome.outcome is Outcome.LOCKED
                    later.append(entry)
                else:
                    place = (entry.document_id, outcome.offset)
                    assert place not in acked
                    acked[place] = entry.payload
            pending = later

    async with AsyncExitStack() as stack, asyncio.timeout(60):
        logs = []
        for _ in range(4):
            own = await connect(database, min_size=1, max_size=2)
            stack.push_async_callback(own.close)
            logs.append(UpdateLog(own, MemoryRows(own)))
        await asyncio.gather(*(node(log, name) for name, log in enumerate(logs)))
        for memory in memories:
            rows = await logs[0].read(memory, 0)
            assert [offset for offset, _ in rows] == list(range(1, 61))
            assert {(memory, offset): payload for offset, payload in rows}.items() <= acked.items()
    assert len(acked) == 4 * 60


async def test_two_nodes_race_for_a_client_id_and_one_account_wins(
    database: str, pool: asyncpg.Pool, log: UpdateLog, ada: Author
) -> None:
    bob = await add_person(pool)
    memory = await add_memory(pool, ada, editor=bob)
    own = await connect(database, min_size=1, max_size=1)
    other = UpdateLog(own, MemoryRows(own))

    async def claim(log: UpdateLog, author: Author) -> Outcome:
        while True:
            [done] = await log.commit([Entry(memory, author, b"x", ((5, author.account_id),))])
            if done.outcome is not Outcome.LOCKED:
                return done.outcome

    outcomes = await asyncio.gather(claim(log, ada), claim(other, bob))
    await own.close()
    assert sorted(outcome.value for outcome in outcomes) == ["client_id_taken", "committed"]
    winner = [ada, bob][outcomes.index(Outcome.COMMITTED)]
    standing = await log.standing(memory)
    assert standing is not None
    assert standing.clients == {5: winner.account_id}
    assert standing.head == 1


async def test_two_claims_for_one_client_id_in_one_commit_give_it_to_one_account(
    pool: asyncpg.Pool, log: UpdateLog, ada: Author
) -> None:
    memory = await add_memory(pool, ada)
    claim = ((5, ada.account_id),)
    outcomes = await log.commit([Entry(memory, ada, b"x", claim), Entry(memory, ada, b"y", claim)])
    assert [outcome.offset for outcome in outcomes] == [1, 2]


async def test_what_the_database_refuses_leaves_nothing_behind(
    pool: asyncpg.Pool, log: UpdateLog, ada: Author
) -> None:
    await pool.execute("ALTER TABLE document_updates ADD CHECK (payload <> 'bad')")
    memory, other = await add_memory(pool, ada), await add_memory(pool, ada)
    with pytest.raises(asyncpg.CheckViolationError):
        await log.commit(
            [Entry(other, ada, b"x", ((1, ada.account_id),)), Entry(memory, ada, b"bad")]
        )
    standing = await log.standing(other)
    assert standing is not None
    assert (standing.head, standing.tail, standing.clients) == (0, [], {})


@pytest.mark.parametrize("device", ["nul \x00", "half a pair \ud800"])
async def test_a_value_that_cannot_be_sent_is_no_outage(
    pool: asyncpg.Pool, log: UpdateLog, ada: Author, device: str
) -> None:
    memory = await add_memory(pool, ada)
    with pytest.raises((asyncpg.DataError, asyncpg.PostgresError)):
        await log.commit([Entry(memory, Author(ada.account_id, device), b"x")])
    assert await log.head(memory) == 0


async def test_a_connection_cut_within_a_commit_is_an_outage_and_commits_nothing(
    pool: asyncpg.Pool, log: UpdateLog, ada: Author
) -> None:
    """The commit waits within its transaction, where its backend is then terminated."""
    memory = await add_memory(pool, ada)
    await pool.execute(
        """
        CREATE FUNCTION stall() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NEW; END';
        CREATE TRIGGER stall BEFORE INSERT ON document_updates
            FOR EACH ROW EXECUTE FUNCTION stall();
        """
    )
    async with pool.acquire() as connection, asyncio.timeout(30):
        await connection.execute("SELECT pg_advisory_lock(1)")
        committing = asyncio.create_task(log.commit([Entry(memory, ada, b"x")]))
        while not await connection.fetchval(
            """
            SELECT count(pg_terminate_backend(pid)) FROM pg_locks
            WHERE locktype = 'advisory' AND NOT granted
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            """
        ):
            pass
        with pytest.raises(MemoError) as refused:
            await committing
        assert refused.value.code is ErrorCode.UNAVAILABLE
        assert refused.value.code.temporary
        await connection.execute("SELECT pg_advisory_unlock(1)")
    assert await log.head(memory) == 0
    [committed] = await log.commit([Entry(memory, ada, b"x")])
    assert committed.offset == 1


async def test_a_database_that_takes_no_connection_is_an_outage_to_every_call(
    database: str, ada: Author
) -> None:
    own = await connect(database, min_size=1, max_size=1)
    log = UpdateLog(own, MemoryRows(own))
    own.terminate()
    memory = ada.account_id
    calls = [
        log.commit([Entry(memory, ada, b"x")]),
        log.standing(memory),
        log.head(memory),
        log.role(memory, ada.account_id),
        log.read(memory, 0),
        log.content(memory, 0),
    ]
    for call in calls:
        with pytest.raises(MemoError) as refused:
            await call
        assert refused.value.code is ErrorCode.UNAVAILABLE


async def test_rows_are_written_with_the_update_that_lands_right_behind_their_base(
    pool: asyncpg.Pool, log: UpdateLog, ada: Author
) -> None:
    memory = await add_memory(pool, ada)
    await log.commit([Entry(memory, ada, b"x", projection=rows_as("first"), base=0)])
    assert await pool.fetchval("SELECT title FROM memories WHERE id = $1", memory) == "first"
    await log.commit([Entry(memory, ada, b"overtakes")])
    await log.commit([Entry(memory, ada, b"y", projection=rows_as("second"), base=1)])
    assert await pool.fetchval("SELECT title FROM memories WHERE id = $1", memory) == "first"
    standing = await log.standing(memory)
    assert standing is not None
    assert (standing.head, standing.projected_offset) == (3, 1)


async def test_rows_that_cannot_be_written_take_their_update_back(
    pool: asyncpg.Pool, log: UpdateLog, ada: Author
) -> None:
    await pool.execute("ALTER TABLE memories ADD CHECK (title <> 'bad')")
    memory = await add_memory(pool, ada)
    with pytest.raises(asyncpg.CheckViolationError):
        await log.commit([Entry(memory, ada, b"x", projection=rows_as("bad"), base=0)])
    assert await log.head(memory) == 0


async def test_a_memory_without_a_device_name_is_written_to_all_the_same(
    pool: asyncpg.Pool, log: UpdateLog, ada: Author
) -> None:
    memory = await add_memory(pool, ada)
    await log.commit([Entry(memory, Author(ada.account_id), b"x")])
    await log.save_snapshot(memory, Snapshot(1, b"x", b""))
    [row] = await log.trimmable(memory, -60)
    assert (row.account_id, row.device_id, row.payload) == (ada.account_id, None, b"x")


async def test_what_is_read_to_be_trimmed_has_a_bound_but_is_at_least_one_row(
    pool: asyncpg.Pool, log: UpdateLog, ada: Author, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TRIM_BYTES", 10)
    memory = await add_memory(pool, ada)
    await log.commit([Entry(memory, ada, bytes(size)) for size in (50, 6, 6, 6)])
    await log.save_snapshot(memory, Snapshot(4, b"x", b""))
    read = []
    while rows := await log.trimmable(memory, -60):
        read.append([row.offset for row in rows])
        await log.trim(memory, rows[-1].offset, [])
    assert read == [[1], [2, 3], [4]]


async def test_a_database_that_may_only_be_read_is_an_outage(
    database: str, pool: asyncpg.Pool, ada: Author
) -> None:
    memory = await add_memory(pool, ada)
    own = await connect(database, min_size=1, max_size=1)
    log = UpdateLog(own, MemoryRows(own))
    await own.execute("SET default_transaction_read_only = on")
    with pytest.raises(MemoError) as refusal:
        await log.commit([Entry(memory, ada, b"x")])
    assert refusal.value.code is ErrorCode.UNAVAILABLE
    await own.execute("SET default_transaction_read_only = off")
    [outcome] = await log.commit([Entry(memory, ada, b"x")])
    assert outcome.offset == 1
    await own.close()
