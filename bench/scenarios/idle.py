"""Sockets that are only there: what memory each takes."""

import asyncio
import resource
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

import uvloop

from bench.cpu import Meter
from bench.errors import BenchmarkFailed
from bench.scenarios.device import PING, PONG, Device
from bench.scenarios.resident import Resident
from bench.scenarios.rest import rested
from bench.scenarios.scenario import Figure, Finding, scaled
from bench.server import Server, running
from bench.websocket import Socket

SOCKETS = 15_000
ACCOUNTS = 100
DOCUMENTS = 10  # of an account
OPEN = 3  # of them on each socket
WARM_UP = 200  # sockets that come and go before
AT_ONCE = 64
HELD_SECONDS = 30  # a heartbeat and a little: each socket is pinged, and answers
FILES = 1000  # open beside the sockets
KILOBYTE = 1e3


class Idle:
    """`idle`: the resident memory of the process that holds them, a socket."""

    name = "idle"
    title = "15,000 idle sockets with 3 open documents each"

    def run(self, share: float) -> Finding:
        sockets = scaled(SOCKETS, share, 50)
        with (
            _many_files(sockets + FILES),
            running(scaled(ACCOUNTS, share, 2)) as server,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            return runner.run(_measure(server, sockets, share))


async def _measure(server: Server, sockets: int, share: float) -> Finding:
    accounts = [(token, await server.create_memories(DOCUMENTS, token)) for token in server.tokens]
    meter, resident = Meter(server.pid), Resident(server.pid)
    for socket in await _come(server.port, accounts, scaled(WARM_UP, share, 10)):
        socket.close()
    await rested(meter)
    before = resident.main
    began = asyncio.get_running_loop().time()
    idle = await _come(server.port, accounts, sockets)
    took = asyncio.get_running_loop().time() - began
    at_once = resident.main - before
    usage = meter.read()
    seconds = scaled(HELD_SECONDS, share, 1)
    await asyncio.sleep(seconds)
    usage = meter.read() - usage
    held = resident.main - before
    for socket in idle:
        if socket.lost.done():
            socket.lost.result()
        socket.close()
    return Finding(
        [
            Figure.at_most("memory a socket", held / sockets / KILOBYTE, 40, 20, "kB"),
            Figure.stated("just after all had come", at_once / sockets / KILOBYTE, "kB"),
            Figure.stated("sockets that came a second", sockets / took, "/s"),
            Figure.stated("server's process", 100 * usage.server / usage.seconds, "% of a core"),
        ],
        f"{sockets:,} sockets of {len(accounts)} accounts, each with {OPEN} of its account's "
        f"{DOCUMENTS} documents open. Memory is what the resident size of the main process grew "
        f"by, {seconds} s after the last came, all still there and answering pings; before, "
        "some sockets had come and gone.",
    )


async def _come(
    port: int, accounts: Sequence[tuple[str, Sequence[UUID]]], sockets: int
) -> list[Socket]:
    turns = asyncio.Semaphore(AT_ONCE)

    async def come(number: int) -> Socket:
        token, memory_ids = accounts[number % len(accounts)]
        round_ = number // len(accounts)
        async with turns:
            device = await Device.connect(port, token)
            await asyncio.gather(
                *(
                    device.open(memory_ids[(round_ + place) % len(memory_ids)])
                    for place in range(OPEN)
                )
            )
        socket = device.socket
        socket.pour_into(lambda data: _answer(socket, data))
        return socket

    return await asyncio.gather(*map(come, range(sockets)))


def _answer(socket: Socket, data: bytes) -> bytes:
    if PING in data:
        socket.write(PONG)
    return b""


@contextmanager
def _many_files(count: int) -> Iterator[None]:
    """Let this process, and those it starts within, have so many files open.

    Raises:
        BenchmarkFailed: the system forbids it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        if soft != resource.RLIM_INFINITY and soft < count:
            most = hard if hard == resource.RLIM_INFINITY else max(hard, count)
            resource.setrlimit(resource.RLIMIT_NOFILE, (count, most))
    except (ValueError, OSError):
        raise BenchmarkFailed(
            f"{count:,} open files are needed and {hard:,} allowed: raise `ulimit -n`"
        ) from None
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
