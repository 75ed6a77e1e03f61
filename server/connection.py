"""A `memo.v1` connection: hello first, then requests, updates and awareness.

It is the room's `Subscriber`. Frames of its own (replies, acks, errors) gather until the end of
the tick and share a message; broadcasts come as ready messages and keep their place among them.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from secrets import token_hex
from typing import Protocol
from uuid import UUID

import msgspec
import structlog

from protocol import frames
from protocol.errors import CloseCode, ErrorCode, MemoError
from protocol.events import ACCOUNT_CHANGED, FEED_CHANGED, SHARING_CHANGED
from protocol.feed import FeedChanged
from protocol.frames import ClientFrame, Error, Frame, WelcomeBody
from protocol.log import Author
from protocol.memories import Role
from protocol.operation import Permission
from protocol.records import Empty, timestamp_of
from protocol.sharing import SharingChanged
from server.backlog import Backlog
from server.dispatch import Call, Dispatcher, refusal
from server.metrics import Metrics
from server.requests import Requests
from server.roster import Roster
from server.throttle import Throttle
from server.tokens import Principal
from server.turns import Turns
from server.websocket import (
    HEARTBEAT_SECONDS,
    TURN_SECONDS,
    Visit,
    WebSocket,
    binary_header,
    binary_message,
)
from sync.interfaces import Wire
from sync.subscription import Subscription

HELLO_SECONDS = 10.0
MAX_EARLY_FRAMES = 256  # sent behind hello, before the welcome
MAX_CHANNELS = 1000  # open at once
MAX_PRESENCE_BYTES = 1 << 20  # that one connection shows, over all of its channels
# However many come back at once, a request's time begins when it has its turn, and a hello finds
# the database free.
MAX_RUNNING_ON_NODE = 64
MAX_RUNNING_OF_ACCOUNT = 16
LARGE_BYTES = 1 << 16  # of a reply that goes as it is, not copied into a message with others
GOODBYE_SECONDS = 5.0  # for updates under way, when the server stops
EXPIRY_GRACE_SECONDS = 30.0  # for `session.renew`, past the token's end

logger = structlog.get_logger("connection")


class Gatekeeper(Protocol):
    """Says who a token speaks for, if its session lives."""

    async def authenticate(self, token: str) -> Principal: ...

    def rights(self, role: str) -> frozenset[Permission]:
        """What an account of this role may do."""


class Refusals(Protocol):
    """Bounds hellos that fail."""

    def hello_failed(self, address: str | None, error: MemoError) -> MemoError:
        """What to answer to one that was refused with `error`."""


class Cursors(Protocol):
    """The feed's cursor of this moment."""

    async def cursor(self) -> str: ...


class MemoWire:
    """Broadcasts as `memo.v1` frames."""

    def push(self, channel: int, offset: int, updates: Sequence[bytes]) -> bytes:
        return binary_message(frames.encode(frames.Push(channel, offset, list(updates))))

    def awareness(self, channel: int, payload: bytes) -> bytes:
        return binary_message(frames.encode(frames.AwarenessRelay(channel, payload)))


WIRE = MemoWire()


class Lobby:
    """What every `memo.v1` connection is handed."""

    def __init__(
        self,
        gatekeeper: Gatekeeper,
        refusals: Refusals,
        cursors: Cursors,
        roster: Roster,
        *,
        metrics: Metrics,
        version: str,
    ) -> None:
        self.gatekeeper = gatekeeper
        self.refusals = refusals
        self.cursors = cursors
        self.roster = roster
        self.metrics = metrics
        self.version = version
        self.turns = Turns(MAX_RUNNING_ON_NODE, MAX_RUNNING_OF_ACCOUNT)
        self.dispatcher: Dispatcher[ConnectionCall]  # set by the composition root, last


