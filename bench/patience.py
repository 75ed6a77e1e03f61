"""What a measurement is done in: within a time limit, and undisturbed by the generator itself."""

import asyncio
import gc
from collections.abc import Awaitable, Collection

from bench.errors import BenchmarkFailed
from bench.websocket import Socket

# Below the silence after which the server would ping, and not be answered, twice.
LOAD_SECONDS = 40.0


async def unless_lost(
    sending: Awaitable[None], sockets: Collection[Socket], seconds: float = LOAD_SECONDS
) -> None:
    """Wait until everything is sent, for so many seconds at most.

    Raises:
        BenchmarkFailed: a connection ended before, or it took too long.
    """
    task = asyncio.ensure_future(sending)
    try:
        await asyncio.wait(
            [task, *(socket.lost for socket in sockets)],
            timeout=seconds,
            return_when=asyncio.FIRST_COMPLETED,
        )
        for socket in sockets:
            if socket.lost.done():
                socket.lost.result()
        if not task.done():
            raise BenchmarkFailed(f"the server did not keep up within {seconds:g} s")
        task.result()
    finally:
        task.cancel()


class Quiet:
    """No garbage collection of the generator's own within."""

    def __enter__(self) -> None:
        gc.collect()
        gc.disable()

    def __exit__(self, *_: object) -> None:
        gc.enable()
