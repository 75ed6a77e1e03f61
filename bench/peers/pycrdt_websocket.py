"""pycrdt-websocket on PORT, without a store, under uvicorn with uvloop and httptools.

It is run by the Python that pycrdt-websocket was installed for, which is not the benchmark's.
"""

import asyncio
import os

import uvicorn
import uvloop
from pycrdt.websocket import (  # type: ignore[import-not-found] # of that Python
    ASGIServer,
    WebsocketServer,
)


async def main() -> None:
    """Serve until a signal ends it."""
    rooms = WebsocketServer()
    config = uvicorn.Config(
        ASGIServer(rooms),
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        ws_ping_interval=None,  # the load generator answers no ping
        log_level="error",
    )
    async with rooms:
        await uvicorn.Server(config).serve()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
