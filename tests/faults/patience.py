"""Waiting for what other processes do: there is no event of it here."""

import asyncio
from collections.abc import Awaitable, Callable

LOOK_SECONDS = 0.02


async def until(holds: Callable[[], bool | Awaitable[bool]], timeout: float) -> None:
    """Return when it holds.

    Raises:
        TimeoutError: it does not within `timeout` seconds.
    """
    async with asyncio.timeout(timeout):
        while True:
            held = holds()
            if held if isinstance(held, bool) else await held:
                return
            await asyncio.sleep(LOOK_SECONDS)
