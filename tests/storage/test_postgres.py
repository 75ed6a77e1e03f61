"""The pool and the migrations, against a real PostgreSQL."""

import asyncio
import socket
from datetime import UTC, datetime
from uuid import uuid4

import asyncpg
import pytest

from storage.postgres import (
    DatabaseUnavailable,
    Migration,
    SchemaError,
    connect,
    fitting,
    known_migrations,
    migrate,
    pending_migrations,
)

FIRST = Migration("0001_first", "CREATE TABLE first ()", "aa")
SECOND = Migration("0002_second", "CREATE TABLE second ()", "bb")


@pytest.fixture
async def empty(database: str) -> str:
    """The address of a database without a schema."""
    connection = await asyncpg.connect(database)
    await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    await connection.close()
    return database


async def test_json_and_times_come_back_as_they_went(pool: asyncpg.Pool) -> None:
    value = {"text": "naïve ☕", "list": [1, 2.5, None, True], "nested": {"a": {}}}
    assert await pool.fetchval("SELECT $1::jsonb", value) == value
    # Ids and times inside of it are stored as the wire writes them.
    identity = uuid4()
    assert await pool.fetchval("SELECT $1::jsonb", {"id": identity}) == {"id": str(identity)}
    moment = datetime(2026, 1, 31, 8, 30, tzinfo=UTC)
    assert await pool.fetchval("SELECT $1::timestamptz", moment) == moment
    assert await pool.fetchval("SELECT current_setting('timezone')") == "UTC"


async def test_a_statement_past_its_time_is_ended_on_the_server_too(database: str) -> None:
    pool = await connect(database, min_size=1, max_size=1, command_timeout=0.2)
    with pytest.raises((TimeoutError, asyncpg.QueryCanceledError)):
        await pool.execute("SELECT pg_sleep(60)")
    assert await pool.fetchval("SELECT 1") == 1
    await pool.close()


async def test_a_transaction_left_open_does_not_reach_the_next_borrower(database: str) -> None:
    pool = await connect(database, min_size=1, max_size=1)
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    async with pool.acquire() as connection:
        await connection.execute("BEGIN")
        await connection.execute("CREATE TABLE half ()")
    assert await pool.fetchval("SELECT to_regclass('half')") is None
    assert len(complaints) == 1
    await pool.close()


async def test_a_database_that_refuses_us_is_one_line_without_the_password() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        port = listener.getsockname()[1]
        with pytest.raises(DatabaseUnavailable) as refusal:
            await connect(f"postgresql://me:secret@127.0.0.1:{port}/memo", wait=0.3)
    assert str(refusal.value).startswith("the database at 127.0.0.1:")
    assert "secret" not in str(refusal.value)
    assert "\n" not in str(refusal.value)


async def test_a_missing_database_is_not_waited_for(database: str) -> None:
    started = asyncio.get_running_loop().time()
    with pytest.raises(DatabaseUnavailable, match="does not exist"):
        await connect(database.replace("/test_", "/no_"), wait=60)
    assert asyncio.get_running_loop().time() - started < 30


async def test_a_database_that_is_still_starting_is_waited_for(database: str) -> None:
    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A PostgreSQL that says once that it is starting up, as the real one does."""
        await reader.read(65536)  # whatever it asks for
        fields = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0"
        writer.write(b"E" + (len(fields) + 4).to_bytes(4) + fields)
        await writer.drain()
        writer.close()
        said.set()

    said = asyncio.Event()
    server = await asyncio.start_server(forward, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    attempt = asyncio.create_task(
        connect(f"postgresql://me@127.0.0.1:{port}/memo?sslmode=disable", wait=60)
    )
    await asyncio.wait_for(said.wait(), 10)
    assert not attempt.done()
    said.clear()
    await asyncio.wait_for(said.wait(), 10)  # it asks again
    attempt.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attempt
    server.close()


async def test_migrating_an_empty_database_applies_all_once(empty: str) -> None:
    pool = await connect(empty)
    names = [migration.name for migration in known_migrations()]
    assert names[0] == "0001_core"
    assert await pending_migrations(pool) == names
    assert await migrate(pool) == names
    assert await migrate(pool) == []
    assert await pending_migrations(pool) == []
    await pool.close()


async def test_of_two_that_migrate_at_once_one_does_and_the_other_waits(empty: str) -> None:
    pools = [await connect(empty), await connect(empty)]
    applied = await asyncio.gather(*map(migrate, pools))
    assert sorted(map(len, applied)) == [0, len(known_migrations())]
    for pool in pools:
        await pool.close()


async def test_a_migration_that_fails_leaves_nothing_and_says_which(empty: str) -> None:
    pool = await connect(empty)
    await pool.execute("CREATE TABLE messages ()")  # in the way of the first
    with pytest.raises(SchemaError, match=r"0001_core failed: .*messages.* already exists"):
        await migrate(pool)
    assert await pool.fetchval("SELECT to_regclass('users')") is None
    await pool.execute("DROP TABLE messages")
    assert await migrate(pool) == [migration.name for migration in known_migrations()]
    await pool.close()


async def test_a_newer_database_and_a_changed_migration_are_refused(pool: asyncpg.Pool) -> None:
    await pool.execute("INSERT INTO schema_migrations VALUES ('9999_future', 'cc')")
    with pytest.raises(SchemaError, match="9999_future, which this version does not know"):
        await migrate(pool)
    await pool.execute("DELETE FROM schema_migrations WHERE name = '9999_future'")
    await pool.execute("UPDATE schema_migrations SET checksum = 'dd' WHERE name = '0001_core'")
    with pytest.raises(SchemaError, match="0001_core has changed since it was applied"):
        await migrate(pool)


@pytest.mark.parametrize(
    ("applied", "expected"),
    [({}, [FIRST, SECOND]), ({"0001_first": "aa"}, [SECOND]), ({"0002_second": "bb"}, [FIRST])],
)
def test_what_is_not_applied_is_pending(applied: dict[str, str], expected: list[Migration]) -> None:
    assert fitting([FIRST, SECOND], applied) == expected


async def test_a_database_that_is_no_postgresql_is_one_clear_line() -> None:
    with pytest.raises(DatabaseUnavailable, match="cannot be reached"):
        await connect("mysql://localhost/memo", wait=0.1)


async def test_a_peer_that_vanishes_is_noticed(database: str) -> None:
    pool = await connect(database, min_size=1, max_size=1)
    query = "SELECT setting FROM pg_settings WHERE name = 'tcp_keepalives_idle' AND source = $1"
    over_tcp = await pool.fetchval("SELECT inet_server_addr() IS NOT NULL")
    # A Unix socket says 0, whatever it was told.
    assert await pool.fetchval(query, "client") == ("30" if over_tcp else "0")
    await pool.close()
