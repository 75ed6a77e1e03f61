"""What goes wrong: each fault comes over the site, lasts, and is lifted again.

Before it is lifted the site is told (`lifting`), so that the last that was written during it may
have been the last for a while, and nothing that follows tells of it.
"""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from random import Random
from typing import NamedTuple

from tests.faults.patience import until
from tests.faults.site import BOUND_SECONDS, Site

SMALL_DISK = "disk full"
MAX_PASTES = 60  # of 64 KB each


class Fault(NamedTuple):
    """`strike` returns when what went wrong has been lifted. Two faults of one `part` are not
    had at once."""

    kind: str
    part: str
    strike: Callable[[Site, Random], Coroutine[None, None, None]]


async def kill_node(site: Site, random: Random) -> None:
    site.lifting()
    await random.choice(site.nodes).end(signal.SIGKILL, random.uniform(0.1, 1.5))


async def drain_node(site: Site, random: Random) -> None:
    site.lifting()
    await random.choice(site.nodes).end(signal.SIGTERM, random.uniform(0.1, 1.5))


async def stop_redis(site: Site, random: Random) -> None:
    await asyncio.to_thread(site.redis.stop)
    await asyncio.sleep(random.uniform(0.5, 3))
    site.lifting()
    await asyncio.to_thread(site.redis.start)


async def pause_redis(site: Site, random: Random) -> None:
    """Shorter than it takes to be noticed, or longer."""
    site.redis.pause()
    await asyncio.sleep(random.choice((random.uniform(0.5, 3), random.uniform(6, 8))))
    site.lifting()
    site.redis.resume()


async def lose_messages(site: Site, random: Random) -> None:
    """5 % of them, until some are lost."""
    dropped = site.relay.dropped
    site.relay.share = 0.05
    await until(lambda: site.relay.dropped >= dropped + 5, 30)
    site.relay.share = 1.0  # the last one too
    site.lifting()
    await asyncio.sleep(0.2)
    site.relay.share = 0.0


async def stop_database(site: Site, random: Random) -> None:
    await site.database.stop()
    await asyncio.sleep(random.uniform(0.2, 3))
    site.lifting()
    await site.database.start()


async def kill_database(site: Site, random: Random) -> None:
    await site.database.kill()
    await asyncio.sleep(random.uniform(0.1, 2))
    site.lifting()
    await site.database.start()


async def fill_disk(site: Site, random: Random) -> None:
    await site.database.fill()
    await asyncio.sleep(random.uniform(0.5, 2))
    site.lifting()
    await site.database.free()


async def stop_reading(site: Site, random: Random) -> None:
    """One device reads nothing while another writes more than its socket and its node's buffer
    for it hold, until the node passes it by."""
    slow, writer = random.sample(site.devices, 2)
    document_id = random.choice(site.documents)
    log = slow.node.log
    begun = log.stat().st_size
    transport = slow.transport()
    if transport is not None:
        transport.pause_reading()

        def over() -> bool:
            """Whether the node has passed it by; or another fault took the connection."""
            with log.open("rb") as file:
                file.seek(begun)
                return b"slow reader" in file.read() or transport.is_closing()

        pastes = 0
        while not over() and pastes < MAX_PASTES:
            writer.edit(document_id, "x" * (1 << 16))
            pastes += 1
            await asyncio.sleep(0.03)
        # Another fault may hold the writer's edits up.
        if site.lasting == 1:
            await until(over, BOUND_SECONDS)
        await asyncio.sleep(random.uniform(0.5, 2))
    site.lifting()
    if transport is not None and not transport.is_closing():
        transport.resume_reading()
    writer.erase(document_id)


async def set_clock(site: Site, random: Random) -> None:
    """Minutes to hours ahead or back, on one node. Its devices go on, if with new tokens."""
    node = random.choice(site.devices).node
    node.clock.set(random.choice((-1, 1)) * random.uniform(120, 4 * 3600))
    await asyncio.sleep(random.uniform(1.5, 3))  # what is too old is sent away every second
    begun = len(site.ledger.acks)

    def goes_on() -> bool:
        here = any(device.node is node for device in site.devices)
        return not here or any(ack.node == node.name for ack in site.ledger.acks[begun:])

    await until(goes_on, BOUND_SECONDS)
    site.lifting()
    node.clock.set(0.0)


FAULTS = (
    Fault("node killed", "node", kill_node),
    Fault("node drained", "node", drain_node),
    Fault("redis stopped", "redis", stop_redis),
    Fault("redis paused", "redis", pause_redis),
    Fault("messages lost", "redis", lose_messages),
    Fault("database stopped", "database", stop_database),
    Fault("database killed", "database", kill_database),
    Fault(SMALL_DISK, "database", fill_disk),
    Fault("slow reader", "device", stop_reading),
    Fault("clock set", "clock", set_clock),
)
