"""Devices that are ahead of a restored backup: what it lacks comes back with them."""

import asyncio
import subprocess
import sys
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest
from pycrdt import Map

from protocol.client import Client
from protocol.errors import ErrorCode, MemoError
from protocol.feed import FEED_CHANGES, GetChanges
from protocol.memories import (
    MEMORIES_CREATE,
    MEMORIES_GET,
    MEMORIES_UPDATE,
    CreateMemory,
    GetMemory,
    UpdateMemory,
)
from protocol.offline import MemoryStore
from protocol.replica import Document
from protocol.session import Backoff
from tests.serving import Person, ServerProcess

PATIENCE = 30.0


def memo(*arguments: object, **environ: object) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "server", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", **{name: str(value) for name, value in environ.items()}},
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr


def device(
    server: ServerProcess, token: str, name: str, store: MemoryStore | None = None
) -> Client:
    backoff = Backoff(0.02, 0.2)
    return Client(server.socket_url, token, device_id=name, store=store, backoff=backoff)


def title(document: Document) -> object:
    return document.doc.get("properties", type=Map).get("title")


async def until_title(document: Document, expected: str) -> None:
    while title(document) != expected:
        await document.changed(PATIENCE)


async def write(document: Document, words: str) -> None:
    document.text += words
    await document.saved(PATIENCE)


async def new_memory(client: Client) -> UUID:
    reply = await client.call(MEMORIES_CREATE, CreateMemory(id=uuid4(), title="before"))
    return reply.memory.id


async def test_a_device_that_stays_signed_in_brings_back_what_a_lost_server_had_acked(
    data_directory: Path, tmp_path: Path
) -> None:
    lost, found, path = data_directory / "a", data_directory / "b", tmp_path / "backup.zip"
    for directory in (lost, found):
        directory.mkdir()
    server = ServerProcess(lost)
    server.start()
    restored = ServerProcess(found, PORT=str(server.port))
    restored.port = server.port
    try:
        person = Person(server, "ann@example.com")
        async with device(server, person.token, "laptop") as laptop:
            memory_id = await new_memory(laptop)
            document = await laptop.open(memory_id)
            await document.synced(PATIENCE)
            await write(document, "kept, ")
            memo("backup", path, DATA_DIR=lost)
            await write(document, "acked, ")
            # The server's own edit comes back with the device as well.
            await laptop.call(MEMORIES_UPDATE, UpdateMemory(id=memory_id, title="after"))
            await until_title(document, "after")
            epoch, _ = document.position
            cursor = laptop.welcome.cursor if laptop.welcome else None
            server.kill()
            document.text += "offline"
            memo("restore", path, "--keep-sessions", DATA_DIR=found)
            restored.start()
            await document.saved(PATIENCE)
            assert document.position[0] != epoch
            assert (await laptop.call(FEED_CHANGES, GetChanges(after=cursor))).reset
            async with device(restored, person.token, "phone") as phone:
                seen = await phone.open(memory_id)
                await seen.synced(PATIENCE)
                assert str(seen.text) == "kept, acked, offline"
                assert title(seen) == "after"
                await write(seen, "!")
                await document.reached(seen.position[1], PATIENCE)
                assert str(document.text) == "kept, acked, offline!"
    finally:
        server.kill()
        restored.stop()


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    return tmp_path / "backup.zip"


async def test_a_device_whose_session_has_ended_keeps_its_edits_until_it_signs_in(
    live_server: ServerProcess, database: str, backup: Path
) -> None:
    person = Person(live_server, "ann@example.com")
    store = MemoryStore()
    async with device(live_server, person.token, "laptop", store) as laptop:
        older = await new_memory(laptop)
        memo("backup", backup, DATABASE_URL=database)
        newer = await new_memory(laptop)
        for memory_id in (older, newer):
            document = await laptop.open(memory_id)
            await document.synced(PATIENCE)
            await write(document, "written later")
        live_server.stop()
        memo("restore", backup, "--replace", DATABASE_URL=database)
        live_server.start()
        # The device comes back by itself, and is told that its token is good for nothing: what
        # signed it did not come back.
        async with asyncio.timeout(PATIENCE):
            async for _ in laptop.events():
                pass
        assert laptop.error is not None
        assert laptop.error.code is ErrorCode.UNAUTHORIZED
    async with httpx.AsyncClient(base_url=live_server.url, timeout=PATIENCE) as http:
        credentials = {"email": person.email, "password": person.password}
        login = await http.post("/api/auth/login", json=credentials)
    token = login.json()["accessToken"]
    async with device(live_server, token, "laptop", store) as laptop:
        document = await laptop.open(older)
        await document.saved(PATIENCE)
        await document.synced(PATIENCE)
        # A memory made after the backup is made anew, under its id, by the device that has it.
        document = await laptop.open(newer)
        with pytest.raises(MemoError) as unknown:
            await document.synced(PATIENCE)
        assert unknown.value.code is ErrorCode.NOT_FOUND
        await laptop.call(MEMORIES_CREATE, CreateMemory(id=newer))
        await laptop.open(newer)
        await document.synced(PATIENCE)
        await document.saved(PATIENCE)
        async with device(live_server, token, "phone") as phone:
            for memory_id in (older, newer):
                seen = await phone.open(memory_id)
                await seen.synced(PATIENCE)
                assert str(seen.text) == "written later"
                await phone.call(MEMORIES_GET, GetMemory(id=memory_id))
