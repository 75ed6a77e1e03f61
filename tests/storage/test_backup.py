"""Backups: everything as of one moment goes out, and comes back as a system of its own."""

import asyncio
import hashlib
import zipfile
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from protocol.log import Author, Entry, Outcome, Projection, Snapshot
from storage import catalog
from storage.accounts import Accounts, Rotated
from storage.archive import Archive, ArchiveWriter, BackupError, Manifest, Progress
from storage.backup import LEFT_OUT, back_up
from storage.feed import Feed
from storage.guesses import Guesses
from storage.identities import Attempts, Claimed, Identities
from storage.keys import SigningKey, SigningKeys
from storage.mail import OutgoingMail
from storage.memories import MemoryRows
from storage.postgres import Migration, SchemaError, connect, known_migrations
from storage.restore import restore
from storage.twofactor import SecondFactors
from storage.updates import UpdateLog
from storage.verification import EmailTokens
from tests.conftest import fresh_database
from tests.rows import add_memory, add_person

Rows = Mapping[str, Sequence[str]]


def silent(_: str, __: int) -> None:
    """Nobody follows how far it has come."""


async def written(pool: asyncpg.Pool, path: Path, progress: Progress = silent) -> Manifest:
    with ArchiveWriter.creating(path) as writer:
        async with pool.acquire() as connection:
            return await back_up(connection, writer, progress)


async def loaded(pool: asyncpg.Pool, path: Path, **options: Any) -> list[str]:
    with Archive.reading(path) as archive:
        archive.check(silent)
        return await restore(pool, archive, silent, **options)


@asynccontextmanager
async def alone(address: str) -> AsyncIterator[asyncpg.Pool]:
    """The one connection of whoever restores."""
    pool = await connect(address, min_size=1, max_size=1)
    yield pool
    await asyncio.wait_for(pool.close(), 10)


@pytest.fixture
async def target(postgres: str) -> AsyncIterator[asyncpg.Pool]:
    """Another database, where nothing is but the schema."""
    async with fresh_database(postgres) as address, alone(address) as pool:
        yield pool


@pytest.fixture
def path(data_directory: Path) -> Path:
    return data_directory / "backup.zip"


async def rows_of(pool: asyncpg.Pool, *, without: frozenset[str] = LEFT_OUT) -> Rows:
    """Every table's rows as text."""
    async with pool.acquire() as connection:
        return {
            table.name: [
                str(row[0])
                for row in await connection.fetch(
                    f"SELECT t::text FROM (SELECT {columns} FROM {table.name}) t ORDER BY 1"
                )
            ]
            for table in await catalog.tables(connection)
            if (columns := ", ".join(name for name in table.columns if name not in without))
        }


async def commit(
    pool: asyncpg.Pool, memory_id: UUID, author: Author, *payloads: bytes, client: int = 7
) -> None:
    claims = ((client, author.account_id),)
    done = await UpdateLog(pool, MemoryRows(pool)).commit(
        [Entry(memory_id, author, payload, claims) for payload in payloads]
    )
    assert {committed.outcome for committed in done} == {Outcome.COMMITTED}


