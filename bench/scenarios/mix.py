"""What people do in a day: sign in, look at lists, read, note something down, change it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from random import Random
from uuid import UUID, uuid4

import uvloop

from bench.cpu import Meter
from bench.scenarios.account import Account, Desk
from bench.scenarios.device import Device
from bench.scenarios.queries import Journal
from bench.scenarios.scenario import Figure, Finding, percentile, scaled
from bench.scenarios.writing import words
from bench.server import Server, running
from protocol.memories import (
    MEMORIES_CREATE,
    MEMORIES_GET,
    MEMORIES_LIST,
    MEMORIES_UPDATE,
    CreateMemory,
    GetMemory,
    ListMemories,
    UpdateMemory,
)

USERS = 200
SECONDS = 60
PAUSE_SECONDS = 1.0  # between two operations of one user, on average
VISIT = 60  # operations, on average, until a user signs in again
WEIGHTS = {"create": 3, "list": 6, "get": 7, "update": 4}
MEMORIES = 5  # of a user before
TEXT_CHARACTERS = 500
SIGN_UPS_AT_ONCE = 4


class Mix:
    """`mix`: how long operations take, and the queries that they make."""

    name = "mix"
    title = "200 users sign in, create, list, read and update memories"

    def run(self, share: float) -> Finding:
        with running(0) as server, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_measure(server, share))


async def _measure(server: Server, share: float) -> Finding:
    times = Times()
    journal = Journal(server.pid)
    meter = Meter(server.pid)
    seconds = scaled(SECONDS, share, 5)
    async with Desk(server.port) as desk:
        users = await _users(server.port, desk, scaled(USERS, share, 5), times)
        times.seconds.clear()
        async with journal.written():
            usage = meter.read()
            end = asyncio.get_running_loop().time() + seconds
            await asyncio.gather(*(user.live(end) for user in users))
            usage = meter.read() - usage
    for user in users:
        user.leave()
    queries = journal.read()
    every = [taken for each in times.seconds.values() for taken in each]
    return Finding(
        [
            Figure.at_most("operation, p95", 1e3 * percentile(every, 0.95), 200, 50, "ms"),
            Figure.at_most("query, mean", 1e3 * queries.mean, 50, 5, "ms"),
            *(
                Figure.stated(f"{name}, p95", 1e3 * percentile(each, 0.95), "ms")
                for name, each in sorted(times.seconds.items())
            ),
            Figure.stated("operations a second", len(every) / usage.seconds, "/s"),
            Figure.stated("queries an operation", queries.number / len(every)),
            *(
                Figure.stated(f"CPU time of {whose}, an operation", 1e3 * used / len(every), "ms")
                for whose, used in (
                    ("the server's process", usage.server),
                    ("its workers", usage.workers),
                    ("PostgreSQL", usage.postgres),
                )
            ),
        ],
        f"{len(users)} users for {seconds} s, each with a socket and a pause of "
        f"{PAUSE_SECONDS:g} s on average after each operation, of which one in {VISIT} is a login "
        "over REST, whose password check is slow on purpose; it is in the p95 of all. Others are "
        f"socket operations: {', '.join(f'{name} {many}' for name, many in WEIGHTS.items())} in "
        f"{sum(WEIGHTS.values())}. Queries are all that the server made meanwhile, those behind "
        "the answers too, with the time that PostgreSQL's log gives for parsing, binding and "
        "executing them and for the commits; writing that log slows it a little.",
    )


class Times:
    """The seconds that operations took, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}
        self._loop = asyncio.get_running_loop()

    @contextmanager
    def taken(self, name: str) -> Iterator[None]:
        """What is done within is an operation of this name."""
        began = self._loop.time()
        yield
        self.seconds.setdefault(name, []).append(self._loop.time() - began)


class User:
    """Someone with a socket, who does one thing after the other."""

    def __init__(
        self, port: int, desk: Desk, account: Account, times: Times, random: Random
    ) -> None:
        self._port = port
        self._desk = desk
        self._account = account
        self._times = times
        self._random = random
        self._numbers = count(1)
        self._memories: list[UUID] = []
        self._device: Device | None = None

    async def sign_in(self) -> None:
        """Come back, with a new session."""
        self.leave()
        with self._times.taken("login"):
            token = await self._desk.sign_in(self._account)
        await self.connect(token)

    async def connect(self, token: str) -> None:
        """Come with a session that was begun."""
        self._device = await Device.connect(self._port, token)

    async def live(self, end: float) -> None:
        """Do what people do until the loop's time is `end`."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._random.expovariate(1 / PAUSE_SECONDS))
            if loop.time() > end:
                return
            if self._random.randrange(VISIT) == 0:
                await self.sign_in()
            else:
                [name] = self._random.choices(list(WEIGHTS), list(WEIGHTS.values()))
                await self.do(name)

    async def do(self, name: str) -> None:
        """One operation.

        Raises:
            BenchmarkFailed: it was refused.
        """
        assert self._device is not None, "who acts is connected"
        with self._times.taken(name):
            match name:
                case "create":
                    memory = CreateMemory(
                        id=uuid4(), title=self._title(), content={"text": self._text()}
                    )
                    created = await self._device.call(MEMORIES_CREATE, memory)
                    self._memories.append(created.memory.id)
                case "list":
                    await self._device.call(MEMORIES_LIST, ListMemories())
                case "get":
                    await self._device.call(MEMORIES_GET, GetMemory(self._any()))
                case _:
                    change = UpdateMemory(self._any(), content={"text": self._text()})
                    await self._device.call(MEMORIES_UPDATE, change)

    def leave(self) -> None:
        if self._device is not None:
            self._device.close()

    def _any(self) -> UUID:
        return self._random.choice(self._memories)

    def _title(self) -> str:
        return f"Memory {next(self._numbers)}"

    def _text(self) -> str:
        return words(TEXT_CHARACTERS, self._random)


async def _users(port: int, desk: Desk, many: int, times: Times) -> list[User]:
    """Users who are connected, with a few memories each."""
    turns = asyncio.Semaphore(SIGN_UPS_AT_ONCE)

    async def make(number: int) -> User:
        async with turns:
            account, token = await desk.sign_up()
            user = User(port, desk, account, times, Random(number))
            await user.connect(token)
            for _ in range(MEMORIES):
                await user.do("create")
        return user

    return await asyncio.gather(*map(make, range(many)))
