"""A server around an `App`: its socket, how it starts taking requests, and how it stops."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
import uvicorn
from starlette.types import ASGIApp

from server.app import App
from server.config import Settings
from server.http import HTTP
from server.processes.listeners import BACKLOG, bind
from server.processes.signals import handled
from server.processes.terminal import Terminal
from server.websocket import WebSocket

LAST_REQUEST_SECONDS = 0.1  # for a request of who has just connected, when the server stops
DRAIN_SECONDS = 8  # for connections to finish what is under way then

logger = structlog.get_logger("server")


class Server(uvicorn.Server):
    """Uvicorn as we run it. It tells when it takes requests, and handles signals itself: uvicorn
    would raise them again before the parts are stopped."""

    def __init__(self, asgi: ASGIApp, settings: Settings, ready: Callable[[], None]) -> None:
        config = uvicorn.Config(
            asgi,
            http=HTTP,
            ws=WebSocket,
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=list(settings.trusted_proxies),
            timeout_graceful_shutdown=DRAIN_SECONDS,
            backlog=BACKLOG,
        )
        super().__init__(config)
        self._ready = ready
        self._terminal = Terminal()

    def stop(self) -> None:
        """Accept nothing more, and return from `serve` once connections have ended."""
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        # Whoever was let in last has a request on its way, and is to get an answer.
        await asyncio.sleep(LAST_REQUEST_SECONDS)
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        with handled(self._asked_to_stop, self._hung_up):
            yield

    def _asked_to_stop(self) -> None:
        # A second Ctrl-C does not wait for connections.
        self.force_exit = self.should_exit
        self.should_exit = True

    def _hung_up(self) -> None:
        # By default it would end the process without a goodbye.
        if self._terminal.gone:
            self.stop()
        else:
            logger.warning("SIGHUP changes nothing here: it is for the parent of several WORKERS")


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        OSError: the address cannot be used.
    """
    listener = bind(host, port)
    try:
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


async def serve(
    settings: Settings,
    *,
    ready: Callable[[int], None] = lambda _: None,
    listener: socket.socket | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT. `ready` is called with the port once requests are taken.

    Raises:
        OSError: the address is in use.
        DatabaseUnavailable, SchemaError, ConfigError: as `App.running`.
    """
    listener = listener or listen(settings.host, settings.port)
    port = listener.getsockname()[1]
    try:
        async with App.running(settings) as app:
            await Server(app.asgi, settings, lambda: ready(port)).serve(sockets=[listener])
    finally:
        listener.close()
