"""The embedded PostgreSQL: its life beside a server that may be killed at any moment."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest

from storage.embedded import DataDirectoryInUse, EmbeddedPostgres, running_url
from storage.osuser import OsUser
from storage.postgres import DatabaseUnavailable

OWNER = """
import signal, sys
from pathlib import Path
from server.logs import set_up
from storage.embedded import EmbeddedPostgres
set_up()
server = EmbeddedPostgres(Path(sys.argv[1]))
server.start()
print(server.pid, flush=True)
signal.pause()
"""


@contextmanager
def started(directory: Path, **settings: str) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(directory, settings=settings)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def owned_by_another_process(directory: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Yields a process that has started PostgreSQL in `directory`, and PostgreSQL's own id."""
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(directory)], stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        postmaster = int(owner.stdout.readline())
        try:
            yield owner, postmaster
        finally:
            owner.kill()
            owner.wait(10)
            with started(directory):  # ends what is left of the other
                pass


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close(timeout=10)


async def ask(url: str, query: str) -> Any:
    async with connected(url) as connection:
        return await connection.fetchval(query)


async def test_a_new_directory_gets_a_database_that_keeps_what_it_confirmed(
    data_directory: Path,
) -> None:
    with started(data_directory) as server:
        async with connected(server.url) as connection:
            assert await connection.fetchval("SELECT current_database()") == "memo"
            for setting in ("fsync", "synchronous_commit", "full_page_writes"):
                assert await connection.fetchval("SELECT current_setting($1)", setting) == "on"
            await connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    with started(data_directory) as server:
        assert await ask(server.url, "SELECT answer FROM kept") == 42


def test_stop_leaves_no_process_and_can_be_repeated(data_directory: Path) -> None:
    server = EmbeddedPostgres(data_directory)
    server.start()
    pid = server.pid
    assert pid is not None
    server.stop()
    server.stop()
    assert not psutil.pid_exists(pid)
    with pytest.raises(DatabaseUnavailable, match="no database runs in DATA_DIR"):
        running_url(data_directory)


async def test_stop_ends_an_open_transaction_instead_of_waiting(data_directory: Path) -> None:
    server = EmbeddedPostgres(data_directory)
    server.start()
    connection = await asyncpg.connect(server.url)
    await connection.execute("BEGIN")
    await asyncio.wait_for(asyncio.to_thread(server.stop), 10)
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await connection.execute("COMMIT")
    connection.terminate()


def test_a_directory_in_use_is_refused_with_the_process_that_uses_it(data_directory: Path) -> None:
    with owned_by_another_process(data_directory) as (owner, _):
        with pytest.raises(DataDirectoryInUse) as refusal:
            EmbeddedPostgres(data_directory).start()
        assert str(refusal.value) == (
            f"DATA_DIR {data_directory} is in use by process {owner.pid}; "
            "stop it or set another DATA_DIR"
        )


async def test_a_command_beside_the_server_finds_its_database(data_directory: Path) -> None:
    with started(data_directory) as server:
        assert running_url(data_directory) == server.url
        assert await ask(running_url(data_directory), "SELECT 1") == 1


async def test_after_a_killed_server_the_next_one_takes_over(data_directory: Path) -> None:
    with owned_by_another_process(data_directory) as (owner, postmaster):
        async with connected(running_url(data_directory)) as connection:
            await connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        owner.kill()
        owner.wait(10)
        assert psutil.pid_exists(postmaster)
        with started(data_directory) as server:
            assert await ask(server.url, "SELECT answer FROM kept") == 42
            assert server.pid != postmaster
            assert not psutil.pid_exists(postmaster) or is_zombie(postmaster)


async def test_after_a_killed_postmaster_its_orphans_do_not_stop_the_next_start(
    data_directory: Path,
) -> None:
    with owned_by_another_process(data_directory) as (owner, postmaster):
        connection = await asyncpg.connect(running_url(data_directory))
        await connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        # A busy backend does not notice that its postmaster is gone.
        busy = asyncio.create_task(
            connection.execute("SELECT count(*) FROM generate_series(1, 1e12::bigint)")
        )
        while await ask(running_url(data_directory), ACTIVE) == 0:
            pass
        owner.kill()
        owner.wait(10)
        os.kill(postmaster, signal.SIGKILL)
        with started(data_directory) as server:
            assert await ask(server.url, "SELECT answer FROM kept") == 42
            with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
                await busy
        connection.terminate()


