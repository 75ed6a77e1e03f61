"""Whatever the network does, all replicas and the server's rows end equal, with nothing lost."""

import asyncio
import os
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from uuid import UUID, uuid4

import asyncpg
import hypothesis.strategies as st
from hypothesis import HealthCheck, given, settings
from pycrdt import Map

from protocol.client import Client
from protocol.memories import MEMORIES_CREATE, MEMORIES_GET, CreateMemory, GetMemory
from protocol.offline import MemoryStore
from protocol.replica import Document
from protocol.session import Backoff
from tests.convergence.proxy import ChaosProxy
from tests.serving import LocalServer, register

PATIENCE = 30.0
EXAMPLES = int(os.environ.get("CONVERGENCE_EXAMPLES", "0"))  # 0: a few, always the same

KINDS = ("insert", "insert", "insert", "delete", "tag")
TROUBLE = ("offline", "online", "crash", "cut", "restart")
# What may happen next; the number is a device's, or means nothing.
STEPS = st.lists(
    st.tuples(st.sampled_from(KINDS + TROUBLE), st.integers(0, 2)), min_size=5, max_size=30
)


class Device:
    """An installed app: its store outlives its process and its connection."""

    def __init__(self, url: str, token: str, name: str) -> None:
        self.name = name
        self.typed = 0
        self._url = url
        self._token = token
        self._store = MemoryStore()
        self._client: Client | None = None
        self.document: Document | None = None

    async def start(self, memory_id: UUID, *, online: bool = True) -> None:
        """Run the app; offline, it reaches a port where nobody listens."""
        url = self._url if online else "ws://127.0.0.1:9/ws"
        self._client = Client(
            url,
            self._token,
            device_id=self.name,
            store=self._store,
            backoff=Backoff(0.005, 0.05),
        )
        await self._client.__aenter__()
        self.document = await self._client.open(memory_id)

    async def stop(self) -> None:
        """The app is gone; what it had typed stays in its store."""
        assert self._client is not None
        await self._client.close()

    def edit(self, kind: str, random: Random) -> None:
        assert self.document is not None
        text, doc = self.document.text, self.document.doc
        length = len(text)
        if kind == "delete" and length:
            start = random.randrange(length)
            del text[start : min(length, start + random.randint(1, 5))]
        elif kind == "tag":
            doc.get("tags", type=Map)[random.choice("abc")] = True
        else:
            self.typed += 1
            text.insert(random.randint(0, length), f"<{self.name}{self.typed}>")


@given(steps=STEPS, seed=st.integers(0, 2**32))
@settings(
    max_examples=EXAMPLES or 12,
    deadline=None,
    derandomize=not EXAMPLES,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_devices_converge(
    steps: list[tuple[str, int]], seed: int, database: str, data_directory: Path
) -> None:
    asyncio.run(converge(steps, seed, database, data_directory))


async def converge(steps: list[tuple[str, int]], seed: int, database: str, directory: Path) -> None:
    random = Random(seed)
    server = LocalServer(directory, database)
    await server.start()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(server.stop)
        token = await register(server.url, f"{uuid4().hex}@example.com")
        proxy = await stack.enter_async_context(ChaosProxy(server.socket_url, random))
        async with Client(server.socket_url, token) as setup:
            reply = await setup.call(MEMORIES_CREATE, CreateMemory(id=uuid4()))
        memory_id = reply.memory.id
        devices = [Device(proxy.url, token, name) for name in "XYZ"]
        for device in devices:
            await device.start(memory_id)
        for kind, number in steps:
            device = devices[number]
            if kind == "restart":
                await server.stop()
                await server.start()
            elif kind == "cut":
                proxy.cut()
            elif kind in ("crash", "online", "offline"):
                await device.stop()
                await device.start(memory_id, online=kind != "offline")
            else:
                device.edit(kind, random)
            await asyncio.sleep(random.choice((0, 0, 0.002)))
        await settle(devices, proxy, memory_id)
        await same_everywhere(devices, server, token, database, memory_id)
        for device in devices:
            await device.stop()


async def settle(devices: list[Device], proxy: ChaosProxy, memory_id: UUID) -> None:
    """Everyone comes back, the network is good, and all that was typed is acked."""
    proxy.calm = True
    for device in devices:
        await device.stop()
        await device.start(memory_id)
    for device in devices:
        assert device.document is not None
        await device.document.synced(PATIENCE)
        await device.document.saved(PATIENCE)
    head = max(device.document.position[1] for device in devices if device.document)
    for device in devices:
        assert device.document is not None
        await device.document.reached(head, PATIENCE)


async def same_everywhere(
    devices: list[Device], server: LocalServer, token: str, database: str, memory_id: UUID
) -> None:
    texts = {str(device.document.text) for device in devices if device.document}
    tags = {
        tuple(sorted(device.document.doc.get("tags", type=Map).keys()))
        for device in devices
        if device.document
    }
    assert len(texts) == 1
    assert len(tags) == 1
    async with Client(server.socket_url, token, device_id="fresh") as fresh:
        found = await fresh.open(memory_id)
        await found.synced(PATIENCE)
        assert {str(found.text)} == texts
        await projected(database, memory_id)
        row = (await fresh.call(MEMORIES_GET, GetMemory(id=memory_id))).memory
    assert {row.content["text"]} == texts
    assert {tuple(row.tags)} == tags


async def projected(database: str, memory_id: UUID) -> None:
    """Wait until the rows stand for the whole log."""
    connection = await asyncpg.connect(database)
    try:
        async with asyncio.timeout(PATIENCE):
            while not await connection.fetchval(  # noqa: ASYNC110 (it is another's event)
                "SELECT projected_offset = head FROM documents WHERE id = $1", memory_id
            ):
                await asyncio.sleep(0.01)
        offsets = await connection.fetchval(
            "SELECT array_agg(log_offset ORDER BY log_offset) FROM document_updates"
            " WHERE document_id = $1",
            memory_id,
        )
        assert (offsets or []) == list(range(1, len(offsets or []) + 1))
    finally:
        await connection.close()


async def test_without_deletions_every_word_of_every_device_survives(
    database: str, data_directory: Path
) -> None:
    steps = [
        (kind, number)
        for kind in ("insert", "offline", "insert", "cut", "online", "insert", "restart", "insert")
        for number in range(3)
    ]
    random = Random(7)
    server = LocalServer(data_directory, database)
    await server.start()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(server.stop)
        token = await register(server.url, "words@example.com")
        proxy = await stack.enter_async_context(ChaosProxy(server.socket_url, random))
        async with Client(server.socket_url, token) as setup:
            reply = await setup.call(MEMORIES_CREATE, CreateMemory(id=uuid4()))
        devices = [Device(proxy.url, token, name) for name in "XYZ"]
        for device in devices:
            await device.start(reply.memory.id)
        for kind, number in steps:
            device = devices[number]
            if kind == "restart":
                await server.stop()
                await server.start()
            elif kind == "cut":
                proxy.cut()
            elif kind in ("online", "offline"):
                await device.stop()
                await device.start(reply.memory.id, online=kind == "online")
            else:
                device.edit("insert", random)
        await settle(devices, proxy, reply.memory.id)
        await same_everywhere(devices, server, token, database, reply.memory.id)
        assert devices[0].document is not None
        text = str(devices[0].document.text)
        for device in devices:
            assert device.typed == 4
        # Insertions may land inside each other's words, so the characters are counted.
        assert text.count("<") == text.count(">") == 12
        assert [text.count(name) for name in "XYZ"] == [4, 4, 4]
        for device in devices:
            await device.stop()
