"""A network that misbehaves, between real devices and a real server.

It relays WebSocket messages frame by frame and, by a seeded generator: sends updates twice,
swaps and delays pushes, and cuts connections. It never makes a frame up and loses none without
cutting the connection, as TCP would not either.
"""

import asyncio
from random import Random

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from protocol import frames
from protocol.frames import MAX_MESSAGE_BYTES, SUBPROTOCOL


class ChaosProxy:
    """Listens on a port of its own and relays to `upstream` (a `ws://` address)."""

    def __init__(self, upstream: str, random: Random) -> None:
        self.upstream = upstream
        self.duplicated = 0
        self.reordered = 0
        self.calm = False
        self._random = random
        self._server: Server | None = None
        self._clients: set[ServerConnection] = set()

    @property
    def url(self) -> str:
        assert self._server is not None
        port = next(iter(self._server.sockets)).getsockname()[1]
        return f"ws://127.0.0.1:{port}/ws"

    async def __aenter__(self) -> "ChaosProxy":
        self._server = await serve(
            self._relay,
            "127.0.0.1",
            0,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            max_size=MAX_MESSAGE_BYTES,
            compression=None,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await self._server.wait_closed()

    def cut(self) -> None:
        """Break every connection, with whatever is on its way."""
        for client in tuple(self._clients):
            client.transport.abort()

    async def _relay(self, client: ServerConnection) -> None:
        self._clients.add(client)
        try:
            async with (
                connect(
                    self.upstream,
                    subprotocols=[Subprotocol(SUBPROTOCOL)],
                    max_size=None,
                    compression=None,
                ) as server,
                asyncio.TaskGroup() as group,
            ):
                group.create_task(self._up(client, server))
                group.create_task(self._down(server, client))
        except* (ConnectionClosed, OSError, InvalidHandshake):
            client.transport.abort()
        finally:
            self._clients.discard(client)

    async def _up(self, client: ServerConnection, server: ClientConnection) -> None:
        async for message in client:
            assert isinstance(message, bytes)
            await server.send(message)
            updates = [
                frame
                for frame in frames.decode_client(message)
                if isinstance(frame, frames.Update) and not self.calm
            ]
            if updates and self._random.random() < 0.3:
                self.duplicated += len(updates)
                await server.send(frames.encode(*updates))
        raise ConnectionResetError

    async def _down(self, server: ClientConnection, client: ServerConnection) -> None:
        """Pushes may be held back and overtaken by up to three later ones. Acks overtake none: one
        of an update that changed nothing says that the pushes up to its offset were sent, and a
        WebSocket keeps their order."""
        held: list[frames.Push] = []
        async for message in server:
            assert isinstance(message, bytes)
            out: list[frames.Frame] = []
            for frame in frames.decode_server(message):
                if (
                    isinstance(frame, frames.Push)
                    and not self.calm
                    and len(held) < 3
                    and self._random.random() < 0.4
                ):
                    held.append(frame)
                    continue
                if held and isinstance(frame, frames.Ack):
                    self._release(held, out)
                out.append(frame)
                if held and (self.calm or self._random.random() < 0.5):
                    self._release(held, out)
            if out:
                await client.send(frames.encode(*out))
        raise ConnectionResetError

    def _release(self, held: list[frames.Push], out: list[frames.Frame]) -> None:
        """Send what was held back, in whatever order."""
        self._random.shuffle(held)
        self.reordered += len(held)
        out.extend(held)
        held.clear()
