"""The WebSocket under every connection: RFC 6455 over uvicorn's transport, without tasks.

uvicorn hands the transport over after the upgrade request. Framing is done by `websockets`'
sans-I/O core; what is sent is complete WebSocket messages as bytes, so that one broadcast is
encoded once for all its receivers. What a tick of the event loop sends to a connection leaves
in one write.
"""

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Sequence
from enum import Enum
from http import HTTPStatus
from typing import Any, Protocol, cast
from urllib.parse import parse_qs, unquote

import structlog
from uvicorn.config import Config
from uvicorn.server import ServerState
from websockets.datastructures import Headers
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from protocol.errors import CloseCode
from protocol.frames import MAX_MESSAGE_BYTES
from server.proxies import Proxies

HEARTBEAT_SECONDS = 25.0  # of silence before a ping; as long again before giving up
PRE_AUTH_BYTES = 1 << 20  # the largest message of one who has not said who it is
HIGH_WATER = 1 << 20  # bytes unwritten at which a connection counts as congested
LOW_WATER = 1 << 18
UNSENT_BYTES = 1 << 17  # that the kernel holds for a connection before we count them
SLICE_BYTES = 1 << 13  # parsed at once
TURN_SECONDS = 0.002  # that one connection's input may take before others have their turn
CLOSE_SECONDS = 5.0  # for the peer to answer a close
SWEEP_SECONDS = 1.0

# The library's own: it says at `info` and below what we count or log ourselves.
library_logger = logging.getLogger("websockets.server")
library_logger.setLevel(logging.WARNING)

logger = structlog.get_logger("websocket")


class Endpoint(Protocol):
    """What speaks over a socket. It is called from the event loop and must not block."""

    @property
    def subprotocol(self) -> str | None:
        """What it speaks, if that has a name to be agreed on."""

    congested: bool
    """Whether the socket takes no more for now; the socket sets it."""

    def opened(self) -> None: ...

    def received(self, message: bytes) -> None:
        """A whole binary message."""

    def flushing(self) -> None:
        """The tick ends, and something was gathered to be sent in it."""

    def drained(self) -> None:
        """The socket was congested and takes more again."""

    def closed(self) -> None:
        """The socket is gone. Called exactly once, if `opened` was."""

    def going_away(self, reconnect_after: float) -> None:
        """The server stops: say goodbye, finish what is under way, then close the socket."""

    def tick(self, now: float) -> None:
        """About once a second, with the wall clock's Unix time."""


class Visit:
    """What a client asked for when it connected."""

    __slots__ = ("address", "path", "query")

    def __init__(self, request: Request, address: str | None) -> None:
        path, _, query = request.path.partition("?")
        self.path = unquote(path)
        self.query = {name: values[-1] for name, values in parse_qs(query).items()}
        self.address = address


