"""A server of y-websocket's protocol, as small as can be: what comes goes to everyone."""

import asyncio
import os

from websockets.asyncio.server import ServerConnection, serve

EMPTY_STEP_2 = b"\x00\x01\x02\x00\x00"


async def main() -> None:
    """Serve on PORT until the process is ended."""
    everyone: set[ServerConnection] = set()

    async def speak(connection: ServerConnection) -> None:
        everyone.add(connection)
        try:
            async for message in connection:
                if message[:2] == b"\x00\x00":
                    await connection.send(EMPTY_STEP_2)
                else:
                    for each in list(everyone):
                        await each.send(message)
        finally:
            everyone.discard(connection)

    async with serve(speak, "127.0.0.1", int(os.environ["PORT"])) as server:
        await server.serve_forever()


asyncio.run(main())
