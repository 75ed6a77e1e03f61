"""The connection that is kept for commits: what happens to it costs no later commit anything."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import asyncpg
import pytest

from protocol.errors import ErrorCode, MemoError
from protocol.log import Author, Entry, Outcome
from storage.commit import STATEMENT, Batch, CommitConnection
from storage.memories import MemoryRows
from storage.postgres import connect
from storage.updates import UpdateLog
from tests.rows import add_memory, add_person

SECONDS = 30.0
LOCK = 7  # what a commit waits for in the tests that stall one


@pytest.fixture
async def commits(database: str) -> AsyncIterator[asyncpg.Pool]:
    """A pool of two: the kept connection, and one beside it."""
    async with asyncio.timeout(SECONDS):
        pool = await connect(database, min_size=1, max_size=2)
        yield pool
        await pool.close()  # does not end before every connection is given back


@pytest.fixture
async def kept(commits: asyncpg.Pool) -> AsyncIterator[CommitConnection]:
    async with CommitConnection(commits) as kept:
        yield kept


@pytest.fixture
async def log(pool: asyncpg.Pool, commits: asyncpg.Pool, kept: CommitConnection) -> UpdateLog:
    return UpdateLog(pool, MemoryRows(pool), commits, kept)


@pytest.fixture
async def ada(pool: asyncpg.Pool) -> Author:
    return await add_person(pool)


@pytest.fixture
async def stall(pool: asyncpg.Pool) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """Commits of the payload `stall` wait until the test ends; the call gives the process of one
    that waits."""
    await pool.execute(
        f"""
        CREATE FUNCTION stall() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.payload = 'stall' THEN PERFORM pg_advisory_xact_lock({LOCK}); END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER stall BEFORE INSERT ON document_updates
            FOR EACH ROW EXECUTE FUNCTION stall();
        """
    )

    async def waiting() -> int:
        async with asyncio.timeout(SECONDS):
            while True:
                process: int | None = await pool.fetchval(
                    """
                    SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                        AND database = (SELECT oid FROM pg_database
                            WHERE datname = current_database())
                    """
                )
                if process is not None:
                    return process

    async with pool.acquire() as connection:
        await connection.execute("SELECT pg_advisory_lock($1)", LOCK)
        yield waiting
        await connection.execute("SELECT pg_advisory_unlock($1)", LOCK)


async def writers(pool: asyncpg.Pool) -> list[int]:
    """The processes that wrote to the log, in the order of the updates."""
    return [row[0] for row in await pool.fetch("SELECT pid FROM written_by ORDER BY number")]


@pytest.fixture
async def written_by(pool: asyncpg.Pool) -> None:
    """Have the database note which of its processes writes an update."""
    await pool.execute(
        """
        CREATE TABLE written_by (number bigserial, pid integer);
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN INSERT INTO written_by (pid) VALUES (pg_backend_pid()); RETURN NEW; END';
        CREATE TRIGGER note BEFORE INSERT ON document_updates
            FOR EACH ROW EXECUTE FUNCTION note();
        """
    )


@pytest.mark.usefixtures("written_by")
async def test_commits_one_after_the_other_go_over_one_connection_that_nobody_else_gets(
    pool: asyncpg.Pool, commits: asyncpg.Pool, log: UpdateLog, ada: Author
) -> None:
    memory = await add_memory(pool, ada)
    borrowed = []
    for _ in range(3):
        await log.commit([Entry(memory, ada, b"x")])
        borrowed.append(await commits.fetchval("SELECT pg_backend_pid()"))
    processes = await writers(pool)
    assert len(set(processes)) == 1
    assert processes[0] not in borrowed


async def test_what_commits_meanwhile_takes_another_connection(
    pool: asyncpg.Pool, log: UpdateLog, ada: Author, stall: Callable[[], Awaitable[int]]
) -> None:
    slow, other = await add_memory(pool, ada), await add_memory(pool, ada)
    stalled = asyncio.create_task(log.commit([Entry(slow, ada, b"stall")]))
    await stall()
    [beside] = await log.commit([Entry(other, ada, b"x")])
    assert beside.offset == 1
    assert not stalled.done()
    stalled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stalled


async def test_a_connection_lost_within_a_commit_is_an_outage_and_replaced_by_the_next(
    pool: asyncpg.Pool, log: UpdateLog, ada: Author, stall: Callable[[], Awaitable[int]]
) -> None:
    memory = await add_memory(pool, ada)
    stalled = asyncio.create_task(log.commit([Entry(memory, ada, b"stall")]))
    await pool.execute("SELECT pg_terminate_backend($1)", await stall())
    with pytest.raises(MemoError) as refused:
        await stalled
    assert refused.value.code is ErrorCode.UNAVAILABLE
    [done] = await log.commit([Entry(memory, ada, b"x")])
    assert done.offset == 1


@pytest.mark.usefixtures("written_by")
async def test_a_connection_lost_between_commits_costs_at_most_one_that_is_reported(
    pool: asyncpg.Pool, log: UpdateLog, ada: Author
) -> None:
    memory = await add_memory(pool, ada)
    await log.commit([Entry(memory, ada, b"x")])
    [process] = await writers(pool)
    await pool.execute("SELECT pg_terminate_backend($1, 10000)", process)
    [cut] = await asyncio.gather(log.commit([Entry(memory, ada, b"x")]), return_exceptions=True)
    lost = isinstance(cut, MemoError) and cut.code is ErrorCode.UNAVAILABLE
    [done] = await log.commit([Entry(memory, ada, b"x")])
    assert done.offset == (2 if lost else 3)
    assert process not in (await writers(pool))[1:]


async def test_a_commit_whose_caller_left_leaves_the_connection_usable(
    pool: asyncpg.Pool, log: UpdateLog, ada: Author, stall: Callable[[], Awaitable[int]]
) -> None:
    memory = await add_memory(pool, ada)
    left = asyncio.create_task(log.commit([Entry(memory, ada, b"stall")]))
    await stall()
    left.cancel()
    with pytest.raises(asyncio.CancelledError):
        await left
    async with asyncio.timeout(SECONDS):
        # Until the database has ended the statement, it still holds the document.
        while True:
            [done] = await log.commit([Entry(memory, ada, b"x")])
            if done.outcome is not Outcome.LOCKED:
                break
    assert done.offset == 1


async def test_what_the_database_refuses_is_raised_as_it_is_and_the_next_commit_lands(
    pool: asyncpg.Pool, log: UpdateLog, ada: Author
) -> None:
    await pool.execute("ALTER TABLE document_updates ADD CHECK (payload <> 'bad')")
    memory = await add_memory(pool, ada)
    with pytest.raises(asyncpg.CheckViolationError):
        await log.commit([Entry(memory, ada, b"bad")])
    [done] = await log.commit([Entry(memory, ada, b"good")])
    assert done.offset == 1


async def test_a_pool_that_has_no_connection_left_is_an_outage(
    database: str, pool: asyncpg.Pool, ada: Author, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.commit.ACQUIRE_SECONDS", 0.05)
    memory = await add_memory(pool, ada)
    async with AsyncExitStack() as stack:
        own = await connect(database, min_size=1, max_size=1)
        stack.push_async_callback(own.close)
        kept = await stack.enter_async_context(CommitConnection(own))
        log = UpdateLog(pool, MemoryRows(pool), own, kept)
        async with own.acquire():
            with pytest.raises(MemoError) as refused:
                await log.commit([Entry(memory, ada, b"x")])
            assert refused.value.code is ErrorCode.UNAVAILABLE
        [done] = await log.commit([Entry(memory, ada, b"x")])
        assert done.offset == 1


async def test_a_commit_reads_no_more_of_the_database_than_it_writes_in(
    pool: asyncpg.Pool, log: UpdateLog, ada: Author
) -> None:
    """However many memories there are: their number must not be in the price of an edit."""
    await pool.execute(
        """
        WITH made AS (
            INSERT INTO memories (id, user_id) SELECT gen_random_uuid(), $1
            FROM generate_series(1, 3000) RETURNING id
        ), owned AS (
            INSERT INTO memberships (memory_id, user_id, role) SELECT id, $1, 'owner' FROM made
        )
        INSERT INTO documents (id, owner_id) SELECT id, $1 FROM made
        """,
        ada.account_id,
    )
    memories = [await add_memory(pool, ada) for _ in range(2)]
    await pool.execute("ANALYZE")
    entries = [Entry(memory, ada, b"x", ((1, ada.account_id),)) for memory in memories]
    # What the connection has read before is in its numbers too, until it hands them on.
    counts = """
        SELECT relname, seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables
        WHERE relname IN ('documents', 'memberships', 'document_updates')
    """
    async with pool.acquire() as connection, connection.transaction():
        before = {name: number for name, number in await connection.fetch(counts)}  # noqa: C416
        rows = await connection.fetch(STATEMENT, *Batch(entries).arguments)
        assert [row["head"] for row in rows] == [0, 0]
        read = [(name, number - before[name]) for name, number in await connection.fetch(counts)]
    assert len(read) == 3
    assert max(count for _, count in read) < 50, read