async def fill(pool: asyncpg.Pool) -> tuple[Author, UUID]:
    """Rows in every table, with what is awkward to write down."""
    author = await add_person(pool, device=None)
    friend = await add_person(pool, device="tab\tNULL \\N 'quoted' ∞")
    memory_id = await add_memory(pool, author, editor=friend)
    await add_memory(pool, friend)
    await commit(pool, memory_id, author, b"\x00\xff" * 9, b"")
    await commit(pool, memory_id, friend, b"\n\\.\n" * 50_000, client=8)
    log = UpdateLog(pool, MemoryRows(pool))
    assert await log.save_snapshot(memory_id, Snapshot(2, b"\x00all", b"state"))
    projection = Projection(None, None, {}, [], {}, [], words="'~word':1A '~wörter':2,3")
    await MemoryRows(pool).save(memory_id, projection, 3)
    await pool.execute("DELETE FROM document_updates WHERE log_offset = 1")
    await pool.execute(
        "INSERT INTO document_authors VALUES ($1, 4294967295, 0, 9, NULL, NULL, '-infinity')",
        memory_id,
    )
    await pool.execute("INSERT INTO document_clients VALUES ($1, 9, NULL)", memory_id)
    await pool.execute("INSERT INTO document_reservations VALUES ($1, 8)", memory_id)
    await pool.execute(
        "UPDATE memories SET content = $1, tags = $2, title = $3",
        {"text": "a\nb", "deep": [1e300, None, {"ü": "\U0001f511"}]},
        ["", "a,b", '"{}"'],
        "Τίτλος\\",
    )
    await pool.execute(
        "INSERT INTO messages (memory_id, user_id, content) VALUES ($1, $2, E'\\t\\\\')",
        memory_id,
        author.account_id,
    )
    base_id = await pool.fetchval(
        """
        INSERT INTO document_bases (id, document_id, payload, vector)
        VALUES (gen_random_uuid(), $1, $2, $3) RETURNING id
        """,
        memory_id,
        b"\x00base\xff",
        b"\x01",
    )
    await pool.execute(
        """
        INSERT INTO document_versions (id, document_id, log_offset, kind, base_id, payload, size,
            authors, changed_at, created_by)
        VALUES (gen_random_uuid(), $1, 2, 'auto', $2, '', 9, $3, 'infinity', $4)
        """,
        memory_id,
        base_id,
        [{"userId": str(author.account_id), "devices": ["a\tb"], "changes": 2}],
        friend.account_id,
    )
    await pool.execute(
        "INSERT INTO memory_categories (user_id, name) VALUES ($1, 'Work')", author.account_id
    )
    await pool.execute(
        "INSERT INTO tombstones (user_id, kind, record_id) VALUES ($1, 'memory', $2)",
        friend.account_id,
        memory_id,
    )
    await pool.execute(
        """
        INSERT INTO files (user_id, memory_id, filename, original_filename, file_type, file_size,
            sha256, storage_path)
        VALUES ($1, $2, 'a', 'ä\t', 'text/plain', 1, '\\x00ff', 'a')
        """,
        author.account_id,
        memory_id,
    )
    await pool.execute(
        """
        INSERT INTO blobs (path, user_id, size, part_bytes, parts, sha256)
        VALUES ('a', $1, 1, 4, '{"x", "y"}', '\\x00ff')
        """,
        author.account_id,
    )
    await pool.execute(
        """
        INSERT INTO uploads (id, user_id, storage_path, filename, length, expires_at)
        VALUES (gen_random_uuid(), $1, 'a', 'ä', 9, now())
        """,
        author.account_id,
    )
    await pool.execute(
        "INSERT INTO exports (id, user_id, expires_at) VALUES (gen_random_uuid(), $1, now())",
        author.account_id,
    )
    await pool.execute(
        "INSERT INTO imports (id, user_id, file_id, tally) VALUES ($1, $2, $1, $3)",
        uuid4(),
        author.account_id,
        {"skipped": [{"path": "ä"}]},
    )
    await fill_identity(pool, author.account_id)
    await pool.execute("INSERT INTO file_words VALUES ($1, $2)", memory_id, "'~%a':1")
    link_id = uuid4()
    await pool.execute(
        "INSERT INTO invitations (id, memory_id, invited_by, role, max_uses, uses)"
        " VALUES ($1, $2, $3, 'viewer', 2, 1)",
        link_id,
        memory_id,
        author.account_id,
    )
    await pool.execute("INSERT INTO invitation_tokens VALUES ($1, $2)", b"\x00hash", link_id)
    await pool.execute(
        "INSERT INTO invitation_uses (invitation_id, user_id) VALUES ($1, $2)",
        link_id,
        friend.account_id,
    )
    await SigningKeys(pool).ensure(lambda: SigningKey("key", "PEM"))
    signed_in = await Accounts(pool).sign_in(
        author.account_id, b"hash", address="::1", user_agent=None
    )
    assert signed_in is not None
    return author, memory_id


async def fill_identity(pool: asyncpg.Pool, account_id: UUID) -> None:
    """Rows in the tables of ways into an account."""
    await EmailTokens(pool).issue(b"\x00link", account_id, "reset", "ada@example.com")
    await OutgoingMail(pool).add("reset", "ada@example.com", b"\x00\xff")
    await Attempts(pool).begin(b"state", "google", "com.example.memo:/")
    await Identities(pool, Accounts(pool)).link(account_id, Claimed("google", "1", None))
    factors = SecondFactors(pool)
    await factors.propose(account_id, b"\x01sealed")
    await factors.confirm(account_id, b"\x01sealed", 7, [b"recovery"])
    await Guesses(pool).count(account_id, "code")


