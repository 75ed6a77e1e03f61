"""When a server has done what was left to do behind the answers."""

import asyncio

from bench.cpu import Meter

REST_SECONDS = 1.5  # projections and snapshots begin within that after an edit
LIMIT_SECONDS = 120.0
_IDLE = 0.02  # of a core


async def rested(meter: Meter) -> None:
    """Wait until neither the server's workers nor its own process do more than tick.

    Raises:
        TimeoutError: it does not come to rest within LIMIT_SECONDS.
    """
    async with asyncio.timeout(LIMIT_SECONDS):
        while True:
            before = meter.read()
            await asyncio.sleep(REST_SECONDS)
            used = meter.read() - before
            if used.server + used.workers < _IDLE * used.seconds:
                return
