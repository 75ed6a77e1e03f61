"""A single node whose embedded PostgreSQL ends under it."""

import os
import signal
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import httpx
import psutil
import pytest

from protocol.client import Client
from protocol.memories import MEMORIES_CREATE, CreateMemory
from storage.embedded import EmbeddedPostgres, running_url
from storage.postgres import DatabaseUnavailable
from tests.faults.patience import until
from tests.serving import Person, ServerProcess

PATIENCE = 45.0


def postmaster(directory: Path) -> psutil.Process:
    return psutil.Process(int((directory / "postgres/postmaster.pid").read_text().split()[0]))


def kill_all(directory: Path) -> None:
    """End PostgreSQL with all its processes at once."""
    server = postmaster(directory)
    for process in (server, *server.children(recursive=True)):
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue  # it ended with its postmaster


async def ready(server: ServerProcess) -> None:
    async with httpx.AsyncClient(timeout=5) as client:

        async def answers() -> bool:
            return (await client.get(f"{server.url}/ready")).status_code == 200

        await until(answers, PATIENCE)


async def new_memory(client: Client) -> UUID:
    return (await client.call(MEMORIES_CREATE, CreateMemory(id=uuid4()))).memory.id


async def test_a_killed_database_comes_back_under_its_server(data_directory: Path) -> None:
    server = ServerProcess(data_directory)
    server.start()
    try:
        person = Person(server, "ada@example.com")
        async with Client(server.socket_url, person.token, heartbeat=3600) as client:
            document = await client.open(await new_memory(client))
            await document.synced(PATIENCE)
            for word in ("one ", "two ", "three "):
                document.text += word
                await document.saved(PATIENCE)
                # This one may be under way, or on its way, when the database ends.
                document.text += "and "
                kill_all(data_directory)
            await document.saved(PATIENCE)
            assert str(document.text) == "one and two and three and "
            async with Client(server.socket_url, person.token) as other:
                found = await other.open(document.memory_id)
                await found.synced(PATIENCE)
                assert str(found.text) == str(document.text)
            # It was one server and one connection all the while.
            assert client.welcome is not None
            assert server.log.read_text().count("the embedded database runs again") == 3
        await ready(server)
        assert server.stop() == 0
        assert not postgres_runs(data_directory)
    finally:
        server.kill()


async def test_while_its_database_cannot_start_a_server_says_so_and_tries_again(
    data_directory: Path,
) -> None:
    server = ServerProcess(data_directory)
    server.start()
    try:
        version = data_directory / "postgres/PG_VERSION"
        version.write_text("17\n")
        kill_all(data_directory)
        await until(
            lambda: server.log.read_text().count("the embedded database could not be started") > 1,
            PATIENCE,
        )
        async with httpx.AsyncClient(timeout=5) as client:
            assert (await client.get(f"{server.url}/ready")).status_code == 503
        version.write_text("18\n")
        await ready(server)
    finally:
        assert server.stop() == 0


async def test_a_database_that_ended_is_started_at_the_same_address(data_directory: Path) -> None:
    # The socket of a path this long is elsewhere.
    directory = data_directory / ("x" * 120)
    server = EmbeddedPostgres(directory)
    server.start()
    try:
        assert not server.ended
        url = server.url
        connection = await asyncpg.connect(url)
        await connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        kill_all(directory)
        await until_ended(server)
        server.restart()
        assert not server.ended
        assert server.url == url
        connection.terminate()
        connection = await asyncpg.connect(url)
        assert await connection.fetchval("SELECT answer FROM kept") == 42
        await connection.close()
    finally:
        server.stop()
    assert not server.ended


async def test_a_cluster_that_is_gone_is_not_replaced_by_an_empty_one(
    data_directory: Path,
) -> None:
    server = EmbeddedPostgres(data_directory)
    server.start()
    try:
        os.kill(server.pid or 0, signal.SIGQUIT)
        await until_ended(server)
        cluster = data_directory / "postgres"
        cluster.rename(data_directory / "elsewhere")
        with pytest.raises(DatabaseUnavailable, match=r"is gone; put .*/postgres back"):
            server.restart()
        assert server.ended
        (data_directory / "elsewhere").rename(cluster)
        server.restart()
        assert running_url(data_directory) == server.url
    finally:
        server.stop()


async def until_ended(server: EmbeddedPostgres) -> None:
    await until(lambda: server.ended, PATIENCE)


def postgres_runs(directory: Path) -> bool:
    place = str((directory / "postgres").resolve())
    return any(
        process.info["name"] == "postgres" and process.info["cwd"] == place
        for process in psutil.process_iter(["name", "cwd"])
    )
