"""A long time in fast motion: sessions begin and end, documents are opened, written and closed."""

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from random import Random
from statistics import linear_regression
from typing import NamedTuple
from uuid import UUID, uuid4

import uvloop

from bench.edits import keystrokes
from bench.errors import BenchmarkFailed
from bench.scenarios.account import Account, Desk
from bench.scenarios.device import ANSWER_SECONDS, Device
from bench.scenarios.resident import Resident
from bench.scenarios.scenario import Figure, Finding, scaled
from bench.server import Server, running
from protocol.documents import DOCUMENTS_CLOSE, CloseDocument
from protocol.errors import ErrorCode
from protocol.memories import MEMORIES_CREATE, CreateMemory

UPDATES = 1_250_000
WARM_UP = 0.2  # of them, before memory is looked at
PEOPLE = 16
SITTINGS = 10  # of one person with one memory, each on a connection of its own
EDITS = 100  # of a sitting
SAMPLE_SECONDS = 0.2
PER_UPDATES = 100_000
MEGABYTE = 1e6


class Soak:
    """`soak`: what the resident memory of the server's processes grows by, for all that passes."""

    name = "soak"
    title = "More than a million updates: open, edit, close, reconnect, revoke"

    def run(self, share: float) -> Finding:
        people = scaled(PEOPLE, 10 * share, 2) if share < 0.1 else PEOPLE
        updates = scaled(UPDATES, share, 2 * people * SITTINGS * EDITS)
        with running(0) as server, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_measure(server, updates, people))


class Sample(NamedTuple):
    """Resident bytes of the main process and of the workers, after so many updates."""

    updates: int
    main: int
    workers: int


class Traffic:
    """What passes through a server until `goal` updates are acked."""

    def __init__(self, port: int, desk: Desk, goal: int) -> None:
        self.updates = 0
        self.memories = 0
        self.connections = 0
        self.revoked = 0
        self.samples: list[Sample] = []
        self._port = port
        self._desk = desk
        self._goal = goal
        self._edits = keystrokes(SITTINGS * EDITS, Random(1))
        self._door = asyncio.Lock()  # one at a time signs in

    async def live(self, account: Account) -> None:
        """Sign in, write a memory, be signed out; again and again.

        Raises:
            BenchmarkFailed: something was refused, or ended otherwise than it should.
        """
        while self.updates < self._goal:
            async with self._door:
                token = await self._desk.sign_in(account)
            onlooker = await Device.connect(self._port, token)
            created = await onlooker.call(MEMORIES_CREATE, CreateMemory(id=uuid4()))
            await onlooker.open(created.memory.id)
            self.memories += 1
            for start, end in pairwise(range(0, len(self._edits) + 1, EDITS)):
                await self._sit(token, created.memory.id, self._edits[start:end])
            await self._desk.sign_out(token)
            await _ended(onlooker)
            self.connections += 1
            self.revoked += 1

    async def watch(self, resident: Resident) -> None:
        """Take samples for ever, while nobody signs in."""
        while True:
            async with self._door:
                self.samples.append(Sample(self.updates, resident.main, resident.workers))
            await asyncio.sleep(SAMPLE_SECONDS)

    async def _sit(self, token: str, memory_id: UUID, edits: Sequence[bytes]) -> None:
        device = await Device.connect(self._port, token)
        opened = await device.open(memory_id)
        await device.write(opened.channel, edits)
        await device.call(DOCUMENTS_CLOSE, CloseDocument(opened.channel))
        device.close()
        self.connections += 1
        self.updates += len(edits)


async def _measure(server: Server, updates: int, many: int) -> Finding:
    began = asyncio.get_running_loop().time()
    async with Desk(server.port) as desk:
        traffic = Traffic(server.port, desk, updates)
        accounts = [(await desk.sign_up())[0] for _ in range(many)]
        watching = asyncio.ensure_future(traffic.watch(Resident(server.pid)))
        try:
            await asyncio.gather(*map(traffic.live, accounts))
        finally:
            watching.cancel()
    seconds = asyncio.get_running_loop().time() - began
    steady = [sample for sample in traffic.samples if sample.updates >= WARM_UP * updates]
    first, last = steady[0], steady[-1]
    return Finding(
        [
            growth("main process", steady, [sample.main for sample in steady]),
            growth("workers", steady, [sample.workers for sample in steady]),
            Figure.stated("main process after the warm-up", first.main / MEGABYTE, "MB"),
            Figure.stated("main process at the end", last.main / MEGABYTE, "MB"),
            Figure.stated("workers after the warm-up", first.workers / MEGABYTE, "MB"),
            Figure.stated("workers at the end", last.workers / MEGABYTE, "MB"),
            Figure.stated("updates a second", traffic.updates / seconds, "/s"),
        ],
        f"{traffic.updates:,} updates in {seconds / 60:.1f} minutes, over {traffic.memories:,} "
        f"memories, {traffic.connections:,} connections and {traffic.revoked:,} sessions that "
        f"were ended while in use. {many} people at a time write {EDITS} characters in each of "
        f"{SITTINGS} sittings with a memory, while another device of theirs looks on. Growth is "
        "the slope of the resident size over the updates, by least squares, behind the first "
        f"{WARM_UP:.0%} of them. It is read while nobody signs in: a password check takes 64 MiB "
        "for its moment.",
    )


def growth(name: str, samples: Sequence[Sample], sizes: Sequence[int]) -> Figure:
    """What `sizes` in bytes, one for each sample, grow by in PER_UPDATES updates.

    Raises:
        BenchmarkFailed: the run was too short to tell.
    """
    if len(samples) < 3 or samples[0].updates == samples[-1].updates:
        raise BenchmarkFailed("the soak was too short: give it a larger share")
    slope = linear_regression([sample.updates for sample in samples], sizes).slope
    growth = slope * PER_UPDATES / MEGABYTE
    return Figure.at_most(f"{name}, growth in {PER_UPDATES:,} updates", growth, 1, 0.1, "MB")


async def _ended(device: Device) -> None:
    """Wait until the server has ended the connection, because its session is over.

    Raises:
        BenchmarkFailed: it ended for another reason.
        TimeoutError: it did not end.
    """
    async with asyncio.timeout(ANSWER_SECONDS):
        await asyncio.wait([device.socket.lost])
    error = device.socket.lost.exception()
    if error is None or ErrorCode.SESSION_ENDED.value not in str(error):
        raise BenchmarkFailed(f"a connection of an ended session: {error or 'closed here'}")