async def test_every_row_of_every_table_comes_back(
    pool: asyncpg.Pool, target: asyncpg.Pool, path: Path
) -> None:
    await fill(pool)
    before = await rows_of(pool)
    manifest = await written(pool, path)
    assert {table.name: table.rows for table in manifest.tables} == {
        name: len(rows) for name, rows in before.items()
    }
    assert [name for name in before if not before[name]] == []  # tables to put something into
    assert await loaded(target, path, keep_sessions=True) == []
    after = dict(await rows_of(target))
    # But the server's own claim to a Yjs client id, which its process has taken with it.
    assert len(after["document_clients"]) == len(before["document_clients"]) - 1
    assert after == {**before, "document_clients": after["document_clients"]}
    assert await rows_of(pool) == before


async def test_a_log_in_partitions_comes_back_whole_and_can_be_replaced(
    pool: asyncpg.Pool, target: asyncpg.Pool, path: Path
) -> None:
    script = Path(__file__).parents[2] / "deploy" / "partition.sql"
    await fill(pool)
    before = await rows_of(pool)
    for database in (pool, target):
        async with database.acquire() as connection, connection.transaction():
            await connection.execute(script.read_text())
    await add_person(target)
    await written(pool, path)
    assert await loaded(target, path, keep_sessions=True, replace=True) == []
    after = dict(await rows_of(target))
    assert after["document_updates"] == before["document_updates"]
    assert after.keys() == before.keys()


async def test_devices_find_other_epochs_and_a_feed_that_starts_over(
    pool: asyncpg.Pool, target: asyncpg.Pool, path: Path
) -> None:
    author, memory_id = await fill(pool)
    # The transactions of this cluster may be far ahead of those of the one restored to.
    await pool.execute("UPDATE documents SET changed_xid = '9000000000'")
    await pool.execute("UPDATE installation SET tombstone_horizon = '9000000000'")
    cursor = await Feed(pool).cursor()
    await written(pool, path)
    await loaded(target, path)
    query = "SELECT array_agg(DISTINCT epoch) FROM documents"
    old, new = await pool.fetchval(query), await target.fetchval(query)
    assert len(new) == 2
    assert not set(old) & set(new)
    changes = await Feed(target).changes(author.account_id, cursor, 10)
    assert changes.reset
    assert [item.id for item in changes.items if item.kind == "memory"] == [memory_id]
    assert (await Feed(target).changes(author.account_id, changes.cursor, 10)).items == []
    await commit(target, memory_id, author, b"next")
    [news] = (await Feed(target).changes(author.account_id, changes.cursor, 10)).items
    assert news.memory is not None
    assert news.memory.offset == 4


async def test_no_session_comes_back_to_life(
    pool: asyncpg.Pool, target: asyncpg.Pool, path: Path
) -> None:
    await fill(pool)
    await SigningKeys(pool).rotate(SigningKey("old", "its pem"), timedelta(0))
    await written(pool, path)
    await loaded(target, path)
    assert (await Accounts(target).rotate(b"hash", b"fresh")).outcome is Rotated.OVER
    assert await SigningKeys(target).current() == []
    # Nor a link, nor a message that was sent since.
    assert await target.fetch("SELECT FROM email_tokens") == []
    assert await target.fetch("SELECT FROM outgoing_mail") == []
    await loaded(target, path, replace=True, keep_sessions=True)
    assert (await Accounts(target).rotate(b"hash", b"fresh")).outcome is Rotated.FRESH
    assert "old" in {key.id for key in await SigningKeys(target).current()}


async def test_a_backup_beside_writers_is_of_one_moment(
    pool: asyncpg.Pool, target: asyncpg.Pool, path: Path
) -> None:
    author = await add_person(pool)
    memories = [await add_memory(pool, author) for _ in range(3)]
    stopped = asyncio.Event()
    commits = 0

    async def write() -> None:
        nonlocal commits
        while not stopped.is_set():
            for memory_id in memories:
                await commit(pool, memory_id, author, b"x" * 1000, b"y")
                commits += 1
            await add_memory(pool, author)

    writer = asyncio.create_task(write())
    during: list[int] = []
    while commits < 20:  # noqa: ASYNC110 (the writer has no event for it)
        await asyncio.sleep(0)
    for _ in range(20):  # until a commit came while it was written
        during.clear()
        path.unlink(missing_ok=True)
        await written(pool, path, lambda *_: during.append(commits))
        if during[-1] > during[0]:
            break
    stopped.set()
    await writer
    assert during[-1] > during[0]
    await loaded(target, path)
    holes = await target.fetch(
        """
        SELECT d.id FROM documents d LEFT JOIN document_updates u ON u.document_id = d.id
        GROUP BY d.id
        HAVING count(u.log_offset) <> d.head OR coalesce(max(u.log_offset), 0) <> d.head
        """
    )
    assert holes == []
    heads = await target.fetch("SELECT head FROM documents WHERE id = ANY ($1)", memories)
    assert all(row["head"] > 0 for row in heads)
    lost = await target.fetchval(
        "SELECT count(*) FROM document_updates WHERE document_id NOT IN (SELECT id FROM documents)"
    )
    assert lost == 0


