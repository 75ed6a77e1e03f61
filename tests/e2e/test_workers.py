"""Devices and scrapers of a server with two workers: spread, undisturbed, and through restarts."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from uuid import UUID, uuid4

import httpx
import pytest
import pytest_asyncio
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from protocol.client import Client
from protocol.frames import SUBPROTOCOL
from protocol.memories import MEMORIES_CREATE, CreateMemory
from tests.conftest import fresh_directory
from tests.redisserver import RedisServer
from tests.serving import register
from tests.workers import WorkersProcess, samples

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATIENCE = 30.0
INTERRUPTION_SECONDS = (
    10.0  # at most, on a machine that does much else; two or so on one that rests
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def workers(redis: RedisServer, shared_database: str) -> AsyncIterator[WorkersProcess]:
    """A server that the tests of this module share; whatever they kill is replaced."""
    with fresh_directory() as directory:
        server = WorkersProcess(directory, redis, shared_database)
        server.start()
        yield server
        assert server.stop() == 0


async def test_connections_are_spread_over_the_workers(workers: WorkersProcess) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(60):
            # They say no hello, and need not: they are connected all the same.
            await stack.enter_async_context(
                connect(workers.socket_url, subprotocols=[Subprotocol(SUBPROTOCOL)])
            )
        counts = workers.samples("websocket_connections_active")
        assert counts.keys() == {"0", "1"}
        assert sum(counts.values()) == 60
        # Each goes one way or the other by chance: fewer than 10 come once in ten million times.
        assert min(counts.values()) >= 10


async def test_a_scrape_has_all_workers_in_the_format_that_is_asked_for(
    workers: WorkersProcess,
) -> None:
    asked = {"accept": "application/openmetrics-text; version=1.0.0"}
    async with httpx.AsyncClient(base_url=workers.url) as http:
        plain = await http.get("/metrics")
        open_metrics = await http.get("/metrics", headers=asked)
        assert (await http.post("/metrics")).status_code == 405
    assert plain.headers["content-type"].startswith("text/plain")
    assert open_metrics.headers["content-type"].startswith("application/openmetrics-text")
    assert open_metrics.text.count("# EOF") == 1
    assert open_metrics.text.endswith("# EOF\n")
    for text in (plain.text, open_metrics.text):
        assert 'memo_rooms_open{worker="0"}' in text
        assert 'memo_rooms_open{worker="1"}' in text
    assert workers.samples("memo_workers_up") == {"": 2}


async def test_a_worker_that_does_not_answer_is_left_out_of_a_scrape(
    workers: WorkersProcess,
) -> None:
    paused = workers.workers[1]
    paused.suspend()
    try:
        async with AsyncExitStack() as stack:
            # Of so many connections some are the other worker's to answer.
            scrapes = []
            for _ in range(30):
                http = await stack.enter_async_context(httpx.AsyncClient(timeout=PATIENCE))
                scrapes.append(asyncio.create_task(http.get(f"{workers.url}/metrics")))
            await asyncio.wait(scrapes, return_when=asyncio.FIRST_COMPLETED)
            paused.resume()
            answers = [
                samples(answer.text, "memo_workers_up") for answer in await asyncio.gather(*scrapes)
            ]
        assert {"": 1} in answers
    finally:
        paused.resume()
    assert workers.samples("memo_workers_up") == {"": 2}


class Device:
    """A client that writes in a memory of its own."""

    def __init__(self, client: Client, memory_id: UUID) -> None:
        self.client = client
        self.memory_id = memory_id
        self.acked = 0
        self.interruption = 0.0  # the longest time between two acks, in seconds

    @classmethod
    async def started(cls, url: str, token: str, stack: AsyncExitStack) -> "Device":
        client = await stack.enter_async_context(Client(url, token, device_id=uuid4().hex))
        memory = (await client.call(MEMORIES_CREATE, CreateMemory(id=uuid4()))).memory
        return cls(client, memory.id)

    async def write_until(self, over: asyncio.Event) -> None:
        """Write one word after another, each when the one before it is acked."""
        document = await self.client.open(self.memory_id)
        await document.synced(PATIENCE)
        while not over.is_set():
            asked_at = time.monotonic()
            document.text += f"{self.acked} "
            await document.saved(PATIENCE)
            self.acked += 1
            self.interruption = max(self.interruption, time.monotonic() - asked_at)


async def read(url: str, token: str, memory_id: UUID) -> str:
    """What a device that was never there before gets to see."""
    async with Client(url, token) as client:
        document = await client.open(memory_id)
        await document.synced(PATIENCE)
        return str(document.text)


async def test_a_killed_worker_is_replaced_and_the_others_devices_notice_nothing(
    workers: WorkersProcess,
) -> None:
    token = await register(workers.url, f"{uuid4().hex}@example.com")
    async with AsyncExitStack() as stack:
        devices: dict[str, Device] = {}
        while len(devices) < 2:
            before = workers.samples("websocket_connections_active")
            device = await Device.started(workers.socket_url, token, stack)
            after = workers.samples("websocket_connections_active")
            [worker] = [worker for worker in after if after[worker] > before[worker]]
            devices.setdefault(worker, device)
        welcome = devices["1"].client.welcome
        ended = len(workers.events("a worker ended"))
        workers.workers[0].kill()
        for device in devices.values():
            document = await device.client.open(device.memory_id)
            document.text += "afterwards"
            await document.saved(PATIENCE)
        workers.wait_for("a worker ended", ended + 1)
        assert devices["1"].client.welcome is welcome  # it has never had to say hello again
        for device in devices.values():
            assert await read(workers.socket_url, token, device.memory_id) == "afterwards"


async def test_a_rolling_restart_loses_nothing_and_is_short_for_everyone(
    workers: WorkersProcess,
) -> None:
    old = workers.workers
    token = await register(workers.url, f"{uuid4().hex}@example.com")
    over = asyncio.Event()
    async with AsyncExitStack() as stack:
        devices = [await Device.started(workers.socket_url, token, stack) for _ in range(4)]
        async with asyncio.TaskGroup() as tasks:
            for device in devices:
                tasks.create_task(device.write_until(over))
            restarts = len(workers.events("the workers have been restarted"))
            os.kill(workers.pid, signal.SIGHUP)
            await asyncio.to_thread(
                workers.wait_for, "the workers have been restarted", restarts + 1
            )
            over.set()
        new = workers.workers
        assert old.keys() == new.keys()
        assert not {process.pid for process in old.values()} & {p.pid for p in new.values()}
        for device in devices:
            words = "".join(f"{number} " for number in range(device.acked))
            assert await read(workers.socket_url, token, device.memory_id) == words
            assert device.acked > 10
            assert device.interruption < INTERRUPTION_SECONDS
