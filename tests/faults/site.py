"""Two nodes, a PostgreSQL, a Redis behind a relay, and the devices that use them."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID, uuid4

from protocol.client import Client
from protocol.memories import MEMORIES_CREATE, CreateMemory
from tests.conftest import fresh_directory
from tests.faults.database import Database, small_disk
from tests.faults.device import Counts, Device
from tests.faults.ledger import Ledger
from tests.faults.lossy import LossyRedis
from tests.faults.node import Node
from tests.faults.patience import until
from tests.redisserver import RedisServer
from tests.serving import register

DOCUMENTS = 3
RETENTIONS = ("1s", "7d")  # with the first, logs are trimmed while devices are behind
# Until every device has everything, after the last fault: a lost last message is looked for every
# ten seconds, and a node may have to start first.
BOUND_SECONDS = 45.0
EMAIL = "faults@example.com"
LOGIN = {"email": EMAIL, "password": "Correct-Horse-1!"}


class Site:
    """Use as `async with Site.running(random, ...) as site`."""

    def __init__(
        self, database: Database, redis: RedisServer, relay: LossyRedis, nodes: Sequence[Node]
    ) -> None:
        self.database = database
        self.redis = redis
        self.relay = relay
        self.nodes = nodes
        self.ledger = Ledger()
        self.documents: list[UUID] = []
        self.devices: list[Device] = []
        self.hush = False  # whether the devices stop writing when the last fault is lifted
        self.lasting = 0  # faults that have not been lifted

    def lifting(self) -> None:
        """A fault is about to be lifted."""
        self.lasting -= 1
        if self.hush and not self.lasting:
            for device in self.devices:
                device.rest()

    @classmethod
    @asynccontextmanager
    async def running(cls, random: Random, *, small: bool) -> AsyncIterator["Site"]:
        """A site that runs, with 6 to 10 devices that write. With `small` the database has a
        disk that can be filled."""
        async with AsyncExitStack() as stack:
            directory = stack.enter_context(fresh_directory())
            place = stack.enter_context(small_disk() if small else fresh_directory())
            database = Database(place, small_disk=small)
            await database.start()
            stack.push_async_callback(database.stop)
            await database.migrate()
            redis = RedisServer()
            redis.start()
            stack.callback(redis.stop)
            relay = await stack.enter_async_context(
                LossyRedis(redis.port, Random(random.getrandbits(64)))
            )
            environ = {
                "DATABASE_URL": database.url,
                "REDIS_URL": relay.url,
                "BLOB_URL": (directory / "blobs").as_uri(),
                "UPDATE_RETENTION": random.choice(RETENTIONS),
            }
            nodes = [Node(name, directory / name, **environ) for name in "AB"]
            await stack.enter_async_context(kept(*(node.keep() for node in nodes)))
            site = cls(database, redis, relay, nodes)
            for node in nodes:
                await node.ready()
            await site._furnish(directory, random)
            running = [each for device in site.devices for each in (device.keep(), device.write())]
            await stack.enter_async_context(kept(*running))
            await site.settled()
            yield site

    async def _furnish(self, directory: Path, random: Random) -> None:
        """An account with its documents, and its devices: half of them keep what they have."""
        token = await register(self.nodes[0].url, EMAIL)
        async with Client(self.nodes[0].socket_url, token) as client:
            for _ in range(DOCUMENTS):
                made = await client.call(MEMORIES_CREATE, CreateMemory(id=uuid4()))
                self.documents.append(made.memory.id)
        for number in range(random.randint(6, 10)):
            nodes = self.nodes if number % 2 else self.nodes[::-1]
            store = directory / f"device-{number}.sqlite" if number % 4 < 2 else None
            self.devices.append(self.device(f"d{number}", nodes, random, store))

    def device(
        self, name: str, nodes: Sequence[Node], random: Random, store: Path | None = None
    ) -> Device:
        """One more device, with choices of its own."""
        own = Random(random.getrandbits(64))
        return Device(
            name,
            nodes,
            login=LOGIN,
            documents=self.documents,
            ledger=self.ledger,
            random=own,
            store=store,
        )

    def written(self) -> Counts:
        """What all devices have written so far."""
        return {key: n for device in self.devices for key, n in device.written().items()}

    async def settled(self, *, all_saved: bool = False) -> None:
        """Return when every device has what any of them had written by now; with `all_saved`,
        when besides nothing waits for its ack.

        Raises:
            AssertionError: it takes longer than BOUND_SECONDS. It names what hangs.
        """
        due = self.written()
        try:
            await until(
                lambda: not any(True for _ in self._hanging(due, all_saved=all_saved)),
                BOUND_SECONDS,
            )
        except TimeoutError:
            said = "\n".join(self._hanging(due, all_saved=all_saved))
            logs = "\n".join(f"node {node.name}: {node.last_words()}" for node in self.nodes)
            raise AssertionError(f"after {BOUND_SECONDS:g} s:\n{said}\n{logs}") from None

    def _hanging(self, due: Counts, *, all_saved: bool) -> Iterator[str]:
        # What was typed on a device without a store goes with the app.
        names = {device.name for device in self.devices}
        due = {key: number for key, number in due.items() if key[1] in names}
        for device in self.devices:
            yield from device.lacks(due)
            if all_saved:
                yield from device.unsaved()


@asynccontextmanager
async def kept(*lives: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run these meanwhile. Should one fail, so does what is done meanwhile."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(life) for life in lives]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