class Phase(Enum):
    """Where a connection stands. It only ever moves down this list."""

    HELLO = 1  # nothing heard yet
    WELCOME = 2  # the token is being checked; what comes meanwhile waits
    READY = 3
    LEAVING = 4  # goodbye was said; updates under way are finished
    CLOSED = 5


class ConnectionCall(Call):
    """A call that came over a `memo.v1` connection: operations on channels need it."""

    __slots__ = ("channels",)

    def __init__(self, principal: Principal, author: Author, channels: "Connection") -> None:
        super().__init__(principal, author, channels.id)
        self.channels = channels


class Connection:
    """One device's socket."""

    subprotocol = frames.SUBPROTOCOL

    def __init__(self, socket: WebSocket, visit: Visit, lobby: Lobby) -> None:
        self.id = token_hex(6)
        self.phase = Phase.HELLO
        self.subscriptions: dict[int, Subscription] = {}
        self._socket = socket
        self._lobby = lobby
        self._address = visit.address
        self._loop = asyncio.get_running_loop()
        self._principal: Principal | None = None
        self._author: Author | None = None
        self._inbox: deque[ClientFrame | Error] = deque()
        self._turn: asyncio.Handle | None = None
        self._frames: list[Frame] = []
        self._requests = Requests(self, lobby.turns, self._carry_out)
        self._greeting: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._leave_roster: Callable[[], None] | None = None
        self._backlog = Backlog()
        self._throttle = Throttle()
        self._throttled: asyncio.TimerHandle | None = None  # while it is to send nothing more
        self._presence_bytes = 0  # at most so many are shown, as far as is known
        self.congested = False
        self._outlives_session = False
        self._missed_news = False  # events were let go while it was congested

    # Endpoint

    def opened(self) -> None:
        self._lobby.metrics.websocket_connections.inc()
        self._timer = self._loop.call_later(HELLO_SECONDS, self._no_hello)

    def received(self, message: bytes) -> None:
        if self.phase in (Phase.LEAVING, Phase.CLOSED):
            return  # goodbye was said: the device sends it again after it reconnects
        try:
            received = frames.decode_client(message)
        except MemoError as error:
            self._socket.close(CloseCode.INVALID_MESSAGE, error.message)
            return
        if self.phase is Phase.READY:
            if pause := self._throttle.take(len(received), len(message)):
                self._slow_down(pause)
            self._inbox += received
            self._handle_received()
        else:
            for frame in received:
                self._handle_early(frame)

    def flushing(self) -> None:
        self._seal()

    def drained(self) -> None:
        if self._missed_news and self.phase is Phase.READY:
            self._missed_news = False
            self._send(frames.Event(FEED_CHANGED.name, FeedChanged()))
        for subscription in tuple(self.subscriptions.values()):
            subscription.drained()
        self._requests.start()
        self._update_reading()

    def closed(self) -> None:
        self.phase = Phase.CLOSED
        self._lobby.metrics.websocket_connections.dec()
        for timer in (self._timer, self._throttled):
            if timer is not None:
                timer.cancel()
        if self._greeting is not None:
            self._greeting.cancel()
        self._requests.stop()
        self._inbox.clear()
        if self._leave_roster is not None:
            self._leave_roster()
        for subscription in tuple(self.subscriptions.values()):
            subscription.close()
        self.subscriptions.clear()

    def going_away(self, reconnect_after: float) -> None:
        if self.phase in (Phase.LEAVING, Phase.CLOSED):
            return
        self.phase = Phase.LEAVING
        self._inbox.clear()
        # Spread over the interval, so that the next node is not met by everyone at once.
        delay = int(random.uniform(0.1, reconnect_after) * 1000)  # noqa: S311
        self._send(frames.Goodbye(frames.GoodbyeBody("shutdown", delay)))
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(GOODBYE_SECONDS, self._leave)
        self._leave_if_done()

    def tick(self, now: float) -> None:
        principal = self._principal
        if principal is not None and now > principal.expires_at + EXPIRY_GRACE_SECONDS:
            self._socket.close(CloseCode.UNAUTHORIZED, ErrorCode.TOKEN_EXPIRED.value)

    # Subscriber

    @property
    def wire(self) -> Wire:
        return WIRE

    @property
    def author(self) -> Author:
        assert self._author is not None
        return self._author

    def send(self, message: bytes) -> None:
        if self._frames:
            self._seal()
        self._socket.send(message)

    def acked(self, channel: int, client_seq: int, offset: int) -> None:
        self._send(frames.Ack(channel, client_seq, offset))

    def refused(self, channel: int, client_seq: int, error: MemoError) -> None:
        self._send(refusal(None, error, channel, client_seq))

    # For its requests, and the subscriber's updates

    @property
    def takes_answers(self) -> bool:
        return not self.congested and self._socket.is_open

    def answer(self, frame: Frame) -> None:
        self._send(frame)

    def taken(self, size: int) -> None:
        self._backlog.add(size)

    def released(self, size: int) -> None:
        was_full = self._backlog.full
        self._backlog.remove(size)
        if was_full and not self._backlog.full:
            self._update_reading()
        if self.phase is Phase.LEAVING:
            self._leave_if_done()

    def lost(self, channel: int, error: MemoError) -> None:
        self.subscriptions.pop(channel, None)
        self._send(refusal(None, error, channel))

    def role_changed(self, document_id: UUID, role: Role) -> None:
        changed = SharingChanged(memory_id=document_id, role=role)
        self._send(frames.Event(SHARING_CHANGED.name, changed))

    # Channels, for the operations `documents.*`

    def join(self, subscription: Subscription) -> None:
        """A document was opened."""
        if self.phase in (Phase.READY, Phase.LEAVING):
            self.subscriptions[subscription.room.channel] = subscription
        else:
            subscription.close()

    def check_room_for(self, channel: int | None) -> None:
        """Whether one more document may be opened, or this one again.

        Raises:
            MemoError: `busy`.
        """
        if len(self.subscriptions) >= MAX_CHANNELS and channel not in self.subscriptions:
            raise MemoError(
                ErrorCode.BUSY,
                f"{MAX_CHANNELS} documents are open on this connection; close one first",
                retry_after=5,
            )

    def leave(self, channel: int) -> None:
        """A document was closed. Closing what is not open is no error."""
        subscription = self.subscriptions.pop(channel, None)
        if subscription is not None:
            subscription.close()

    def renew(self, principal: Principal) -> None:
        """A fresh token of the same session.

        Raises:
            MemoError: `unauthorized`, when it is of another account or session.
        """
        assert self._principal is not None
        if (principal.account_id, principal.session_id) != (
            self._principal.account_id,
            self._principal.session_id,
        ):
            raise MemoError(
                ErrorCode.UNAUTHORIZED, "this token is of another session; open a new connection"
            )
        self._principal = principal

    # Hello

    def _no_hello(self) -> None:
        self._socket.close(CloseCode.HELLO_TIMEOUT, "no hello within 10 seconds")

    def _handle_early(self, frame: ClientFrame | Error) -> None:
        if self.phase is Phase.HELLO:
            if not isinstance(frame, frames.Hello):
                self._socket.close(CloseCode.INVALID_MESSAGE, "the first frame must be a hello")
                self.phase = Phase.LEAVING
                return
            self.phase = Phase.WELCOME
            if self._timer is not None:
                self._timer.cancel()
            self._greeting = self._loop.create_task(self._greet(frame.body))
        elif self.phase is Phase.WELCOME:
            if len(self._inbox) >= MAX_EARLY_FRAMES:
                self._socket.close(
                    CloseCode.OVERFLOW, f"more than {MAX_EARLY_FRAMES} frames before the welcome"
                )
                self.phase = Phase.LEAVING
                return
            self._inbox.append(frame)
            # What is larger than a few small frames waits in the kernel instead.
            self._socket.pause_reading(True)

    async def _greet(self, hello: frames.HelloBody) -> None:
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                principal = await self._lobby.gatekeeper.authenticate(hello.token)
                cursor = await self._lobby.cursors.cursor()
        except MemoError as error:
            answer = self._lobby.refusals.hello_failed(self._address, error)
            self._send(refusal(None, answer))
            self._socket.close(_close_code(answer), answer.code.value)
            return
        except TimeoutError:
            self._socket.close(CloseCode.HELLO_TIMEOUT, "the hello took too long to check")
            return
        except Exception:
            logger.exception("hello failed", connection=self.id)
            self._socket.close(CloseCode.INTERNAL, ErrorCode.INTERNAL.value)
            return
        if self.phase is not Phase.WELCOME:
            return
        self._admit(principal, hello, cursor)

    def _admit(self, principal: Principal, hello: frames.HelloBody, cursor: str) -> None:
        self._principal = principal
        # PostgreSQL stores any character but NUL.
        device_id = (hello.device_id or "").replace("\x00", "")[:200]
        self._author = Author(principal.account_id, device_id or None)
        self.phase = Phase.READY
        self._leave_roster = self._lobby.roster.enter(
            principal, ended=self._session_ended, told=self._forward, granted=self._granted
        )
        self._socket.accept_large_messages()
        self._send(
            frames.Welcome(
                WelcomeBody(
                    session_id=str(principal.session_id),
                    user_id=str(principal.account_id),
                    cursor=cursor,
                    expires_at=timestamp_of(principal.expires_at),
                    heartbeat_seconds=HEARTBEAT_SECONDS,
                    version=self._lobby.version,
                )
            )
        )
        logger.info(
            "connected",
            connection=self.id,
            account=str(principal.account_id),
            device=self._author.device_id,
            client=(hello.client or "")[:100],
            address=self._address,
        )
        self._handle_received()

    def _forward(self, message: bytes) -> None:
        if self.congested:
            self._missed_news = True
        elif self.phase is Phase.READY:
            self.send(binary_message(message))

    @contextmanager
    def outliving_session(self) -> Iterator[None]:
        """Within it this connection is not closed because its session ends: it ends it itself,
        and is to have the answer."""
        self._outlives_session = True
        try:
            yield
        finally:
            self._outlives_session = False

    def _session_ended(self, _: bytes) -> None:
        if self._outlives_session:
            return
        self._send(refusal(None, MemoError(ErrorCode.SESSION_ENDED)))
        self._socket.close(CloseCode.SESSION_ENDED, ErrorCode.SESSION_ENDED.value)

    def _granted(self, role: str) -> None:
        """The account has this role now."""
        assert self._principal is not None
        if role != self._principal.role:
            rights = self._lobby.gatekeeper.rights(role)
            self._principal = msgspec.structs.replace(
                self._principal, role=role, permissions=rights
            )
            self._send(frames.Event(ACCOUNT_CHANGED.name, Empty()))

    # Frames

    @property
    def _takes_more(self) -> bool:
        """Whether frames may be handled now: else they wait for acks, or for what was sent to be
        read."""
        open_for_all = self.phase is Phase.READY and self._socket.is_open
        return open_for_all and not self._backlog.full and not self.congested

    def _handle_received(self) -> None:
        """Handle frames for one turn: a message can hold more than others should wait for."""
        self._turn = None
        until = time.perf_counter() + TURN_SECONDS
        while self._inbox and self._takes_more:
            self._handle(self._inbox.popleft())
            if time.perf_counter() > until:
                break
        self._update_reading()

    def _update_reading(self) -> None:
        if self._inbox and self._takes_more and self._turn is None:
            self._turn = self._loop.call_soon(self._handle_received)
        self._socket.pause_reading(
            self._backlog.full or bool(self._inbox) or self._throttled is not None
        )

    def _slow_down(self, seconds: float) -> None:
        """It sends faster than it may: what comes now is handled, the next waits in the socket."""
        if self._throttled is not None:
            self._throttled.cancel()
        self._throttled = self._loop.call_later(seconds, self._go_on)

    def _go_on(self) -> None:
        self._throttled = None
        self._update_reading()

    def _handle(self, frame: ClientFrame | Error) -> None:
        match frame:
            case frames.Update():
                self._handle_update(frame)
            case frames.Awareness():
                self._handle_awareness(frame)
            case frames.Request():
                self._requests.add(frame)
            case frames.Cancel():
                self._requests.cancel(frame.id)
            case frames.Error():
                self._lobby.metrics.refusals.labels(frame.body.code).inc()
                self._send(frame)
            case frames.Hello():
                self._send(
                    refusal(None, MemoError(ErrorCode.INVALID_MESSAGE, "hello was said already"))
                )

    def _handle_update(self, frame: frames.Update) -> None:
        subscription = self.subscriptions.get(frame.channel)
        if subscription is None:
            error = MemoError(ErrorCode.CHANNEL_CLOSED, "no document is open on this channel")
            self._send(refusal(None, error, frame.channel, frame.client_seq))
            return
        self._backlog.add(len(frame.update))
        subscription.send_update(frame.client_seq, frame.update)

    def _handle_awareness(self, frame: frames.Awareness) -> None:
        subscription = self.subscriptions.get(frame.channel)
        if subscription is None:
            return  # presence is a hint, and the channel may just have closed
        try:
            self._count_presence(len(frame.payload))
            subscription.send_awareness(frame.payload)
        except MemoError as error:
            self._send(refusal(None, error, frame.channel))

    def _count_presence(self, size: int) -> None:
        """Raises:
        MemoError: `malformed_awareness`, when that is more than one connection may show.
        """
        self._presence_bytes += size
        if self._presence_bytes > MAX_PRESENCE_BYTES:
            # Most often it replaces what was shown before: only now is it counted.
            shown = sum(each.presence_bytes for each in self.subscriptions.values())
            self._presence_bytes = shown + size
            if self._presence_bytes > MAX_PRESENCE_BYTES:
                self._presence_bytes = shown
                raise MemoError(
                    ErrorCode.MALFORMED_AWARENESS,
                    f"one connection may show {MAX_PRESENCE_BYTES} bytes of presence",
                )

    async def _carry_out(self, request: frames.Request) -> frames.Reply | frames.Error:
        assert self._principal is not None
        call = ConnectionCall(self._principal, self.author, self)
        return await self._lobby.dispatcher.run(call, request)

    def _send(self, frame: Frame) -> None:
        if isinstance(frame, frames.Reply) and memoryview(frame.body).nbytes >= LARGE_BYTES:
            self._send_large(frame)
            return
        self._frames.append(frame)
        self._socket.flush_soon()

    def _seal(self) -> None:
        """The frames gathered so far become a message; a large reply one of its own."""
        if self._frames:
            gathered, self._frames = self._frames, []
            self._socket.send(binary_message(frames.encode(*gathered)))

    def _send_large(self, reply: frames.Reply) -> None:
        self._seal()
        head = frames.reply_head(reply.id)
        body = memoryview(reply.body)  # which may be sent to others too, so it is not copied
        self._socket.send(binary_header(len(head) + body.nbytes) + head)
        self._socket.send(body)

    # Leaving

    def _leave_if_done(self) -> None:
        if self._backlog.empty:
            self._leave()

    def _leave(self) -> None:
        self._socket.close(CloseCode.GOING_AWAY, "shutdown")


def _close_code(error: MemoError) -> CloseCode:
    if error.code in (ErrorCode.SESSION_ENDED, ErrorCode.ACCOUNT_DISABLED):
        return CloseCode.SESSION_ENDED
    if error.code is ErrorCode.RATE_LIMITED:
        return CloseCode.RATE_LIMITED
    return CloseCode.UNAUTHORIZED if error.code.status == 401 else CloseCode.INTERNAL