LATER = Migration(
    "9000_later",
    """
    CREATE TABLE parts (
        id bigint GENERATED BY DEFAULT AS IDENTITY, whole bigint, part text,
        PRIMARY KEY (id), FOREIGN KEY (whole) REFERENCES parts,
        shout text GENERATED ALWAYS AS (upper(part)) STORED);
    ALTER TABLE users ADD COLUMN nickname text NOT NULL DEFAULT 'none';
    INSERT INTO parts (part) VALUES ('seed');
    """,
    "00",
)


async def test_an_older_schema_is_loaded_as_it_was_and_then_brought_up_to_date(
    pool: asyncpg.Pool, target: asyncpg.Pool, path: Path
) -> None:
    await fill(pool)
    await written(pool, path)
    await loaded(target, path, migrations=[*known_migrations(), LATER])
    assert await target.fetchval("SELECT array_agg(DISTINCT nickname) FROM users") == ["none"]
    assert await target.fetchval("SELECT part FROM parts") == "seed"
    query = "SELECT max(name) FROM schema_migrations"
    assert await target.fetchval(query) == LATER.name


async def test_a_newer_schema_is_refused(
    pool: asyncpg.Pool, target: asyncpg.Pool, path: Path
) -> None:
    await pool.execute("INSERT INTO schema_migrations VALUES ($1, $2)", LATER.name, LATER.checksum)
    await written(pool, path)
    before = await rows_of(target, without=frozenset())
    with pytest.raises(BackupError, match="the migration 9000_later, which this version does not"):
        await loaded(target, path)
    changed = LATER._replace(checksum="01")
    with pytest.raises(BackupError, match="9000_later has changed since it was applied"):
        await loaded(target, path, migrations=[*known_migrations(), changed])
    assert await rows_of(target, without=frozenset()) == before


async def test_sequences_go_on_behind_what_was_written(
    pool: asyncpg.Pool, target: asyncpg.Pool, path: Path
) -> None:
    await pool.execute(LATER.sql)
    await pool.execute("INSERT INTO schema_migrations VALUES ($1, $2)", LATER.name, LATER.checksum)
    await pool.execute("INSERT INTO parts (whole, part) VALUES (1, 'a'), (2, 'b')")
    await pool.execute("DELETE FROM parts WHERE part = 'b'")
    await written(pool, path)
    await loaded(target, path, migrations=[*known_migrations(), LATER])
    assert await target.fetchval("INSERT INTO parts DEFAULT VALUES RETURNING id") == 4
    assert await target.fetchval("SELECT shout FROM parts WHERE whole = 1") == "A"


async def test_only_an_empty_database_is_restored_to_unless_it_is_to_be_replaced(
    pool: asyncpg.Pool, target: asyncpg.Pool, path: Path
) -> None:
    author, _ = await fill(pool)
    await written(pool, path)
    somebody = await add_person(target)
    before = await rows_of(target, without=frozenset())
    with pytest.raises(BackupError, match=r"it has 1 accounts.*--replace"):
        await loaded(target, path)
    assert await rows_of(target, without=frozenset()) == before
    await loaded(target, path, replace=True)
    query = "SELECT count(*) FROM users WHERE id = $1"
    assert await target.fetchval(query, somebody.account_id) == 0
    assert await target.fetchval(query, author.account_id) == 1


async def test_a_database_in_use_is_left_alone(
    pool: asyncpg.Pool, database: str, path: Path
) -> None:
    await written(pool, path)
    with pytest.raises(BackupError, match=r"in use by \d+ other sessions"):
        await loaded(pool, path)