ACTIVE = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%1e12%' AND state = 'active' \
    AND pid <> pg_backend_pid()"


async def test_a_stale_pid_file_that_names_an_unrelated_process_is_no_obstacle(
    data_directory: Path,
) -> None:
    with started(data_directory):
        pid_file = data_directory / "postgres" / "postmaster.pid"
        owner = OsUser(pid_file.stat().st_uid, pid_file.stat().st_gid)
        lines = pid_file.read_text().splitlines()
    # As after a power cut: the file is still there, and its number belongs to someone else, of
    # the same user, so that PostgreSQL by itself would believe the file and give up.
    with subprocess.Popen(["sleep", "60"], **owner.arguments) as unrelated:
        pid_file.write_text("\n".join([str(unrelated.pid), *lines[1:]]) + "\n")
        with started(data_directory) as server:
            assert await ask(server.url, "SELECT 1") == 1
            assert unrelated.poll() is None
        unrelated.kill()


@pytest.mark.parametrize("name", ["x" * 120, 'it\'s 100% "mine", José'])
async def test_any_path_will_do(data_directory: Path, name: str) -> None:
    with started(data_directory / name) as server:
        assert await ask(server.url, "SELECT 1") == 1


async def test_a_short_directory_for_the_socket_goes_with_the_server(data_directory: Path) -> None:
    before = set(Path(tempfile.gettempdir()).glob("memo-*"))
    with started(data_directory / ("x" * 120)) as server:
        assert await ask(server.url, "SELECT 1") == 1
        assert any(str(made) in server.url.replace("%2F", "/") for made in made_since(before))
    assert not any((made / ".s.PGSQL.5432").exists() for made in made_since(before))


def made_since(before: set[Path]) -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("memo-*")) - before


async def test_a_relative_path_is_taken_from_where_the_server_was_started(
    data_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data_directory)
    with started(Path("data")) as server:
        monkeypatch.chdir("/")
        assert await ask(server.url, "SELECT 1") == 1
    assert (data_directory / "data" / "postgres" / "PG_VERSION").exists()


def test_a_cluster_that_was_never_finished_is_made_again(data_directory: Path) -> None:
    unfinished = data_directory / "postgres.new-1"
    unfinished.mkdir()
    (unfinished / "PG_VERSION").write_text("18\n")
    with started(data_directory):
        assert not unfinished.exists()


def test_a_directory_that_cannot_be_made_is_one_clear_line(data_directory: Path) -> None:
    (data_directory / "file").touch()
    with pytest.raises(DatabaseUnavailable) as refusal:
        EmbeddedPostgres(data_directory / "file" / "data").start()
    assert "make it writable or set another DATA_DIR" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_cluster_of_another_version_is_left_alone(data_directory: Path) -> None:
    with started(data_directory):
        pass
    version = data_directory / "postgres" / "PG_VERSION"
    version.write_text("17\n")
    with pytest.raises(DatabaseUnavailable, match="was made by PostgreSQL 17"):
        EmbeddedPostgres(data_directory).start()
    version.write_text("18\n")
    with started(data_directory):
        pass


def test_a_start_that_fails_says_why_and_gives_the_directory_back(data_directory: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match=r"did not start: .*shared_buffers"):
        EmbeddedPostgres(data_directory, settings={"shared_buffers": "plenty"}).start()
    with started(data_directory):
        pass


def test_a_start_past_its_time_limit_ends(data_directory: Path) -> None:
    with started(data_directory):
        pass
    with pytest.raises(DatabaseUnavailable, match="was not ready within 0 s"):
        EmbeddedPostgres(data_directory, start_seconds=0).start()
    with started(data_directory):
        pass


def test_the_terminals_ctrl_c_does_not_reach_postgresql(data_directory: Path) -> None:
    with started(data_directory) as server:
        assert server.pid is not None
        assert os.getsid(server.pid) != os.getsid(0)


def is_zombie(pid: int) -> bool:
    """Ended, but not yet collected by the process that adopted it."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