class Sockets:
    """All WebSockets of the process: has those send that have gathered something in a tick, looks
    after their heartbeats, and knows what speaks at which path.

    `route` gives the endpoint for a visit, or None where there is nothing; `proxies` tells where
    a visitor is.
    """

    def __init__(
        self, route: "Callable[[WebSocket, Visit], Endpoint | None]", proxies: Proxies
    ) -> None:
        self.route = route
        self.proxies = proxies
        self.open: set[WebSocket] = set()
        self._dirty: list[WebSocket] = []
        self._loop = asyncio.get_running_loop()

    @property
    def outbox_bytes(self) -> int:
        """Bytes that wait for their clients to read."""
        return sum(each.transport.get_write_buffer_size() for each in self.open)

    def flush_soon(self, connection: "WebSocket") -> None:
        """Its endpoint has something to send by the end of this tick."""
        if not self._dirty:
            self._loop.call_soon(self._flush_all)
        self._dirty.append(connection)

    def _flush_all(self) -> None:
        dirty, self._dirty = self._dirty, []
        for connection in dirty:
            try:
                connection.flush()
            except Exception:
                # Whatever is wrong with it, the others wait behind it.
                logger.exception("a connection could not be flushed")
                connection.transport.abort()

    async def run(self) -> None:
        """Look after heartbeats for ever."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now, wall = self._loop.time(), time.time()
            for connection in tuple(self.open):
                try:
                    connection.tick(now, wall)
                except Exception:
                    logger.exception("a connection could not be looked after")
                    connection.transport.abort()


class Phase(Enum):
    """Where a socket stands. It only ever moves down this list."""

    HANDSHAKE = 1
    OPEN = 2
    CLOSING = 3  # a close frame was sent
    CLOSED = 4


_OPEN = Phase.OPEN  # to look a member up takes longer than to compare with it


class WebSocket(asyncio.Protocol):
    """One connection. uvicorn makes it (`ws=`) and calls it as it calls its own protocols."""

    def __init__(
        self,
        config: Config,  # noqa: ARG002 (uvicorn's interface)
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._write: Callable[[bytes | memoryview], None]
        self.phase = Phase.HANDSHAKE
        self.congested = False
        self._sockets: Sockets = app_state["sockets"]
        self._server_connections = cast("set[WebSocket]", server_state.connections)
        self._loop = asyncio.get_running_loop()
        self._endpoint: Endpoint | None = None
        self._dirty = False
        self._received = bytearray()  # and not parsed yet
        self._turn: asyncio.Handle | None = None
        self._parts: bytearray | None = None
        self._paused = False
        self._pinged = False
        self._last_heard = self._loop.time()
        self._unwritten = 0  # bytes, when last looked at
        self._close_timer: asyncio.TimerHandle | None = None
        self._protocol = ServerProtocol(
            select_subprotocol=lambda _, offered: self._select_subprotocol(offered),
            max_size=PRE_AUTH_BYTES,
            logger=library_logger,
        )

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._write = self.transport.write
        self.transport.set_write_buffer_limits(high=HIGH_WATER, low=LOW_WATER)
        # Else the kernel would take megabytes for a peer that reads none of them.
        self.transport.get_extra_info("socket").setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES
        )
        self._server_connections.add(self)

    def data_received(self, data: bytes) -> None:
        self._last_heard = self._loop.time()
        self._pinged = False
        if len(data) <= SLICE_BYTES and not self._received:
            self._parse(data)
        else:
            self._received += data
            self._parse_received()

    def eof_received(self) -> None:
        self._finish()

    def pause_writing(self) -> None:
        self.congested = True
        if self._endpoint is not None:
            self._endpoint.congested = True
        self._update_reading()

    def resume_writing(self) -> None:
        self.congested = False
        self._update_reading()
        if self._endpoint is not None:
            self._endpoint.congested = False
            if self.is_open:
                self._endpoint.drained()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._server_connections.discard(self)
        self._sockets.open.discard(self)
        if self._close_timer is not None:
            self._close_timer.cancel()
        opened, self.phase = self.phase is not Phase.HANDSHAKE, Phase.CLOSED
        self._received.clear()
        if opened and self._endpoint is not None:
            self._endpoint.closed()

    # uvicorn

    def shutdown(self) -> None:
        """The server stops; connections are given moments apart to come back at."""
        if self.phase is Phase.OPEN and self._endpoint is not None:
            self._endpoint.going_away(_spread(len(self._sockets.open)))
        elif self.phase is Phase.HANDSHAKE:
            self.transport.close()

    # What endpoints use

    @property
    def is_open(self) -> bool:
        """Whether neither side has begun to close."""
        return self.phase is Phase.OPEN

    def send(self, message: bytes | memoryview) -> None:
        """Send a complete WebSocket message (`binary_message`), or the next part of one. What a
        tick sends leaves in one write: uvloop gathers it."""
        if self.phase is _OPEN:
            try:
                self._write(message)
            except Exception as error:
                # Whatever is wrong with it, others wait for the same broadcast. One that has just
                # been closed is about to be told so.
                if not self.transport.is_closing():
                    logger.exception("a connection could not be written", error=str(error))
                    self.transport.abort()

    def flush_soon(self) -> None:
        """Have `flushing` called at the end of this tick."""
        if self.phase is Phase.OPEN and not self._dirty:
            self._dirty = True
            self._sockets.flush_soon(self)

    def flush(self) -> None:
        """Have the endpoint send what it gathered."""
        if self.phase is Phase.OPEN and self._endpoint is not None:
            self._endpoint.flushing()
        self._dirty = False

    def close(self, code: CloseCode, reason: str = "") -> None:
        """Send what is queued, then close with this code. The reason is cut to 123 bytes."""
        if self.phase is not Phase.OPEN:
            return
        self.flush()
        self.phase = Phase.CLOSING
        # The peer's own close may have come behind what is refused here: that one is answered.
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(code, reason.encode()[:123].decode(errors="ignore"))
        if not self.transport.is_closing():
            self.transport.write(b"".join(self._protocol.data_to_send()))
        self._close_timer = self._loop.call_later(CLOSE_SECONDS, self.transport.abort)

    def accept_large_messages(self) -> None:
        """The peer has said who it is: messages may be as large as the contract says."""
        self._protocol.max_message_size = MAX_MESSAGE_BYTES

    def pause_reading(self, pause: bool) -> None:
        """Take nothing more from the peer for now, or take it again."""
        if pause is not self._paused:
            self._paused = pause
            self._update_reading()

    def tick(self, now: float, wall: float) -> None:
        """Ping a silent peer; give up on one that stays silent."""
        if self.phase is not Phase.OPEN:
            return
        unwritten = self.transport.get_write_buffer_size()
        if self._paused or unwritten < self._unwritten:
            # What we do not read cannot be heard; and who reads, if slowly, is there.
            self._last_heard = now
        self._unwritten = unwritten
        silence = now - self._last_heard
        if silence > 2 * HEARTBEAT_SECONDS:
            self.close(CloseCode.UNRESPONSIVE, "no answer to a ping")
            self.transport.abort()
        elif silence > HEARTBEAT_SECONDS and not self._pinged:
            self._pinged = True
            self._protocol.send_ping(b"")
            self.transport.write(b"".join(self._protocol.data_to_send()))
        if self._endpoint is not None:
            self._endpoint.tick(wall)

    # Parts of the above

    def _parse_received(self) -> None:
        """Parse what was received, for one turn: a single read can hold a hundred thousand
        frames, and nobody else is to wait for them."""
        self._turn = None
        until = time.perf_counter() + TURN_SECONDS
        while self._received and not (self._paused or self.congested):
            data = bytes(self._received[:SLICE_BYTES])
            del self._received[:SLICE_BYTES]
            self._parse(data)
            if time.perf_counter() > until:
                break
        self._update_reading()

    def _parse(self, data: bytes) -> None:
        protocol = self._protocol
        protocol.receive_data(data)
        for event in protocol.events_received():
            if self.phase is Phase.OPEN:
                self._handle_frame(cast(Frame, event))
            elif self.phase is Phase.HANDSHAKE:
                self._handle_request(cast(Request, event))
        answer = protocol.data_to_send()
        if answer and not self.transport.is_closing():
            self.transport.write(b"".join(answer))
        if protocol.parser_exc is not None or protocol.state is not State.OPEN:
            self._finish()

    def _select_subprotocol(self, offered: Sequence[Subprotocol]) -> Subprotocol | None:
        name = self._endpoint.subprotocol if self._endpoint is not None else None
        return Subprotocol(name) if name is not None and name in offered else None

    def _handle_request(self, request: Request) -> None:
        protocol = self._protocol
        peer = self.transport.get_extra_info("peername")
        address = self._sockets.proxies.client(
            peer[0] if isinstance(peer, tuple) else None,
            request.headers.get_all("X-Forwarded-For"),
        )
        visit = Visit(request, address)
        self._endpoint = self._sockets.route(self, visit)
        if self._endpoint is None:
            response = protocol.reject(
                HTTPStatus.NOT_FOUND, "no WebSocket here; connect to /ws or /yjs/{memoryId}\n"
            )
        elif _offers_another(request.headers, self._endpoint.subprotocol):
            response = protocol.reject(
                HTTPStatus.BAD_REQUEST,
                f"the subprotocol here is {self._endpoint.subprotocol}\n",
            )
        else:
            response = protocol.accept(request)
        protocol.send_response(response)
        self.transport.write(b"".join(protocol.data_to_send()))
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            self.transport.close()
            return
        self.phase = Phase.OPEN
        self._sockets.open.add(self)
        assert self._endpoint is not None
        self._endpoint.opened()

    def _handle_frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.BINARY or frame.opcode is Opcode.CONT:
            if frame.fin and self._parts is None:
                self._receive(bytes(frame.data))
                return
            # One growing buffer: a flood of empty fragments costs nothing.
            self._parts = self._parts if self._parts is not None else bytearray()
            self._parts += frame.data
            if frame.fin:
                message, self._parts = bytes(self._parts), None
                self._receive(message)
        elif frame.opcode is Opcode.TEXT:
            self.close(CloseCode.UNSUPPORTED, "messages are binary here")
        elif frame.opcode is Opcode.CLOSE:
            self.phase = Phase.CLOSING

    def _receive(self, message: bytes) -> None:
        if self._endpoint is not None:
            self._endpoint.received(message)

    def _update_reading(self) -> None:
        if self.transport.is_closing():
            self._received.clear()
            return
        wait = self._paused or self.congested
        if self._received and not wait and self._turn is None:
            self._turn = self._loop.call_soon(self._parse_received)
        if self._received or wait:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def _finish(self) -> None:
        """The peer closed, or spoke nonsense and was told so: nothing more will come."""
        if self.phase is Phase.OPEN:
            self.phase = Phase.CLOSING
        if not self.transport.is_closing():
            self.transport.close()
            if self._close_timer is None:
                # A peer that reads nothing would keep a closing transport for ever.
                self._close_timer = self._loop.call_later(CLOSE_SECONDS, self.transport.abort)


def binary_message(payload: bytes) -> bytes:
    """The payload as a complete, unmasked WebSocket message (RFC 6455, 5.2)."""
    return binary_header(len(payload)) + payload


def binary_header(size: int) -> bytes:
    """What comes before a message's payload of `size` bytes."""
    if size < 126:
        return b"\x82" + size.to_bytes(1, "big")
    if size < 1 << 16:
        return b"\x82\x7e" + size.to_bytes(2, "big")
    return b"\x82\x7f" + size.to_bytes(8, "big")


def _offers_another(headers: Headers, subprotocol: str | None) -> bool:
    """Whether the client offers subprotocols, but not the one that is spoken here."""
    offered = [
        name.strip()
        for header in headers.get_all("Sec-WebSocket-Protocol")
        for name in header.split(",")
    ]
    return bool(offered) and subprotocol is not None and subprotocol not in offered


def _spread(connections: int) -> float:
    """The seconds over which so many connections may come back: 1,000 a second, 10 at most."""
    return min(10.0, 0.5 + connections / 1000)