async def test_what_is_not_this_servers_is_never_dropped(
    pool: asyncpg.Pool, target: asyncpg.Pool, path: Path
) -> None:
    await written(pool, path)
    for make, drop, name in (
        ("CREATE TABLE mine ()", "DROP TABLE mine", "table mine"),
        ("CREATE VIEW mine AS SELECT id FROM users", "DROP VIEW mine", "view mine"),
        ("CREATE TYPE mine AS ENUM ('a')", "DROP TYPE mine", "type mine"),
        (
            "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "DROP FUNCTION mine",
            r"routine mine\(\)",
        ),
    ):
        await target.execute(make)
        with pytest.raises(BackupError, match=rf"is not this server's \(the {name}\)"):
            await loaded(target, path, replace=True)
        await target.execute(drop)  # which it can, because it is still there
    await target.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public; CREATE TABLE mine ()")
    with pytest.raises(BackupError, match=r"holds other things \(the table mine\)"):
        await loaded(target, path, replace=True)
    assert await target.fetchval("SELECT to_regclass('users')") is None


async def test_strange_tables_of_a_backup_are_named_and_left_out(
    pool: asyncpg.Pool, target: asyncpg.Pool, path: Path
) -> None:
    await pool.execute('CREATE TABLE "Mine """ (id serial); INSERT INTO "Mine """ VALUES (9)')
    await written(pool, path)
    assert await loaded(target, path) == ['Mine "']


async def test_a_restore_that_fails_at_its_end_leaves_what_was_there(
    pool: asyncpg.Pool, target: asyncpg.Pool, path: Path
) -> None:
    await fill(pool)
    await written(pool, path)
    await add_memory(target, await add_person(target))
    before = await rows_of(target, without=frozenset())
    broken = Migration("9000_broken", "SELECT 1 / 0", "00")
    with pytest.raises(SchemaError, match="9000_broken failed: division by zero"):
        await loaded(target, path, replace=True, migrations=[*known_migrations(), broken])
    assert await rows_of(target, without=frozenset()) == before


def digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


def forge(path: Path, table: str, old: bytes, new: bytes, *, known: bool) -> Path:
    """A copy of a backup in which something has another value; with `known` the manifest agrees."""
    forged = path.with_name(f"{table}.zip")
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(forged, "w") as copy:
        manifest = archive.read("manifest.json")
        for name in archive.namelist():
            content = archive.read(name)
            if name == f"tables/{table}.copy":
                changed = content.replace(old, new)
                assert changed != content
                if known:
                    manifest = manifest.replace(digest(content), digest(changed))
                content = changed
            copy.writestr(name, manifest if name == "manifest.json" else content)
    return forged


@pytest.mark.parametrize("known", [False, True])
async def test_what_turns_out_damaged_while_it_is_loaded_leaves_what_was_there(
    pool: asyncpg.Pool, target: asyncpg.Pool, path: Path, known: bool
) -> None:
    await fill(pool)
    await written(pool, path)
    before = await rows_of(target, without=frozenset())
    if known:
        forged = forge(path, "documents", b"PGCOPY", b"PGCOPX", known=True)
        reason = "cannot be loaded: documents: COPY file signature not recognized"
    else:
        forged = forge(path, "users", b"@example", b"@exemple", known=False)
        reason = "the table users is not what was written"
    with Archive.reading(forged) as unchecked, pytest.raises(BackupError, match=reason):
        await restore(target, unchecked, silent)
    assert await rows_of(target, without=frozenset()) == before


async def test_a_database_of_nobody_is_not_backed_up(target: asyncpg.Pool, path: Path) -> None:
    await target.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    with pytest.raises(BackupError, match="holds nothing of this server"):
        await written(target, path)
    assert list(path.parent.iterdir()) == []


async def test_a_newer_database_is_not_restored_to(
    pool: asyncpg.Pool, target: asyncpg.Pool, path: Path
) -> None:
    await written(pool, path)
    await target.execute(
        "INSERT INTO schema_migrations VALUES ($1, $2)", LATER.name, LATER.checksum
    )
    with pytest.raises(SchemaError, match="9000_later"):
        await loaded(target, path, replace=True)


async def test_a_migration_waits_for_the_end_of_a_backup(
    pool: asyncpg.Pool, database: str, path: Path
) -> None:
    refused = []

    async def alter() -> None:
        connection = await asyncpg.connect(database)
        await connection.execute("SET lock_timeout = '1ms'")
        try:
            await connection.execute("ALTER TABLE refresh_tokens ADD COLUMN device text")
        except asyncpg.LockNotAvailableError:
            refused.append(True)
        await connection.close()

    def progress(table: str, _: int) -> None:
        assert table != "refresh_tokens" or refused
        if not refused:
            # In another thread, while the backup stands still in its first table.
            with ThreadPoolExecutor(1) as threads:
                threads.submit(asyncio.run, alter()).result()

    await written(pool, path, progress)
    assert refused
    await pool.execute("ALTER TABLE refresh_tokens ADD COLUMN device text")
