"""One of several processes behind a port: a node that a supervisor starts and watches.

`python -m server worker` is for `server/processes/supervisor.py` alone, which hands over what is
needed as open descriptors.
"""

import argparse
import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import structlog

from server.app import App
from server.config import Settings
from server.processes.exposition import GatheredMetrics
from server.serving import Server

READY = b"ready"  # what a worker says when it takes requests; else it says why it cannot

_MAX_LINE_BYTES = 4096


class Seat(NamedTuple):
    """What a worker is given: its number among its kind, and the descriptors of the socket it
    accepts connections from, of the `link` to its supervisor, and of the Unix socket on which it
    tells of itself alone. In `directory` are such sockets of all workers."""

    number: int
    listener: int
    link: int
    own: int
    directory: Path

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What the worker has to inherit."""
        return self.listener, self.link, self.own

    @property
    def arguments(self) -> list[str]:
        """The seat, as arguments of the command `worker`."""
        pairs = zip(self._fields, self, strict=True)
        return [part for name, value in pairs for part in (f"--{name}", str(value))]

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Have the parser take `arguments`."""
        for name, kind in cls.__annotations__.items():
            parser.add_argument(f"--{name}", type=kind, required=True)

    @classmethod
    def of(cls, options: argparse.Namespace) -> "Seat":
        """The seat that was parsed."""
        return cls(**{name: getattr(options, name) for name in cls._fields})


class Link:
    """The worker's end of the line to its supervisor, which says nothing, and ends with it."""

    def __init__(self, descriptor: int) -> None:
        self._socket = _inherited(descriptor)
        self._socket.setblocking(False)

    def tell(self, line: bytes) -> None:
        """Say a line. Who is not there any more does not hear it."""
        with suppress(OSError):
            self._socket.send(line[:_MAX_LINE_BYTES].replace(b"\n", b" ") + b"\n")

    async def lost(self) -> None:
        """Return when the supervisor is gone."""
        with suppress(OSError):
            await asyncio.get_running_loop().sock_recv(self._socket, 1)


async def serve(settings: Settings, seat: Seat, link: Link) -> None:
    """Serve until SIGTERM, or until the supervisor is gone: a worker does not outlive it.

    Raises:
        DatabaseUnavailable, SchemaError, ConfigError, RedisUnusable: as `App.running`.
    """
    structlog.contextvars.bind_contextvars(worker=seat.number)
    lost = asyncio.create_task(link.lost())
    sockets = [_inherited(seat.listener), _inherited(seat.own)]
    try:
        async with App.running(settings) as app:
            asgi = GatheredMetrics(app.asgi, seat.directory, settings.workers)
            server = Server(asgi, settings, lambda: link.tell(READY))
            lost.add_done_callback(_calling(server.stop))
            await server.serve(sockets)
    finally:
        lost.cancel()
        for each in sockets:
            each.close()


def _calling(call: Callable[[], None]) -> Callable[[asyncio.Task[None]], None]:
    return lambda _: call()


def _inherited(descriptor: int) -> socket.socket:
    """The socket of a descriptor that was handed over, and goes to no process of our own."""
    os.set_inheritable(descriptor, False)
    return socket.socket(fileno=descriptor)
