"""A small memo.v1 server that does what a test tells it to: the other side of the client's tests.

It keeps its logs in memory and commits at once. Its faults are fields: set them, and it loses
acks, holds pushes back, or refuses.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Self
from uuid import UUID, uuid4

import msgspec
from pycrdt import Doc
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from protocol import frames
from protocol.documents import FORMAT, OpenDocument, OpenedDocument
from protocol.errors import CloseCode, ErrorCode
from protocol.signal import Signal

EXPIRES = "2026-01-31T08:30:00.000Z"


class Log:
    """One document: its updates with the device that wrote each, and what they add up to."""

    def __init__(self) -> None:
        self.epoch = str(uuid4())
        self.entries: list[tuple[bytes, str | None]] = []
        self.doc: Doc[Any] = Doc()
        self._changed = False
        self._observer = self.doc.observe(lambda _: setattr(self, "_changed", True))

    @property
    def head(self) -> int:
        return len(self.entries)

    def append(self, update: bytes, device: str | None) -> int | None:
        """The update's offset; None, when it says nothing new."""
        self._changed = False
        self.doc.apply_update(update)
        if not self._changed:
            return None
        self.entries.append((update, device))
        return self.head


class Peer:
    """One connection."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket
        self.device = ""
        self.channels: dict[int, UUID] = {}
        self.stopped: set[int] = set()
        self.held: list[frames.Push] = []

    async def send(self, *sent: frames.Frame) -> None:
        try:
            await self.socket.send(frames.encode(*sent))
        except ConnectionClosed:
            """The client is told by other means."""


class ScriptedServer:
    """`frames` is all that clients have sent, `messages` how it came, `peers` who is there."""

    def __init__(self) -> None:
        self.logs: dict[UUID, Log] = {}
        self.peers: list[Peer] = []
        self.frames: list[frames.ClientFrame | frames.Error] = []
        self.messages: list[list[frames.ClientFrame | frames.Error]] = []
        self.takes_token: Callable[[str], bool] = lambda _: True
        self.answers: dict[str, Callable[[Any], Any]] = {}
        self.refusals: list[ErrorCode] = []
        self.open_refusals: list[ErrorCode] = []
        self.can_write = True
        self.loses_updates = False
        self.loses_acks = False
        self.holds_pushes = False
        self.holds_welcome = False
        self._signal = Signal()
        self._last_channel = 0
        self._server: Server

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._serve, "127.0.0.1", 0, subprotocols=[Subprotocol(frames.SUBPROTOCOL)]
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/ws"

    def log(self, memory_id: UUID) -> Log:
        return self.logs.setdefault(memory_id, Log())

    def sent(self, kind: type[Any]) -> list[Any]:
        """The frames of a kind that clients have sent so far."""
        return [frame for frame in self.frames if isinstance(frame, kind)]

    def requests(self, operation: str) -> list[Any]:
        """The decoded bodies of an operation's requests so far."""
        return [
            msgspec.msgpack.decode(request.body)
            for request in self.sent(frames.Request)
            if request.operation == operation
        ]

    async def until(self, condition: Callable[[], bool], timeout: float = 10) -> None:
        """Wait until what clients have sent fulfils `condition`."""
        await self._signal.until(condition, timeout, lambda: "clients did not do what was expected")

    async def write(self, memory_id: UUID, update: bytes) -> int:
        """Commit somebody else's update and push it."""
        return await self._commit(memory_id, update, None) or 0

    async def release(self, order: Callable[[list[frames.Push]], list[frames.Push]]) -> None:
        """Send the pushes that were held back, as `order` arranges them."""
        self.holds_pushes = False
        for peer in list(self.peers):
            held, peer.held = peer.held, []
            for push in order(held):
                await peer.send(push)

    async def tell(self, *sent: frames.Frame) -> None:
        """Send frames to everybody."""
        for peer in list(self.peers):
            await peer.send(*sent)

    async def drop(self) -> None:
        """Cut every connection, without a word."""
        cut = list(self.peers)
        for peer in cut:
            peer.socket.transport.abort()
        await self.until(lambda: not set(cut) & set(self.peers))

    async def close(self, code: int, *sent: frames.Frame) -> None:
        """Close every connection in due form."""
        for peer in list(self.peers):
            await peer.send(*sent)
            await peer.socket.close(code)

    async def _serve(self, socket: ServerConnection) -> None:
        peer = Peer(socket)
        self.peers.append(peer)
        try:
            async for message in socket:
                assert isinstance(message, bytes)
                received = frames.decode_client(message)
                self.messages.append(received)
                for frame in received:
                    self.frames.append(frame)
                    await self._handle(peer, frame)
                self._signal.notify()
        except ConnectionClosed:
            """A connection that is cut is what many tests are about."""
        finally:
            self.peers.remove(peer)
            self._signal.notify()

    async def _handle(self, peer: Peer, frame: frames.ClientFrame | frames.Error) -> None:
        match frame:
            case frames.Hello(body):
                await self._greet(peer, body)
            case frames.Request(request_id, "documents.open", body):
                await self._open(peer, request_id, msgspec.msgpack.decode(body, type=OpenDocument))
            case frames.Request(request_id, "documents.close", body):
                peer.channels.pop(msgspec.msgpack.decode(body)["channel"], None)
                await peer.send(frames.Reply(request_id, {}))
            case frames.Request(request_id, operation, body) if operation in self.answers:
                answer = self.answers[operation](msgspec.msgpack.decode(body))
                if isinstance(answer, frames.ErrorBody):
                    await peer.send(frames.Error(request_id, answer))
                else:
                    await peer.send(frames.Reply(request_id, answer))
            case frames.Update():
                await self._update(peer, frame)
            case frames.Awareness(channel, payload):
                await self._relay(peer, peer.channels[channel], payload)

    async def _greet(self, peer: Peer, hello: frames.HelloBody) -> None:
        if not self.takes_token(hello.token):
            await peer.socket.close(CloseCode.UNAUTHORIZED)
            return
        peer.device = hello.device_id or str(uuid4())
        if not self.holds_welcome:
            await peer.send(frames.Welcome(frames.WelcomeBody("s", "u", "cursor", EXPIRES)))

    async def _open(self, peer: Peer, request_id: int, request: OpenDocument) -> None:
        if self.open_refusals:
            body = frames.ErrorBody(self.open_refusals.pop(0).value, "scripted", retry_after=0.0)
            await peer.send(frames.Error(request_id, body))
            return
        log = self.log(request.memory_id)
        known = request.offset
        if request.epoch != log.epoch or known > log.head:
            known = 0
        for channel in [c for c, memory in peer.channels.items() if memory == request.memory_id]:
            del peer.channels[channel]
        self._last_channel += 1
        peer.channels[self._last_channel] = request.memory_id
        answer = OpenedDocument(
            channel=self._last_channel,
            epoch=log.epoch,
            offset=log.head,
            format=FORMAT,
            updates=[update for update, _ in log.entries[known:]],
            can_write=self.can_write,
        )
        await peer.send(frames.Reply(request_id, answer))

    async def _update(self, peer: Peer, frame: frames.Update) -> None:
        if self.loses_updates:
            return
        refusal = ErrorCode.CHANNEL_CLOSED if frame.channel in peer.stopped else None
        if refusal is None and self.refusals:
            refusal = self.refusals.pop(0)
            peer.stopped.add(frame.channel)
        if refusal is not None:
            body = frames.ErrorBody(
                refusal.value,
                "scripted",
                retry_after=0.0,
                channel=frame.channel,
                client_seq=frame.client_seq,
            )
            await peer.send(frames.Error(None, body))
            return
        memory_id = peer.channels.get(frame.channel)
        if memory_id is None:
            return
        offset = await self._commit(memory_id, frame.update, peer)
        if not self.loses_acks:
            head = self.log(memory_id).head
            await peer.send(frames.Ack(frame.channel, frame.client_seq, offset or head))

    async def _commit(self, memory_id: UUID, update: bytes, writer: Peer | None) -> int | None:
        offset = self.log(memory_id).append(update, writer.device if writer else None)
        if offset is not None:
            for peer in list(self.peers):
                for channel, open_memory in list(peer.channels.items()):
                    if open_memory == memory_id and peer is not writer:
                        push = frames.Push(channel, offset, [update])
                        if self.holds_pushes:
                            peer.held.append(push)
                        else:
                            await peer.send(push)
        self._signal.notify()
        return offset

    async def _relay(self, sender: Peer, memory_id: UUID, payload: bytes) -> None:
        for peer in list(self.peers):
            for channel, open_memory in list(peer.channels.items()):
                if open_memory == memory_id and peer is not sender:
                    await peer.send(frames.AwarenessRelay(channel, payload))


def client_tasks() -> set[str]:
    """The names of the running tasks that belong to clients."""
    return {task.get_name() for task in asyncio.all_tasks() if "memo client" in task.get_name()}
